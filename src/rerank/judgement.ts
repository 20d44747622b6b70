/** What a reranker gave back, which may be anyone's code: scores that can be ranked, or an error. */
import { MaxSimError, show } from '../errors.js';
import type { Judgement } from '../types.js';

/** Throws RERANKER_FAILED unless there is one score a document, each finite or NaN. */
export function checkJudgement<T extends Judgement>(name: string, judgement: T, count: number): T {
  const scores: unknown = judgement?.scores;
  if (!(scores instanceof Float32Array) || scores.length !== count) {
    throw new MaxSimError(
      'RERANKER_FAILED',
      `${name} must give one score a document, a Float32Array of ${count} here, but gave ${show(scores)}.`,
    );
  }
  const infinite = scores.find((score) => Math.abs(score) === Number.POSITIVE_INFINITY);
  if (infinite !== undefined) {
    throw new MaxSimError(
      'RERANKER_FAILED',
      `${name} must give finite scores, but gave ${infinite}.`,
    );
  }
  return judgement;
}
