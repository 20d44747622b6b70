/** Candidates to rerank, read from a jsonl file for one query or a TREC run for many. */
import { readFile } from 'node:fs/promises';
import { checkId } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import { readJsonLines } from '../evaluate/collection.js';
import type { Candidate } from '../types.js';

/** `{"id"}` for a stored document, `{"id","text"}` for one that is not, a line. */
export async function readCandidates(file: string): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  const lines = readJsonLines(file, (record): Candidate => {
    const id = checkId('id', record['id'] ?? record['_id']);
    const { text } = record;
    if (text === undefined) return id;
    if (typeof text !== 'string' || text.trim() === '') {
      throw new MaxSimError('INVALID_SOURCE', `text must be a text, but is ${show(text)}`);
    }
    return { id, text };
  });
  for await (const line of lines) {
    if (!line.ok) throw line.error;
    candidates.push(line.value);
  }
  return candidates;
}

/**
 * Document ids of a TREC run by query, best first: a run's scores rank it, not the order of its lines,
 * which decides ties. A document that is there twice counts once, with its better score.
 */
export async function readTrecRun(file: string): Promise<Map<string, string[]>> {
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new MaxSimError('INVALID_SOURCE', `${file} cannot be read: ${cause.message}`, {
      cause,
      details: { file },
    });
  });
  const run = new Map<string, { id: string; score: number }[]>();
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const [query, , id, , score, tag, ...rest] = line.trim().split(/\s+/);
    const value = Number(score);
    if (!query || !id || tag === undefined || rest.length > 0 || Number.isNaN(value)) {
      throw new MaxSimError(
        'INVALID_SOURCE',
        `Line ${i + 1} of ${file} must be "query Q0 document rank score tag", but is ${show(line)}.`,
        { details: { file, line: i + 1 } },
      );
    }
    const ranking = run.get(query);
    if (ranking === undefined) run.set(query, [{ id, score: value }]);
    else ranking.push({ id, score: value });
  }
  return new Map(
    [...run].map(([query, ranking]) => {
      ranking.sort((a, b) => b.score - a.score);
      return [query, [...new Set(ranking.map(({ id }) => id))]];
    }),
  );
}
