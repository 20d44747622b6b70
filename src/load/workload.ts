/** What is asked: queries, some more often than others, each with its candidates. */
import { MaxSimError } from '../errors.js';
import { drawSome, seededRandom } from '../random.js';
import type { LoadRequest } from './target.js';

export type WorkloadOptions = {
  queries: readonly { id: string; text: string }[];
  /** Of each query; where there are none, so many of `ids` by chance. */
  candidates?: ReadonlyMap<string, readonly string[]> | undefined;
  ids: readonly string[];
  candidateCount: number;
  /**
   * Of Zipf's law: the k-th query is asked 1/k^s as often as the first. 0: all alike; about 1: as people
   * ask a search engine, so that a cache of queries has something to do.
   */
  zipf: number;
  seed: number;
};

/** Requests by their number, the same for the same seed. Throws INVALID_ARGUMENT. */
export function workload(options: WorkloadOptions): (i: number) => LoadRequest {
  const { queries, candidates, ids, candidateCount, zipf, seed } = options;
  if (queries.length === 0)
    throw new MaxSimError('INVALID_ARGUMENT', 'A workload needs a query or more, but has none.');
  const random = seededRandom(seed);
  const requests = queries.map(({ id, text }) => {
    const given = candidates?.get(id)?.slice(0, candidateCount);
    const own = given ?? drawSome(ids, candidateCount, random);
    if (own.length === 0) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `The query ${id} has no candidates to be reranked.`,
      );
    }
    return { query: text, ids: own };
  });
  // Ascending sums of the weights, to be searched in.
  const sums = new Float64Array(requests.length);
  let sum = 0;
  for (let k = 0; k < sums.length; k++) {
    sum += 1 / (k + 1) ** zipf;
    sums[k] = sum;
  }
  const drawn: number[] = [];
  const draw = (): number => {
    const at = random() * sum;
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return (i) => {
    while (drawn.length <= i) drawn.push(draw());
    return requests[drawn[i] as number] as LoadRequest;
  };
}
