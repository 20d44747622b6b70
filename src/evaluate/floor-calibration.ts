/** What floors would do: unanswerable queries that get "nothing relevant", and answerable ones lost. */
import { checkArray } from '../check.js';
import { type CalibrationFingerprint, checkNumbers } from '../rerank/calibration.js';
import { fitFloor, queriesForFloor } from '../rerank/floor.js';
import { proportionInterval } from './proportion.js';

export type FloorPoint = {
  alpha: number;
  /** Null where the calibration queries are too few for alpha. */
  floor: number | null;
  /** Queries of the calibration that alpha needs. */
  needed: number;
  /** Share of unanswerable queries whose best score is below the floor; null where there are none. */
  caught: number | null;
  /** Share of answerable queries whose best score is below the floor; null where there are none. */
  lost: number | null;
  /** One-sided upper bound of `lost` at .95, by Clopper and Pearson. */
  lostBound: number | null;
};

/** `bestRelevant` as fitFloor takes it; the rest are best raw scores of queries it has not seen. */
export function floorCurve({
  bestRelevant,
  answerable,
  unanswerable,
  alphas,
  fingerprint,
}: {
  bestRelevant: readonly number[];
  answerable: readonly number[];
  unanswerable: readonly number[];
  alphas: readonly number[];
  fingerprint: CalibrationFingerprint;
}): FloorPoint[] {
  checkNumbers('answerable', answerable);
  checkNumbers('unanswerable', unanswerable);
  checkArray('alphas', alphas);
  return alphas.map((alpha) => {
    const needed = queriesForFloor(alpha);
    if (bestRelevant.length < needed)
      return { alpha, floor: null, needed, caught: null, lost: null, lostBound: null };
    const floor = fitFloor(bestRelevant, { alpha, fingerprint });
    const below = (scores: readonly number[]): number =>
      scores.filter((score) => floor.belowFloor(score)).length;
    const loss =
      answerable.length === 0
        ? null
        : proportionInterval(below(answerable), answerable.length, { confidence: 0.9 });
    return {
      alpha,
      floor: floor.value,
      needed,
      caught: unanswerable.length === 0 ? null : below(unanswerable) / unanswerable.length,
      lost: loss?.share ?? null,
      lostBound: loss?.high ?? null,
    };
  });
}
