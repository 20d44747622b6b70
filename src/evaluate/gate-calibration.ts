/**
 * The gate that skips most while its loss stays below epsilon. Its score is fitted on one half of the
 * queries, its threshold found on the other by Learn then Test (A. N. Angelopoulos et al., "Learn then
 * Test: Calibrating Predictive Algorithms to Achieve Risk Control", 2021) with fixed-sequence testing:
 * thresholds that the first half gave are tested from the fewest skips on, each at the full level, up
 * to the first that fails, so that the choice among them costs nothing.
 */
import { checkInteger } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { drawSome, seededRandom } from '../random.js';
import { type CalibrationFingerprint, checkShare, checkWithin } from '../rerank/calibration.js';
import { fitGate, type Gate, type GateFeatures } from '../rerank/gate.js';
import { meanInterval, meanOf } from './bootstrap.js';

/** One train query: nDCG@10 of the cheap and of the expensive ranking. */
export type GateQuery = { features: GateFeatures; cheap: number; expensive: number };

export type GateCalibrationOptions = {
  fingerprint: CalibrationFingerprint;
  /** Mean loss of nDCG@10, over all queries, that the gate must stay below. */
  epsilon: number;
  /** Default: 0.95. */
  confidence?: number;
  /**
   * 'betting' (default) holds for any number of queries, and bounds the losses alone: no gain of another
   * query makes up for one. 'bootstrap' bounds the mean difference, gains included, and holds about, for
   * many queries; it cannot see a loss that is in none of the queries.
   */
  bound?: 'betting' | 'bootstrap';
  seed?: number;
  /** Of the bootstrap. Default: 2,000. */
  resamples?: number;
};

export type GatePoint = {
  threshold: number;
  /** Share of the queries of the second half that are skipped. */
  skipShare: number;
  /** Mean over all queries, skipped or not, of max(0, expensive - cheap) of those skipped. */
  loss: number;
  /** Mean over all queries of expensive - cheap of those skipped: below 0 where skipping gains. */
  netLoss: number;
  /** Upper confidence bounds: of `loss` by betting, of `netLoss` by the bootstrap. */
  lossBound: number;
  netLossBound: number;
};

export type GateCalibration = {
  /** Fewest skips first. */
  curve: GatePoint[];
  chosen: GatePoint | null;
  /** Never skips where nothing qualifies. */
  gate: Gate;
  verdict: string;
};

const STEPS = 20;
const LEAST = 20;

/** Throws INVALID_ARGUMENT below 20 queries, or for an nDCG outside 0 to 1. */
export function calibrateGate(
  queries: readonly GateQuery[],
  {
    fingerprint,
    epsilon,
    confidence = 0.95,
    bound = 'betting',
    seed = 0,
    resamples = 2000,
  }: GateCalibrationOptions,
): GateCalibration {
  checkShare('epsilon', epsilon);
  checkShare('confidence', confidence);
  if (confidence <= 0.5) throw invalid('confidence', 'a number above 0.5 and below 1', confidence);
  checkInteger('seed', seed, 0, 2 ** 32 - 1);
  if (queries.length < LEAST) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `A gate needs ${LEAST} or more queries, but ${queries.length} were given.`,
    );
  }
  queries.forEach(({ cheap, expensive }, i) => {
    checkWithin(`queries[${i}].cheap`, cheap, 0, 1);
    checkWithin(`queries[${i}].expensive`, expensive, 0, 1);
  });
  const shuffled = drawSome(queries, queries.length, seededRandom(seed));
  const half = shuffled.length >> 1;
  const fitting = shuffled.slice(0, half);
  const testing = shuffled.slice(half);
  const gate = fitGate(
    fitting.map(({ features }) => features),
    fitting.map(({ cheap, expensive }) => expensive - cheap),
    { fingerprint },
  );
  const scored = testing.map((query) => ({ ...query, score: gate.decide(query.features).score }));
  const curve = thresholdsOf(fitting.map(({ features }) => gate.decide(features).score)).map(
    (threshold): GatePoint => {
      const net = scored.map(({ score, cheap, expensive }) =>
        score >= threshold ? expensive - cheap : 0,
      );
      const losses = net.map((value) => Math.max(0, value));
      return {
        threshold,
        skipShare: scored.filter(({ score }) => score >= threshold).length / scored.length,
        loss: meanOf(losses),
        netLoss: meanOf(net),
        lossBound: meanBound(losses, confidence),
        netLossBound: meanInterval(net, { confidence: 2 * confidence - 1, seed, resamples }).high,
      };
    },
  );
  const boundOf = (point: GatePoint): number =>
    bound === 'betting' ? point.lossBound : point.netLossBound;
  const failed = curve.findIndex((point) => boundOf(point) >= epsilon);
  const chosen = curve.slice(0, failed < 0 ? curve.length : failed).at(-1) ?? null;
  return {
    curve,
    chosen,
    gate: chosen === null ? gate : gate.withThreshold(chosen.threshold),
    verdict:
      chosen === null
        ? `No setting is shown to lose less than ${epsilon} nDCG@10 at confidence ${confidence}: with ${testing.length} queries, even the fewest skips may lose ${boundOf(curve[0] as GatePoint).toFixed(4)}.`
        : `Skips ${(100 * chosen.skipShare).toFixed(1)} % of queries and loses less than ${epsilon} nDCG@10 at confidence ${confidence}${bound === 'betting' ? '' : ', gains counted'} (measured: ${(bound === 'betting' ? chosen.loss : chosen.netLoss).toFixed(4)}).`,
  };
}

/** Those at which 5, 10 … 95 % of the queries that gave them are skipped, highest first, then all. */
function thresholdsOf(scores: readonly number[]): number[] {
  const sorted = [...scores].sort((a, b) => b - a);
  const picked = Array.from(
    { length: STEPS - 1 },
    (_, i) => sorted[Math.ceil(((i + 1) * sorted.length) / STEPS) - 1] as number,
  );
  return [...new Set([...picked, 0])];
}

/**
 * Upper bound of the mean of values within [0, 1] in random order, by betting: I. Waudby-Smith and
 * A. Ramdas, "Estimating Means of Bounded Random Variables by Betting", JRSS B, 2024, in the form of
 * S. Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets", 2021, proposition 5. Where no
 * value is above 0 it is about ln(20) / n at .95: 620 queries for a bound of 0.005.
 */
export function meanBound(values: readonly number[], confidence: number): number {
  const wanted = Math.log(1 / (1 - confidence));
  const bets: number[] = [];
  let sum = 0.5;
  let squares = 0.25;
  values.forEach((value, i) => {
    bets.push(Math.min(1, Math.sqrt((2 * wanted * (i + 1)) / (values.length * squares))));
    sum += value;
    squares += (value - sum / (i + 2)) ** 2;
  });
  const refuted = (mean: number): boolean => {
    let capital = 0;
    return values.some((value, i) => {
      capital += Math.log1p(-(bets[i] as number) * (value - mean));
      return capital > wanted;
    });
  };
  let low = 0;
  let high = 1;
  for (let step = 0; step < 40; step++) {
    const middle = (low + high) / 2;
    if (refuted(middle)) high = middle;
    else low = middle;
  }
  return high;
}
