import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import {
  averagePrecision,
  mean,
  ndcg,
  precision,
  recall,
  reciprocalRank,
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
  recip_rank: reciprocalRank,
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
