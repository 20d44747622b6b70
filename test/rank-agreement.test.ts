import { describe, expect, it } from 'vitest';
import { kendallTauB, topOverlap } from '../dist/rank-agreement.js';

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
