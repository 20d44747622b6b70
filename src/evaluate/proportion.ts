/**
 * The exact interval of a share that was counted: C. J. Clopper and E. S. Pearson, "The Use of
 * Confidence or Fiducial Limits", Biometrika 26, 1934.
 */
import { checkInteger } from '../check.js';

/**
 * Bounds of a share of which `count` of `total` were seen. Each bound alone fails with probability
 * (1 - confidence) / 2 at most: for a one-sided bound at .95 take the `high` of confidence .9.
 */
export function proportionInterval(
  count: number,
  total: number,
  { confidence = 0.95 }: { confidence?: number } = {},
): { share: number; low: number; high: number } {
  checkInteger('total', total, 1, Number.MAX_SAFE_INTEGER);
  checkInteger('count', count, 0, total);
  const tail = (1 - confidence) / 2;
  return {
    share: count / total,
    low: count === 0 ? 0 : betaQuantile(tail, count, total - count + 1),
    high: count === total ? 1 : betaQuantile(1 - tail, count + 1, total - count),
  };
}

/** By halving: 60 steps over [0, 1] leave nothing to refine. */
function betaQuantile(share: number, a: number, b: number): number {
  let low = 0;
  let high = 1;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (betaShare(middle, a, b) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method). */
function betaShare(x: number, a: number, b: number): number {
  if (x > (a + 1) / (a + b + 2)) return 1 - betaShare(1 - x, b, a);
  if (x === 0) return 0;
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  );
  const away = (value: number): number => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m < 10_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    fraction *= c * d;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    fraction *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return (front * fraction) / a;
}

/** Of 1 or more: Stirling's series (DLMF 5.11.1), shifted up to 10, where its error is below 1e-13. */
function logGamma(x: number): number {
  let shift = 0;
  let y = x;
  for (; y < 10; y++) shift += Math.log(y);
  const r = 1 / (y * y);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
