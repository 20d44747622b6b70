/**
 * From a raw score to the probability of relevance. Below 1,000 labels by Platt's sigmoid (J. Platt,
 * "Probabilistic Outputs for Support Vector Machines", 1999), two parameters; from there by isotonic
 * regression (B. Zadrozny and C. Elkan, KDD 2002), which takes any rising shape but overfits on few
 * labels (A. Niculescu-Mizil and R. Caruana, ICML 2005).
 */
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
import { fitLogistic, plattTargets, scaleOf, sigmoid } from './logistic.js';

export const ISOTONIC_FROM = 1000;

type Common = {
  version: typeof CALIBRATION_VERSION;
  fingerprint: CalibrationFingerprint;
  /** Labels it was fitted on. */
  relevant: number;
  irrelevant: number;
};

export type CalibratorFile =
  /** probability = sigmoid(slope * score + intercept) */
  | (Common & { kind: 'platt'; slope: number; intercept: number })
  /** Linear between the knots, which rise; level beyond the first and the last. */
  | (Common & { kind: 'isotonic'; scores: number[]; probabilities: number[] });

export type CalibratorOptions = {
  fingerprint: CalibrationFingerprint;
  /** Default: Platt below 1,000 labels, isotonic from there. */
  method?: 'platt' | 'isotonic';
};

export class Calibrator {
  private constructor(private readonly file: CalibratorFile) {}

  /** Of parsed JSON. Throws INVALID_ARGUMENT naming the field, UNSUPPORTED_FORMAT. */
  static from(value: unknown): Calibrator {
    return new Calibrator(checkCalibratorFile(value));
  }

  get kind(): 'platt' | 'isotonic' {
    return this.file.kind;
  }

  /** Of a raw score (a logit, or a MaxSim score); never falls where the score rises. */
  probability(score: number): number {
    checkFinite('score', score);
    const { file } = this;
    return file.kind === 'platt'
      ? sigmoid(file.slope * score + file.intercept)
      : interpolate(file.scores, file.probabilities, score);
  }

  toJSON(): CalibratorFile {
    return structuredClone(this.file);
  }
}

/**
 * Of one raw score and one label for each judged pair. Throws INVALID_ARGUMENT where a class is missing,
 * and where relevance does not rise with the score (a distance given as a score).
 */
export function fitCalibrator(
  scores: readonly number[],
  labels: readonly boolean[],
  { fingerprint, method }: CalibratorOptions,
): Calibrator {
  checkNumbers('scores', scores);
  if (labels.length !== scores.length)
    throw invalid('labels', `as many as the ${scores.length} scores`, labels);
  const relevant = labels.filter(Boolean).length;
  const irrelevant = labels.length - relevant;
  if (relevant === 0 || irrelevant === 0) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `labels must hold relevant and irrelevant pairs, but ${relevant} are relevant and ${irrelevant} irrelevant.`,
    );
  }
  const kind = method ?? (labels.length < ISOTONIC_FROM ? 'platt' : 'isotonic');
  const common = { version: CALIBRATION_VERSION, fingerprint, relevant, irrelevant } as const;
  const curve = kind === 'platt' ? platt(scores, labels) : isotonic(scores, labels);
  return Calibrator.from({ ...common, ...curve });
}

function platt(
  scores: readonly number[],
  labels: readonly boolean[],
): { kind: 'platt'; slope: number; intercept: number } {
  const { mean, scale } = scaleOf(scores);
  const rows = scores.map((score) => [(score - mean) / scale]);
  const { intercept, weights } = fitLogistic(rows, plattTargets(labels));
  const slope = (weights[0] as number) / scale;
  if (!(slope > 0)) throw notRising();
  return { kind: 'platt', slope, intercept: intercept - slope * mean };
}

type Block = { first: number; last: number; weight: number; mean: number };

/** By pooling adjacent violators; both ends of each block are knots, so the fit is exact at its scores. */
function isotonic(
  scores: readonly number[],
  labels: readonly boolean[],
): { kind: 'isotonic'; scores: number[]; probabilities: number[] } {
  const order = scores
    .map((score, i) => ({ score, label: labels[i] ? 1 : 0 }))
    .sort((a, b) => a.score - b.score);
  const blocks: Block[] = [];
  const pool = (): void => {
    const b = blocks.pop() as Block;
    const a = blocks.pop() as Block;
    const weight = a.weight + b.weight;
    const mean = (a.mean * a.weight + b.mean * b.weight) / weight;
    blocks.push({ first: a.first, last: b.last, weight, mean });
  };
  order.forEach(({ score, label }, i) => {
    blocks.push({ first: score, last: score, weight: 1, mean: label });
    if (i > 0 && order[i - 1]?.score === score) pool();
    // A block of equal scores is whole before it is compared.
    if (order[i + 1]?.score === score) return;
    while (blocks.length > 1 && (blocks.at(-2) as Block).mean >= (blocks.at(-1) as Block).mean)
      pool();
  });
  if (blocks.length === 1) throw notRising();
  const knots = blocks.flatMap(({ first, last, mean }) =>
    first === last ? [{ score: first, mean }] : [first, last].map((score) => ({ score, mean })),
  );
  return {
    kind: 'isotonic',
    scores: knots.map(({ score }) => score),
    probabilities: knots.map(({ mean }) => mean),
  };
}

function notRising(): MaxSimError {
  return new MaxSimError(
    'INVALID_ARGUMENT',
    'scores must rise with relevance, but the relevant pairs score no higher than the others; a distance must be negated first.',
  );
}

function interpolate(xs: readonly number[], ys: readonly number[], x: number): number {
  let low = 0;
  let high = xs.length - 1;
  if (x <= (xs[low] as number)) return ys[low] as number;
  if (x >= (xs[high] as number)) return ys[high] as number;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((xs[middle] as number) <= x) low = middle;
    else high = middle;
  }
  const share = (x - (xs[low] as number)) / ((xs[high] as number) - (xs[low] as number));
  return (ys[low] as number) + share * ((ys[high] as number) - (ys[low] as number));
}

function checkCalibratorFile(value: unknown): CalibratorFile {
  const file = checkFile('calibrator', value, ['platt', 'isotonic']);
  const common = {
    version: CALIBRATION_VERSION,
    fingerprint: checkFingerprint('calibrator.fingerprint', file['fingerprint']),
    relevant: checkCount('calibrator.relevant', file['relevant']),
    irrelevant: checkCount('calibrator.irrelevant', file['irrelevant']),
  } as const;
  if (file['kind'] === 'platt') {
    const slope = checkWithin('calibrator.slope', file['slope'], 0, Number.MAX_VALUE);
    const intercept = checkFinite('calibrator.intercept', file['intercept']);
    return { ...common, kind: 'platt', slope, intercept };
  }
  const scores = checkNumbers('calibrator.scores', file['scores']);
  const probabilities = checkNumbers('calibrator.probabilities', file['probabilities']);
  const rising = scores.every((score, i) => i === 0 || score > (scores[i - 1] as number));
  if (scores.length === 0 || !rising)
    throw invalid('calibrator.scores', 'one or more rising numbers', scores);
  const valid = probabilities.every(
    (p, i) => p >= (i === 0 ? 0 : (probabilities[i - 1] as number)) && p <= 1,
  );
  if (probabilities.length !== scores.length || !valid) {
    throw invalid(
      'calibrator.probabilities',
      `${scores.length} numbers from 0 to 1 that never fall`,
      probabilities,
    );
  }
  return { ...common, kind: 'isotonic', scores, probabilities };
}
