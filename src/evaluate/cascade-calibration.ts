/**
 * How many candidates the stage after late interaction should read: the fewest that rank as well as the
 * most, where it helps at all. All depths are read off one measurement of the most, since a stage's
 * scores do not depend on how many it reads.
 */
import { MaxSimError } from '../errors.js';
import { type Interval, meanInterval, meanOf } from './bootstrap.js';
import { ndcg, precision } from './measures.js';
import type { MeasuredQuery } from './pipeline-measurement.js';

export type CascadePoint = {
  /** Candidates that it reads. */
  keep: number;
  ndcg: number;
  precision5: number;
  /** nDCG@10 less that of late interaction, and that of the most candidates less this. */
  gain: Interval;
  loss: Interval;
  /** Shares of queries that get better and worse than by late interaction alone. */
  better: number;
  worse: number;
  /** What it reads of what it reads at the most, in characters: about its share of the time. */
  share: number;
};

export type CascadeCalibration = {
  queries: number;
  /** nDCG@10 and P@5 of the order that came in, and of late interaction. */
  first: { ndcg: number; precision5: number };
  late: { ndcg: number; precision5: number };
  /** Milliseconds a query of each stage, at the most candidates. */
  stageMs: number[];
  points: CascadePoint[];
  /** Null where the stage is not shown to help. */
  chosen: CascadePoint | null;
  verdict: string;
};

export type CascadeCalibrationOptions = {
  /** nDCG@10 that may be lost against the most candidates. Default: 0.01. */
  epsilon?: number;
  confidence?: number;
  seed?: number;
};

const DEPTHS = [5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000];
const LEAST = 10;
const K = 10;

/** Of a pipeline of late interaction and one more stage. Throws INVALID_ARGUMENT below 10 queries. */
export function calibrateCascade(
  measured: readonly MeasuredQuery[],
  { epsilon = 0.01, confidence = 0.95, seed = 0 }: CascadeCalibrationOptions = {},
): CascadeCalibration {
  const queries = measured.filter(({ answerable }) => answerable);
  if (queries.length < LEAST) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `A cascade needs ${LEAST} or more queries with a relevant document, but ${queries.length} were given.`,
    );
  }
  const most = Math.max(...queries.map(({ candidates }) => candidates.size));
  const keeps = [...DEPTHS.filter((depth) => depth < most), most];
  const late = queries.map((query) => qualityOf(query, query.orders[0] ?? []));
  const widest = queries.map((query) => qualityOf(query, reordered(query, most)));
  const interval = (values: readonly number[]): Interval =>
    meanInterval(values, { confidence, seed });
  const points = keeps.map((keep): CascadePoint => {
    const own = queries.map((query) => qualityOf(query, reordered(query, keep)));
    const gains = own.map(({ ndcg }, i) => ndcg - (late[i]?.ndcg ?? 0));
    return {
      keep,
      ndcg: meanOf(own.map(({ ndcg }) => ndcg)),
      precision5: meanOf(own.map(({ precision5 }) => precision5)),
      gain: interval(gains),
      loss: interval(own.map(({ ndcg }, i) => (widest[i]?.ndcg ?? 0) - ndcg)),
      better: meanOf(gains.map((gain) => (gain > 0 ? 1 : 0))),
      worse: meanOf(gains.map((gain) => (gain < 0 ? 1 : 0))),
      share: meanOf(queries.map((query) => shareRead(query, keep))),
    };
  });
  const helped = points.some(({ gain }) => gain.low > 0);
  const chosen = helped
    ? (points.find(({ gain, loss }) => gain.low > 0 && loss.high < epsilon) ??
      // No depth is shown to lose so little: the best is the answer.
      points.reduce((a, b) => (b.ndcg > a.ndcg ? b : a)))
    : null;
  const of = (some: readonly Quality[]): Quality => ({
    ndcg: meanOf(some.map(({ ndcg }) => ndcg)),
    precision5: meanOf(some.map(({ precision5 }) => precision5)),
  });
  return {
    queries: queries.length,
    first: of(queries.map((query) => qualityOf(query, query.first))),
    late: of(late),
    stageMs: (queries[0]?.stageMs ?? []).map((_, stage) =>
      meanOf(queries.map(({ stageMs }) => stageMs[stage] ?? 0)),
    ),
    points,
    chosen,
    verdict: verdictOf(points, chosen),
  };
}

function verdictOf(points: readonly CascadePoint[], chosen: CascadePoint | null): string {
  const most = points.at(-1) as CascadePoint;
  const said = ({ mean, low, high }: Interval): string =>
    `${mean.toFixed(4)} [${low.toFixed(4)} to ${high.toFixed(4)}]`;
  if (chosen === null) {
    const what =
      most.gain.high < 0
        ? 'makes these rankings worse: leave it out.'
        : 'is not shown to help here: leave it out, or measure with more queries.';
    return `The stage after late interaction changes nDCG@10 by ${said(most.gain)} over ${most.keep} candidates and ${what}`;
  }
  return `Reading ${chosen.keep} of ${most.keep} candidates gains ${said(chosen.gain)} nDCG@10 over late interaction, keeps ${((100 * chosen.ndcg) / most.ndcg).toFixed(1)} % of what reading all of them has, and reads ${(100 * chosen.share).toFixed(0)} % as much.`;
}

/** The best `keep` of late interaction in the order of the stage after it, then the others. */
function reordered({ orders, candidates }: MeasuredQuery, keep: number): string[] {
  const late = orders[0] ?? [];
  const scoreOf = (id: string): number => candidates.get(id)?.scores[1] ?? Number.NEGATIVE_INFINITY;
  const read = late.slice(0, keep).sort((a, b) => scoreOf(b) - scoreOf(a));
  return [...read, ...late.slice(keep)];
}

function shareRead({ orders, candidates, text }: MeasuredQuery, keep: number): number {
  const lengths = (orders[0] ?? []).map(
    (id) => text.length + (candidates.get(id)?.characters ?? 0),
  );
  const sum = (some: readonly number[]): number => some.reduce((a, b) => a + b, 0);
  return sum(lengths.slice(0, keep)) / sum(lengths);
}

type Quality = { ndcg: number; precision5: number };

function qualityOf({ grades }: MeasuredQuery, order: readonly string[]): Quality {
  return { ndcg: ndcg(order, grades, K), precision5: precision(order, grades, 5) };
}
