import { describe, expect, it } from 'vitest';
import { kendallTau, kendallTauB, rankBiasedOverlap, topOverlap } from '../dist/rank-agreement.js';

describe("Kendall's tau-b", () => {
  it('is 1 for the same order and -1 for the reverse', () => {
    expect(kendallTauB([4, 3, 2, 1], [40, 31, 22, 13])).toBe(1);
    expect(kendallTauB([4, 3, 2, 1], [1, 2, 3, 4])).toBe(-1);
  });

  it('counts pairs in the other order', () => {
    // One of six pairs is swapped: (5 - 1) / 6.
    expect(kendallTauB([4, 3, 2, 1], [4, 2, 3, 1])).toBeCloseTo(4 / 6, 12);
  });

  it('corrects for ties on either side', () => {
    // Ten pairs; a ties one, b ties one, another one; of the eight others one is reversed.
    // (7 - 1) / sqrt(9 * 9)
    expect(kendallTauB([1, 2, 2, 3, 4], [1, 3, 2, 2, 4])).toBeCloseTo(6 / 9, 12);
    // b ties two of three pairs and the third agrees: 1 / sqrt(3 * 1) would be for one pair left.
    expect(kendallTauB([1, 2, 3], [1, 1, 2])).toBeCloseTo(2 / Math.sqrt(3 * 2), 12);
  });

  it('is NaN where one side orders nothing', () => {
    expect(kendallTauB([1, 2], [5, 5])).toBeNaN();
    expect(kendallTauB([1], [1])).toBeNaN();
  });
});

it('overlap is the share of the reference that is found, whatever its order', () => {
  expect(topOverlap(['a', 'b', 'c'], ['b', 'a', 'd', 'c'], 3)).toBeCloseTo(2 / 3, 12);
  expect(topOverlap(['a', 'b'], ['b', 'a', 'd'], 10)).toBe(1);
});

it("Kendall's tau of rankings looks at what both hold", () => {
  expect(kendallTau(['a', 'x', 'b', 'c'], ['a', 'b', 'c', 'y'])).toBe(1);
  expect(kendallTau(['a', 'b', 'c'], ['c', 'b', 'a'])).toBe(-1);
  expect(kendallTau(['a', 'b'], ['a', 'c'])).toBeNaN();
});

describe('rank-biased overlap', () => {
  it('is 1 for the same ranking, 0 for disjoint ones, whatever the persistence', () => {
    for (const persistence of [0.5, 0.9, 0.98]) {
      expect(rankBiasedOverlap(['a', 'b', 'c'], ['a', 'b', 'c'], persistence)).toBeCloseTo(1, 12);
      expect(rankBiasedOverlap(['a', 'b'], ['c', 'd'], persistence)).toBe(0);
    }
    expect(rankBiasedOverlap([], [])).toBe(1);
    expect(rankBiasedOverlap([], ['a'])).toBe(0);
  });

  it('follows the definition for rankings of one length', () => {
    // Agreement 0, 1, 2/3; extrapolated with 2/3.
    const p = 0.9;
    const expected = ((1 - p) / p) * ((2 / 2) * p ** 2 + (2 / 3) * p ** 3) + (2 / 3) * p ** 3;
    expect(rankBiasedOverlap(['a', 'b', 'c'], ['b', 'a', 'd'], p)).toBeCloseTo(expected, 12);
  });

  it('follows equation 32 for rankings of unequal length, either way round', () => {
    // s = 1, l = 2: X1 = 1, X2 = 1; the second agreement is X2/2 + X1(2-1)/(2*1) = 1.
    expect(rankBiasedOverlap(['a'], ['a', 'b'], 0.9)).toBeCloseTo(1, 12);
    // s = 1, l = 2: X1 = 0, X2 = 1: (1-p)/p * (1/2) p^2 + (1/2) p^2 = p / 2.
    expect(rankBiasedOverlap(['b'], ['a', 'b'], 0.8)).toBeCloseTo(0.4, 12);
    expect(rankBiasedOverlap(['a', 'b'], ['b'], 0.8)).toBeCloseTo(0.4, 12);
  });

  it('weighs a difference at the top more', () => {
    const base = ['a', 'b', 'c', 'd', 'e'];
    const top = rankBiasedOverlap(base, ['b', 'a', 'c', 'd', 'e']);
    const bottom = rankBiasedOverlap(base, ['a', 'b', 'c', 'e', 'd']);
    expect(top).toBeLessThan(bottom);
  });
});
