/**
 * TREC run format: `query Q0 document rank score tag`, one line a document, ranks from 1. Ids with
 * white space cannot be written in it and are refused. Scores fall strictly within a query, so that
 * trec_eval (which re-sorts by score, as 32-bit floats) keeps the order of the ranking.
 */
import { MaxSimError, show } from '../errors.js';

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
