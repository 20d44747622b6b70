import { describe, expect, it } from 'vitest';
import { fuse } from '../../dist/rerank/fusion.js';

const first = { ids: ['a', 'b', 'c', 'd'], scores: [40, 30, 20, 10] };
const second = { ids: ['c', 'b', 'a'], scores: [2, 1, -2] };
const idsOf = (fused: { id: string }[]): string => fused.map(({ id }) => id).join('');

describe('fusion of stages', () => {
  it('takes the last stage, ties by the order before, and the unscored after it', () => {
    expect(fuse([first, second], { method: 'last' })).toEqual([
      { id: 'c', score: 2 },
      { id: 'b', score: 1 },
      { id: 'a', score: -2 },
      { id: 'd', score: null },
    ]);
    const tied = { ids: ['c', 'b', 'a'], scores: [0, 0, 0] };
    expect(idsOf(fuse([first, tied], { method: 'last' }))).toBe('abcd');
  });

  it('sums scores put within 0 and 1, whatever their unit', () => {
    const fused = fuse([first, second], { method: 'weighted', weights: [1, 2] });
    expect(idsOf(fused)).toBe('cbad');
    expect(fused[0]?.score).toBeCloseTo(1 / 3 + 2, 12);
    expect(fused[1]?.score).toBeCloseTo(2 / 3 + 2 * 0.75, 12);
    expect(fused[2]?.score).toBeCloseTo(1, 12);
    const scaled = { ids: first.ids, scores: first.scores.map((score) => 1e6 * score - 5) };
    expect(idsOf(fuse([scaled, second], { method: 'weighted', weights: [1, 2] }))).toBe('cbad');
    expect(idsOf(fuse([first, second], { method: 'weighted', weights: [1, 0] }))).toBe('abcd');
  });

  it('sums reciprocal ranks', () => {
    const fused = fuse([first, second], { method: 'reciprocal-rank' });
    // a: 1/61 + 1/63, c: 1/63 + 1/61 are equal: a was before c.
    expect(idsOf(fused)).toBe('acbd');
    expect(fused[0]?.score).toBeCloseTo(1 / 61 + 1 / 63, 12);
    expect(fused[3]?.score).toBeCloseTo(1 / 64, 12);
  });

  it('refuses what is no ranking', () => {
    const twice = { ids: ['a', 'a'], scores: [1, 0] };
    expect(() => fuse([twice], { method: 'last' })).toThrow(/ids must be different/);
    expect(() => fuse([], { method: 'last' })).toThrow(/one or more rankings/);
    expect(() => fuse([{ ids: ['a'], scores: [] }], { method: 'last' })).toThrow(/as many as/);
    expect(() => fuse([first], { method: 'weighted', weights: [] })).toThrow(/one for each stage/);
    const broken = { ids: ['a'], scores: [Number.NaN] };
    expect(() => fuse([broken], { method: 'last' })).toThrow(/finite/);
  });
});
