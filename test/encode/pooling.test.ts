import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { pool } from '../../dist/encode/pooling.js';
import { cutTree, wardTree } from '../../dist/encode/ward.js';

type Case = {
  name: string;
  dim: number;
  poolFactor: number;
  poolProtected: number;
  vectors: number[];
  pooled: number[];
};

const cases = JSON.parse(
  readFileSync(new URL('samples/ward.json', import.meta.url), 'utf8'),
) as Case[];

describe('pools as PyLate does, row by row', () => {
  it.each(cases.map((sample) => [sample.name, sample] as const))('%s', (_, sample) => {
    const { vectors, dim, poolFactor: factor, poolProtected: protectedTokens } = sample;
    const pooling = { factor, protectedTokens, normalise: false };
    const pooled = pool(Float32Array.from(vectors), dim, pooling);
    expect(pooled).toHaveLength(sample.pooled.length);
    pooled.forEach((value, i) => {
      expect(value).toBeCloseTo(sample.pooled[i] as number, 5);
    });
  });
});

it('makes means of unit length where asked', () => {
  const { dim, vectors } = cases[0] as Case;
  const pooling = { factor: 3, protectedTokens: 1, normalise: true };
  const pooled = pool(Float32Array.from(vectors), dim, pooling);
  for (let from = 0; from < pooled.length; from += dim)
    expect(Math.hypot(...pooled.subarray(from, from + dim))).toBeCloseTo(1, 6);
});

it('merges the nearest first, and cuts into no more clusters than asked', () => {
  // Points on a line at 0, 1, 10, 12: distances of 6 pairs.
  const points = [0, 1, 10, 12];
  const distances = Float64Array.from(
    points.flatMap((a, i) => points.slice(i + 1).map((b) => Math.abs(a - b))),
  );
  const tree = wardTree(distances, 4);
  expect(tree.map(({ left, right }) => [left, right])).toEqual([
    [0, 1],
    [2, 3],
    [4, 5],
  ]);
  expect([...cutTree(tree, 4, 2)]).toEqual([0, 0, 1, 1]);
  expect([...cutTree(tree, 4, 1)]).toEqual([0, 0, 0, 0]);
  // Three: a pair and two points; clusters are numbered before points.
  expect([...cutTree(tree, 4, 3)]).toEqual([0, 0, 1, 2]);
});
