import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { effectOf, headroomOf } from '../../dist/evaluate/effect.js';
import {
  averagePrecision,
  hasRelevant,
  judged,
  mean,
  ndcg,
  oracleNdcg,
  precision,
  recall,
  reciprocalRank,
  rPrecision,
  success,
  trecOrder,
} from '../../dist/evaluate/measures.js';
import { trecRunLines } from '../../dist/evaluate/trec-run.js';

const fixture = JSON.parse(
  readFileSync(new URL('../golden/trec_eval.json', import.meta.url), 'utf8'),
) as {
  qrels: Record<string, Record<string, number>>;
  run: Record<string, Record<string, number>>;
  expected: Record<string, Record<string, number>>;
  mean_over_expected: Record<string, number>;
};

type Measure = (ranking: readonly string[], grades: ReadonlyMap<string, number>) => number;

const measures: Record<string, Measure> = {
  map: (ranking, grades) => averagePrecision(ranking, grades, Number.POSITIVE_INFINITY),
  map_cut_100: (ranking, grades) => averagePrecision(ranking, grades, 100),
  recip_rank: (ranking, grades) => reciprocalRank(ranking, grades),
  Rprec: (ranking, grades) => rPrecision(ranking, grades),
  P_5: (ranking, grades) => precision(ranking, grades, 5),
  recall_100: (ranking, grades) => recall(ranking, grades, 100),
  ndcg: (ranking, grades) => ndcg(ranking, grades, Number.POSITIVE_INFINITY),
  ndcg_cut_5: (ranking, grades) => ndcg(ranking, grades, 5),
  ndcg_cut_10: (ranking, grades) => ndcg(ranking, grades, 10),
  success_1: (ranking, grades) => success(ranking, grades, 1),
  success_5: (ranking, grades) => success(ranking, grades, 5),
};

const maps = (nested: Record<string, Record<string, number>>): Map<string, Map<string, number>> =>
  new Map(Object.entries(nested).map(([key, inner]) => [key, new Map(Object.entries(inner))]));

it.each(Object.entries(measures))(
  '%s equals trec_eval on every query and on average',
  (name, measure) => {
    const qrels = maps(fixture.qrels);
    const run = maps(fixture.run);
    for (const [query, expected] of Object.entries(fixture.expected)) {
      const ranking = trecOrder(run.get(query) ?? new Map());
      expect(measure(ranking, qrels.get(query) ?? new Map()), query).toBeCloseTo(
        expected[name] as number,
        9,
      );
    }
    const expectedRun = new Map(
      Object.keys(fixture.expected).map((query) => [
        query,
        run.get(query) ?? new Map<string, number>(),
      ]),
    );
    expect(mean(expectedRun, qrels, measure)).toBeCloseTo(
      fixture.mean_over_expected[name] as number,
      9,
    );
  },
);

it('writes TREC runs whose scores fall strictly, so that trec_eval keeps their order', () => {
  const hits = ['b', 'a', 'c', 'd'].map((id, i) => ({ id, score: [3, 3, 0, 0][i] as number }));
  const lines = trecRunLines('q1', hits, 'test').trimEnd().split('\n');
  expect(lines.map((line) => line.split(' ')[2])).toEqual(['b', 'a', 'c', 'd']);
  const scores = new Map(
    lines.map((line) => [line.split(' ')[2] as string, Number(line.split(' ')[4])]),
  );
  expect(trecOrder(scores)).toEqual(['b', 'a', 'c', 'd']);
});

it('refuses ids that the TREC format cannot hold', () => {
  expect(() => trecRunLines('q 1', [{ id: 'a', score: 1 }], 'test')).toThrow('white space');
});

const grades = new Map([
  ['a', 3],
  ['b', 1],
  ['c', 0],
  ['d', -1],
]);

it('exponential gain weighs high grades more, and equals linear gain for grades of 0 and 1', () => {
  // DCG = 1 + 7 / log2(3), ideal = 7 + 1 / log2(3)
  const log3 = Math.log2(3);
  expect(ndcg(['b', 'a'], grades, 10, 'exponential')).toBeCloseTo(
    (1 + 7 / log3) / (7 + 1 / log3),
    12,
  );
  expect(ndcg(['b', 'a'], grades, 10)).toBeCloseTo((1 + 3 / log3) / (3 + 1 / log3), 12);
  const binary = new Map([
    ['a', 1],
    ['b', 0],
  ]);
  expect(ndcg(['b', 'a'], binary, 10, 'exponential')).toBe(ndcg(['b', 'a'], binary, 10));
});

it('the oracle is the best order of the candidates, against the ideal of all judged documents', () => {
  expect(oracleNdcg(['x', 'b', 'a'], grades, 10)).toBe(1);
  expect(oracleNdcg(['x', 'c', 'b'], grades, 10)).toBeCloseTo(1 / (3 + 1 / Math.log2(3)), 12);
  expect(oracleNdcg(['x'], grades, 10)).toBe(0);
});

it('judged counts places with any judgement, of a short ranking by its length', () => {
  expect(judged(['a', 'x', 'd', 'y'], grades, 4)).toBe(0.5);
  expect(judged(['a', 'x'], grades, 10)).toBe(0.5);
  expect(judged([], grades, 10)).toBe(1);
  expect(hasRelevant(grades)).toBe(true);
  expect(hasRelevant(new Map([['c', 0]]))).toBe(false);
});

it('the reciprocal rank ends at its depth', () => {
  expect(reciprocalRank(['x', 'y', 'a'], grades)).toBeCloseTo(1 / 3, 12);
  expect(reciprocalRank(['x', 'y', 'a'], grades, 2)).toBe(0);
});

it('effects count queries, not sizes, and rounding is no effect', () => {
  expect(effectOf([0.1 + 0.2, 0.5, 0.5, 0], [0.3, 0.4, 0.9, 0])).toEqual({
    queries: 4,
    better: 1,
    equal: 2,
    worse: 1,
    harmRate: 0.25,
  });
  expect(effectOf([], []).harmRate).toBe(0);
});

it('precision gap and ceiling both start at the first stage', () => {
  const { precisionGap, ceiling } = headroomOf(0.5, 0.75, 0.875);
  expect(precisionGap).toBe(0.25);
  expect(ceiling).toBe(0.375);
});
