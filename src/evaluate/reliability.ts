/** How far probabilities are from what happens. */
import { invalid } from '../errors.js';
import { checkNumbers } from '../rerank/calibration.js';
import { meanOf } from './bootstrap.js';

export type ReliabilityBin = { count: number; predicted: number; observed: number };

export type Reliability = {
  /** Mean squared error (G. W. Brier, 1950). */
  brier: number;
  /** Expected calibration error (M. P. Naeini et al., AAAI 2015), over bins of equal width. */
  ece: number;
  /** Those that hold anything, lowest first; means of their probabilities and labels. */
  bins: ReliabilityBin[];
};

export function reliability(
  probabilities: readonly number[],
  labels: readonly boolean[],
  { bins = 10 }: { bins?: number } = {},
): Reliability {
  checkNumbers('probabilities', probabilities);
  if (probabilities.length === 0 || labels.length !== probabilities.length)
    throw invalid(
      'labels',
      `as many as the ${probabilities.length} probabilities, one or more`,
      labels,
    );
  const pairs = probabilities.map((p, i) => ({ p, y: labels[i] ? 1 : 0 }));
  const groups = Array.from({ length: bins }, (_, bin) =>
    pairs.filter(({ p }) => Math.min(bins - 1, Math.floor(p * bins)) === bin),
  ).filter((group) => group.length > 0);
  const made = groups.map((group) => ({
    count: group.length,
    predicted: meanOf(group.map(({ p }) => p)),
    observed: meanOf(group.map(({ y }) => y)),
  }));
  return {
    brier: meanOf(pairs.map(({ p, y }) => (p - y) ** 2)),
    ece: made.reduce(
      (sum, { count, predicted, observed }) =>
        sum + (count / pairs.length) * Math.abs(predicted - observed),
      0,
    ),
    bins: made,
  };
}
