import { expect, it } from 'vitest';
import { reciprocalRankFusion } from '../../dist/retrieve/fusion.js';

it('adds 1 / (60 + rank) over the rankings that hold a document', () => {
  const fused = reciprocalRankFusion(
    [
      ['a', 'b', 'c'],
      ['b', 'd'],
    ],
    10,
  );
  expect(fused.map(({ id }) => id)).toEqual(['b', 'a', 'd', 'c']);
  expect(fused[0]?.score).toBeCloseTo(1 / 62 + 1 / 61, 12);
  expect(fused[1]?.score).toBeCloseTo(1 / 61, 12);
});

it('ties go to the better rank, then to the id, and the list ends at topK', () => {
  const rankings = [
    ['b', 'x'],
    ['a', 'x'],
  ];
  expect(reciprocalRankFusion(rankings, 10).map(({ id }) => id)).toEqual(['x', 'a', 'b']);
  expect(reciprocalRankFusion(rankings, 2).map(({ id }) => id)).toEqual(['x', 'a']);
  expect(reciprocalRankFusion([], 5)).toEqual([]);
});
