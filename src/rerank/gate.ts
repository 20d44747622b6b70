/**
 * Selective reranking: whether the cheap ranking of a query is surely as good as the expensive one. One
 * score, learned by ridge logistic regression: the probability that reranking gains nothing. Four
 * features and a few hundred queries bear no more than one weight each, and one score leaves one
 * threshold to calibrate.
 */
import { checkArray, checkInteger } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import {
  CALIBRATION_VERSION,
  type CalibrationFingerprint,
  checkCount,
  checkFile,
  checkFingerprint,
  checkFinite,
  checkNumbers,
  checkWithin,
} from './calibration.js';
import { fitLogistic, linear, plattTargets, scaleOf, sigmoid } from './logistic.js';

/** None depends on the unit or the zero of the scores. */
export type GateFeatures = {
  /** (first - second) / (first - median) of the top scores, 0 to 1; 1 where there is one candidate. */
  margin: number;
  /** Entropy of the softmaxed top scores over that of a uniform distribution, 0 to 1. */
  entropy: number;
  /** Share of the top k that the first stage has in its own top k, 0 to 1. */
  overlap: number;
  /** Words of the query. */
  queryWords: number;
};

const FEATURES = ['margin', 'entropy', 'overlap', 'queryWords'] as const;
const DEPTH = 10;

/**
 * Of a cheap ranking: raw scores and ids, best first, and the ids of the first stage in its order (the
 * same ids where the cheap ranking is the first stage: a feature that never varies weighs nothing).
 */
export function gateFeatures({
  scores,
  ids,
  firstStageIds,
  queryWords,
}: {
  scores: readonly number[];
  ids: readonly string[];
  firstStageIds: readonly string[];
  queryWords: number;
}): GateFeatures {
  const top = checkNumbers('scores', scores).slice(0, DEPTH);
  if (top.length === 0 || top.some((score, i) => i > 0 && score > (top[i - 1] as number))) {
    throw new MaxSimError('INVALID_ARGUMENT', 'scores must be one or more numbers, best first.');
  }
  checkInteger('queryWords', queryWords, 0, Number.MAX_SAFE_INTEGER);
  const first = new Set(firstStageIds.slice(0, DEPTH));
  const own = ids.slice(0, DEPTH);
  const overlap = own.length === 0 ? 0 : own.filter((id) => first.has(id)).length / own.length;
  return { margin: marginOf(top), entropy: entropyOf(top), overlap, queryWords };
}

const WORD = /[\p{L}\p{N}]+/gu;

/** As `queryWords` counts them: runs of letters and digits. */
export function countWords(text: string): number {
  return text.match(WORD)?.length ?? 0;
}

function marginOf(top: readonly number[]): number {
  if (top.length === 1) return 1;
  const best = top[0] as number;
  // The median, not the last: one stray candidate at the end must not change it.
  const spread = best - (top[top.length >> 1] as number);
  return spread === 0 ? 0 : (best - (top[1] as number)) / spread;
}

/**
 * The temperature is the interquartile range of the top scores: a standard deviation would grow with the
 * very outlier at the top that is to be seen.
 */
function entropyOf(top: readonly number[]): number {
  if (top.length === 1) return 0;
  const best = top[0] as number;
  const last = top.at(-1) as number;
  if (best === last) return 1;
  const quarter = Math.floor(top.length / 4);
  const range = (top[quarter] as number) - (top[top.length - 1 - quarter] as number);
  const temperature = range > 0 ? range : best - last;
  const weights = top.map((score) => Math.exp((score - best) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const entropy = weights.reduce((sum, weight) => {
    const p = weight / total;
    return p === 0 ? sum : sum - p * Math.log(p);
  }, 0);
  return Math.min(1, entropy / Math.log(top.length));
}

export type GateFile = {
  version: typeof CALIBRATION_VERSION;
  kind: 'gate';
  fingerprint: CalibrationFingerprint;
  /** In the order margin, entropy, overlap, log(1 + queryWords), of the raw features. */
  weights: number[];
  intercept: number;
  /** Skips from this score on. Above 1: never. */
  threshold: number;
  /** Queries its score was fitted on. */
  queries: number;
};

export class Gate {
  private constructor(private readonly file: GateFile) {}

  /** Of parsed JSON. Throws INVALID_ARGUMENT naming the field, UNSUPPORTED_FORMAT. */
  static from(value: unknown): Gate {
    const file = checkFile('gate', value, ['gate']);
    const weights = checkNumbers('gate.weights', file['weights']);
    if (weights.length !== FEATURES.length)
      throw invalid('gate.weights', `${FEATURES.length} numbers`, weights);
    return new Gate({
      version: CALIBRATION_VERSION,
      kind: 'gate',
      fingerprint: checkFingerprint('gate.fingerprint', file['fingerprint']),
      weights,
      intercept: checkFinite('gate.intercept', file['intercept']),
      threshold: checkWithin('gate.threshold', file['threshold'], 0, 2),
      queries: checkCount('gate.queries', file['queries']),
    });
  }

  /** `score` is the probability that reranking gains nothing. */
  decide(features: GateFeatures): { skip: boolean; score: number } {
    const score = sigmoid(linear(this.file, rowOf(features)));
    return { skip: score >= this.file.threshold, score };
  }

  withThreshold(threshold: number): Gate {
    return Gate.from({ ...this.file, threshold });
  }

  toJSON(): GateFile {
    return structuredClone(this.file);
  }
}

const NEVER = 2;

/**
 * A gate that never skips until it is given a threshold. `gains` has the nDCG of the expensive less that
 * of the cheap ranking of each query; `ridge` is that of fitLogistic, over features of unit scale.
 */
export function fitGate(
  features: readonly GateFeatures[],
  gains: readonly number[],
  { fingerprint, ridge = 1 }: { fingerprint: CalibrationFingerprint; ridge?: number },
): Gate {
  checkArray('features', features);
  checkNumbers('gains', gains);
  if (features.length < 2 || gains.length !== features.length)
    throw invalid('features', 'two or more, as many as gains', features);
  const rows = features.map(rowOf);
  const scales = FEATURES.map((_, i) => scaleOf(rows.map((row) => row[i] as number)));
  const scaled = rows.map((row) =>
    scales.map(({ mean, scale }, i) => ((row[i] as number) - mean) / scale),
  );
  const fit = fitLogistic(scaled, plattTargets(gains.map((gain) => gain <= 0)), { ridge });
  const weights = scales.map(({ scale }, i) => (fit.weights[i] as number) / scale);
  const intercept = scales.reduce(
    (sum, { mean }, i) => sum - (weights[i] as number) * mean,
    fit.intercept,
  );
  const made = { fingerprint, weights, intercept, threshold: NEVER, queries: features.length };
  return Gate.from({ version: CALIBRATION_VERSION, kind: 'gate', ...made });
}

function rowOf(features: GateFeatures): number[] {
  const row = FEATURES.map((name) => checkFinite(`features.${name}`, features[name]));
  row[3] = Math.log1p(Math.max(0, row[3] as number));
  return row;
}
