import { describe, expect, it } from 'vitest';
import { calibrateCascade } from '../../dist/evaluate/cascade-calibration.js';
import { calibrateFloor } from '../../dist/evaluate/floor-calibration.js';
import type { MeasuredQuery } from '../../dist/evaluate/pipeline-measurement.js';

const DEPTH = 40;

/**
 * A query whose one relevant document late interaction has at place `at`, and the stage after it scores
 * `score`; all others get less than 1, the better ones less.
 */
function measured(i: number, at: number | null, score: number, best = 0): MeasuredQuery {
  const ids = Array.from({ length: DEPTH }, (_, place) => `d${place}`);
  const candidates = new Map(
    ids.map((id, place) => {
      const own = place === at ? score : best + place / (2 * DEPTH);
      return [id, { id, characters: 100, scores: [DEPTH - place, own] }];
    }),
  );
  const grades = new Map(at === null ? [['d0', 0]] : [[`d${at}`, 1]]);
  const orders = [ids, ids];
  const answerable = at !== null;
  return {
    ...{ id: `q${i}`, text: '', grades, answerable },
    candidates,
    first: ids,
    orders,
    stageMs: [1, 9],
  };
}

const many = (count: number, one: (i: number) => MeasuredQuery): MeasuredQuery[] =>
  Array.from({ length: count }, (_, i) => one(i));

describe('the depth of a cascade', () => {
  it('is the fewest candidates that lose nothing that matters', () => {
    const report = calibrateCascade(many(40, (i) => measured(i, 5 + (i % 5), 2)));
    expect(report.points.map(({ keep }) => keep)).toEqual([5, 10, 15, 20, 30, 40]);
    expect(report.chosen).toMatchObject({ keep: 10, ndcg: 1, better: 1, worse: 0, share: 0.25 });
    expect(report.late.ndcg).toBeLessThan(0.4);
    expect(report.stageMs).toEqual([1, 9]);
    expect(report.verdict).toMatch(/^Reading 10 of 40 candidates gains .* keeps 100\.0 % .* 25 %/);
  });

  it('is none where the stage makes rankings worse, and says so', () => {
    const report = calibrateCascade(many(40, (i) => measured(i, 0, -1)));
    expect(report.chosen).toBeNull();
    expect(report.points.at(-1)).toMatchObject({ worse: 1, better: 0 });
    expect(report.verdict).toContain('makes these rankings worse: leave it out');
  });

  it('needs ten queries that something answers', () => {
    const queries = [
      ...many(9, (i) => measured(i, 1, 2)),
      ...many(20, (i) => measured(i, null, 0)),
    ];
    expect(() => calibrateCascade(queries)).toThrow(/10 or more .* but 9 were given/);
  });
});

describe('the floor of a stage', () => {
  const fingerprint = { model: 'm', quantisation: 'q', maxLength: 1, corpus: 'c' };
  const calibrate = (queries: MeasuredQuery[], alpha = 0.1) =>
    calibrateFloor(queries, { alpha, fingerprint, stage: 1 });

  it('catches what nothing answers where scores tell, and comes with a calibrator', () => {
    const answerable = many(40, (i) => measured(i, i % 10, 5 + (i % 7)));
    const report = calibrate([...answerable, ...many(10, (i) => measured(i, null, 0))]);
    expect(report).toMatchObject({ answerable: 40, notFound: 0, unanswerable: 10 });
    expect(report.curve.find(({ alpha }) => alpha === 0.1)).toMatchObject({ caught: 1 });
    expect(report.floor.value).toBeGreaterThanOrEqual(5);
    expect(report.calibrator?.probability(6)).toBeGreaterThan(0.9);
    expect(report.reliability?.ece).toBeLessThan(0.1);
    expect(report.verdict).not.toContain('hardly');
  });

  it('says so where they do not', () => {
    const answerable = many(40, (i) => measured(i, 3, 2));
    const report = calibrate([...answerable, ...many(10, (i) => measured(i, null, 0, 7))]);
    expect(report.verdict).toMatch(/for 0\.0 % of .* hardly tell what nothing answers/);
    const reversed = calibrate(many(20, (i) => measured(i, 3, -2)));
    expect(reversed.calibrator).toBeNull(); // relevance falls where the score rises
  });

  it('names the queries that an alpha needs', () => {
    expect(() =>
      calibrate(
        many(10, (i) => measured(i, 1, 2)),
        0.01,
      ),
    ).toThrow(/99 or more/);
    const half = calibrate(
      many(12, (i) => measured(i, 1, 2)),
      0.1,
    );
    expect(half.verdict).toContain('no half of the queries has the 9 that a trial');
  });
});
