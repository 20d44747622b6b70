import { describe, expect, it } from 'vitest';
import { meanInterval, normalQuantile, normalShare } from '../../dist/evaluate/bootstrap.js';
import { seededRandom } from '../../dist/random.js';

/** By Box and Muller. */
function gauss(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

describe('the BCa interval of a mean', () => {
  it('has no width where the data have none', () => {
    expect(meanInterval([0.1, 0.1, 0.1])).toEqual({ mean: 0.1, low: 0.1, high: 0.1 });
    expect(meanInterval([7])).toEqual({ mean: 7, low: 7, high: 7 });
  });

  it('is that of the normal distribution for many symmetrical data', () => {
    const values = Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? 1 : -1));
    const { mean, low, high } = meanInterval(values, { resamples: 8000, seed: 3 });
    expect(mean).toBe(0);
    // 1.96 standard errors of 1 / sqrt(400).
    expect(low).toBeCloseTo(-0.098, 2);
    expect(high).toBeCloseTo(0.098, 2);
  });

  it('leans to the long side of skewed data', () => {
    const values = [...new Array(38).fill(0), 1, 2];
    const { mean, low, high } = meanInterval(values, { seed: 1 });
    expect(high - mean).toBeGreaterThan(1.5 * (mean - low));
    const mirrored = meanInterval(
      values.map((value) => -value),
      { seed: 1 },
    );
    expect(mirrored.mean - mirrored.low).toBeGreaterThan(1.5 * (mirrored.high - mirrored.mean));
  });

  it('holds the true mean about as often as it says', () => {
    const random = seededRandom(11);
    const rounds = 300;
    let held = 0;
    for (let round = 0; round < rounds; round++) {
      // Squares of a normal distribution: mean 1, skewed.
      const values = Array.from({ length: 60 }, () => gauss(random) ** 2);
      const { low, high } = meanInterval(values, { resamples: 500, seed: round });
      if (low <= 1 && 1 <= high) held += 1;
    }
    expect(held / rounds).toBeGreaterThan(0.9);
    expect(held / rounds).toBeLessThan(0.985);
  });

  it('is wider for more confidence, and the same for the same seed', () => {
    const random = seededRandom(5);
    const values = Array.from({ length: 50 }, () => random());
    const usual = meanInterval(values, { seed: 9 });
    const wide = meanInterval(values, { seed: 9, confidence: 0.99 });
    expect(wide.low).toBeLessThan(usual.low);
    expect(wide.high).toBeGreaterThan(usual.high);
    expect(meanInterval(values, { seed: 9 })).toEqual(usual);
  });
});

it('the normal distribution and its inverse agree with the tables', () => {
  expect(normalShare(0)).toBeCloseTo(0.5, 6);
  expect(normalShare(1.959964)).toBeCloseTo(0.975, 6);
  expect(normalShare(-1.644854)).toBeCloseTo(0.05, 6);
  expect(normalQuantile(0.975)).toBeCloseTo(1.959964, 4);
  expect(normalQuantile(0.0005)).toBeCloseTo(-3.290527, 3);
});
