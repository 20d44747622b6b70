/**
 * TREC run format: `query Q0 document rank score tag`, one line a document, ranks from 1. Ids with
 * white space cannot be written in it and are refused. Scores fall strictly within a query, so that
 * trec_eval (which re-sorts by score, as 32-bit floats) keeps the order of the ranking.
 */
import { MaxSimError, show } from '../errors.js';
import { badLine, readLines } from './lines.js';
import type { Run } from './measures.js';

export type RunLine = { line: number; query: string; id: string; score: number };

/** Lines of a run file. A run's scores rank it, whatever its ranks and the order of its lines say. */
export async function* readRunLines(file: string): AsyncGenerator<RunLine> {
  for await (const { line, text } of readLines(file)) {
    const [query, , id, , score, tag, ...rest] = text.trim().split(/\s+/);
    const value = Number(score);
    if (!query || !id || tag === undefined || rest.length > 0 || Number.isNaN(value)) {
      throw badLine(file, line, `must be "query Q0 document rank score tag", but is ${show(text)}`);
    }
    yield { line, query, id, score: value };
  }
}

/** A whole run, to be measured; a document that is there twice for a query is an error, as to trec_eval. */
export async function readRun(file: string): Promise<Run> {
  const run: Run = new Map();
  for await (const { line, query, id, score } of readRunLines(file)) {
    let scores = run.get(query);
    if (scores === undefined) {
      scores = new Map();
      run.set(query, scores);
    }
    if (scores.has(id)) {
      throw badLine(file, line, `has document ${show(id)} a second time for query ${show(query)}`);
    }
    scores.set(id, score);
  }
  if (run.size === 0) {
    throw new MaxSimError('INVALID_SOURCE', `${file} holds no rankings.`, { details: { file } });
  }
  return run;
}

export function trecRunLines(
  query: string,
  hits: readonly { id: string; score: number | null }[],
  tag: string,
): string {
  let last = Number.POSITIVE_INFINITY;
  return hits
    .map((hit, i) => {
      for (const id of [query, hit.id]) {
        if (/\s/.test(id)) {
          throw new MaxSimError(
            'INVALID_ARGUMENT',
            `TREC run files cannot hold ids with white space, such as ${show(id)}.`,
          );
        }
      }
      const score = Math.fround(hit.score ?? -i);
      last = score < last ? score : justBelow(last);
      return `${query} Q0 ${hit.id} ${i + 1} ${last} ${tag}\n`;
    })
    .join('');
}

/** The next 32-bit float below. */
function justBelow(value: number): number {
  const float = new Float32Array([value]);
  const bits = new Int32Array(float.buffer);
  if (float[0] === 0) return -(2 ** -149);
  bits[0] = (bits[0] as number) + (value > 0 ? -1 : 1);
  return float[0] as number;
}
