import { describe, expect, it } from 'vitest';
import { floorCurve } from '../../dist/evaluate/floor-calibration.js';
import { seededRandom } from '../../dist/random.js';
import { Floor, fitFloor, queriesForFloor } from '../../dist/rerank/floor.js';

const fingerprint = { model: 'm', quantisation: 'int8', maxLength: 512, corpus: 'c' };

describe('the floor', () => {
  it('is the conformal quantile, and what equals it is kept', () => {
    const floor = fitFloor([5, 3, 1, 2, 4, 9, 8, 7, 6], { alpha: 0.2, fingerprint });
    expect(floor.value).toBe(2);
    expect(floor.belowFloor(2)).toBe(false);
    expect(floor.belowFloor(1.99)).toBe(true);
    // 0.29 * 100 is below 29 in floating point.
    const hundred = Array.from({ length: 99 }, (_, i) => i + 1);
    expect(fitFloor(hundred, { alpha: 0.29, fingerprint }).value).toBe(29);
  });

  it('loses the relevant document in at most alpha of queries, and hardly less', () => {
    const random = seededRandom(17);
    const rounds = 8000;
    for (const [count, alpha] of [
      [19, 0.05],
      [50, 0.1],
      [37, 0.2],
    ] as const) {
      let lost = 0;
      for (let round = 0; round < rounds; round++) {
        const scores = Array.from({ length: count }, () => Math.log(random()));
        if (fitFloor(scores, { alpha, fingerprint }).belowFloor(Math.log(random()))) lost += 1;
      }
      const expected = Math.floor(alpha * (count + 1)) / (count + 1);
      expect(Math.abs(lost / rounds - expected)).toBeLessThan(0.013);
    }
  });

  it('is refused for too few queries, with the number needed', () => {
    expect(queriesForFloor(0.05)).toBe(19);
    expect(queriesForFloor(0.3)).toBe(3);
    const few = Array.from({ length: 18 }, (_, i) => i);
    expect(() => fitFloor(few, { alpha: 0.05, fingerprint })).toThrow(/needs 19 .* but 18/);
    fitFloor([...few, 18], { alpha: 0.05, fingerprint });
  });

  it('survives JSON, and refuses files that are bad', () => {
    const file = fitFloor([1, 2, 3], { alpha: 0.5, fingerprint }).toJSON();
    expect(Floor.from(JSON.parse(JSON.stringify(file))).toJSON()).toEqual(file);
    expect(() => Floor.from({ ...file, floor: null })).toThrow(/floor.floor/);
    expect(() => Floor.from({ ...file, alpha: 1 })).toThrow(/floor.alpha/);
    expect(() => Floor.from([])).toThrow(/floor must be an object/);
  });

  it('has a curve of what it catches and loses', () => {
    const curve = floorCurve({
      fitted: Array.from({ length: 20 }, (_, i) => i + 1),
      answerable: [1, 5, 20, 20],
      unanswerable: [0, 3, 11],
      alphas: [0.01, 0.1, 0.5],
      fingerprint,
    });
    expect(curve[0]).toMatchObject({ floor: null, needed: 99, caught: null, lost: null });
    expect(curve[1]).toMatchObject({ floor: 2, caught: 1 / 3, lost: 0.25 });
    expect(curve[2]).toMatchObject({ floor: 10, caught: 2 / 3, lost: 0.5 });
    // One of four: 1 - 0.05 is the share of the beta distribution (2, 3) below 0.7514.
    expect(curve[1]?.lostBound).toBeCloseTo(0.7514, 4);
  });
});
