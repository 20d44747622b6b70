/** What floors would do: unanswerable queries that get "nothing relevant", and answerable ones lost. */
import { checkArray } from '../check.js';
import { MaxSimError } from '../errors.js';
import { drawSome, seededRandom } from '../random.js';
import { type CalibrationFingerprint, checkNumbers } from '../rerank/calibration.js';
import { type Calibrator, fitCalibrator } from '../rerank/calibrator.js';
import { type Floor, fitFloor, queriesForFloor } from '../rerank/floor.js';
import type { MeasuredQuery } from './pipeline-measurement.js';
import { proportionInterval } from './proportion.js';
import { type Reliability, reliability } from './reliability.js';

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

/** `fitted` as fitFloor takes it; the rest are best raw scores of queries it has not seen. */
export function floorCurve({
  fitted,
  answerable,
  unanswerable,
  alphas,
  fingerprint,
}: {
  fitted: readonly number[];
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
    if (fitted.length < needed)
      return { alpha, floor: null, needed, caught: null, lost: null, lostBound: null };
    const floor = fitFloor(fitted, { alpha, fingerprint });
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

export type FloorCalibration = {
  /** Queries with a relevant candidate, without one, and that nothing answers. */
  answerable: number;
  notFound: number;
  unanswerable: number;
  /** Floors of one half of the queries, tried on the other. */
  curve: FloorPoint[];
  /** Of all queries with a relevant candidate, at the alpha asked for. */
  floor: Floor;
  /** Of all scored candidates; null where relevance does not rise with the score. */
  calibrator: Calibrator | null;
  /** Of a calibrator of one half, on the other. */
  reliability: Reliability | null;
  verdict: string;
};

export type FloorCalibrationOptions = {
  /** Share of answerable queries that may be lost. */
  alpha: number;
  fingerprint: CalibrationFingerprint;
  /** Whose scores: which stage of the measured pipeline. */
  stage: number;
  seed?: number;
};

const ALPHAS = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3];

/** Below this a floor is hardly worth its losses. */
const WORTH = 0.5;

/** Throws INVALID_ARGUMENT, naming the number needed, where there are too few queries for alpha. */
export function calibrateFloor(
  measured: readonly MeasuredQuery[],
  { alpha, fingerprint, stage, seed = 0 }: FloorCalibrationOptions,
): FloorCalibration {
  const queries = drawSome(measured, measured.length, seededRandom(seed)).map((query) =>
    scoresOf(query, stage),
  );
  const found = queries.filter((query) => query.found);
  const unanswerable = queries.filter(({ answerable }) => !answerable);
  const half = found.length >> 1;
  const bestOf = (some: readonly StageScores[]): number[] => some.map(({ best }) => best);
  const curve = floorCurve({
    fitted: bestOf(found.slice(0, half)),
    answerable: bestOf(found.slice(half)),
    unanswerable: bestOf(unanswerable),
    alphas: [...new Set([...ALPHAS, alpha])].sort((a, b) => a - b),
    fingerprint,
  });
  const floor = fitFloor(bestOf(found), { alpha, fingerprint });
  const point = curve.find((one) => one.alpha === alpha) ?? null;
  return {
    answerable: found.length,
    notFound: queries.filter((query) => query.answerable && !query.found).length,
    unanswerable: unanswerable.length,
    curve,
    floor,
    ...calibratorOf(queries, fingerprint),
    verdict: verdictOf(floor, point),
  };
}

type StageScores = {
  answerable: boolean;
  /** Whether a relevant document is among the scored candidates. */
  found: boolean;
  best: number;
  pairs: { score: number; relevant: boolean }[];
};

function scoresOf({ answerable, grades, candidates }: MeasuredQuery, stage: number): StageScores {
  const pairs = [...candidates.values()].flatMap(({ id, scores }) => {
    const score = scores[stage] ?? null;
    return score === null ? [] : [{ score, relevant: (grades.get(id) ?? 0) > 0 }];
  });
  const best = pairs.reduce((most, { score }) => Math.max(most, score), Number.NEGATIVE_INFINITY);
  return { answerable, found: pairs.some(({ relevant }) => relevant), best, pairs };
}

function calibratorOf(
  queries: readonly StageScores[],
  fingerprint: CalibrationFingerprint,
): Pick<FloorCalibration, 'calibrator' | 'reliability'> {
  const fit = (some: readonly StageScores[]): Calibrator | null => {
    const pairs = some.flatMap((query) => query.pairs);
    const labels = pairs.map(({ relevant }) => relevant);
    if (labels.every(Boolean) || !labels.some(Boolean)) return null;
    try {
      return fitCalibrator(
        pairs.map(({ score }) => score),
        labels,
        { fingerprint },
      );
    } catch (error) {
      // Relevance does not rise with the score: there is nothing to calibrate.
      if (error instanceof MaxSimError && error.code === 'INVALID_ARGUMENT') return null;
      throw error;
    }
  };
  const half = queries.length >> 1;
  const tried = fit(queries.slice(0, half));
  const rest = queries.slice(half).flatMap((query) => query.pairs);
  return {
    calibrator: fit(queries),
    reliability:
      tried === null || rest.length === 0
        ? null
        : reliability(
            rest.map(({ score }) => tried.probability(score)),
            rest.map(({ relevant }) => relevant),
          ),
  };
}

function verdictOf(floor: Floor, point: FloorPoint | null): string {
  const { alpha } = floor.toJSON();
  if (point === null || point.floor === null) {
    return `The floor is ${floor.value.toFixed(3)}, but no half of the queries has the ${queriesForFloor(alpha)} that a trial at alpha ${alpha} needs.`;
  }
  const percent = (share: number | null): string => `${(100 * (share ?? 0)).toFixed(1)} %`;
  if (point.caught === null)
    return `A floor of one half of the queries loses ${percent(point.lost)} of the other, at most ${percent(point.lostBound)}; without unanswerable queries nobody knows what it catches.`;
  const said = `A floor of one half of the queries says "nothing relevant" for ${percent(point.caught)} of the unanswerable ones, and loses ${percent(point.lost)} of the other half, at most ${percent(point.lostBound)}`;
  return point.caught < WORTH
    ? `${said}: the scores of this model hardly tell what nothing answers.`
    : `${said}.`;
}
