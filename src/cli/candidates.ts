/** Candidates to rerank, read from a jsonl file for one query or a TREC run for many. */
import { checkId } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import { readJsonLines } from '../evaluate/lines.js';
import { readRunLines } from '../evaluate/trec-run.js';
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
  const run = new Map<string, { id: string; score: number }[]>();
  for await (const { query, id, score } of readRunLines(file)) {
    const ranking = run.get(query);
    if (ranking === undefined) run.set(query, [{ id, score }]);
    else ranking.push({ id, score });
  }
  return new Map(
    [...run].map(([query, ranking]) => {
      ranking.sort((a, b) => b.score - a.score);
      return [query, [...new Set(ranking.map(({ id }) => id))]];
    }),
  );
}
