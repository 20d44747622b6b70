/**
 * Ranking measures by trec_eval's definitions (NIST trec_eval 9): linear gain, rank discount
 * log2(rank + 1), negative and missing judgements count 0, relevant means grade 1 or more.
 */
import type { Judgements } from './collection.js';

/** A run: query id -> document id -> score. */
export type Run = Map<string, Map<string, number>>;

/**
 * Document ids of one query, best first, as trec_eval orders them: scores compared as 32-bit floats,
 * ties by document id in decreasing byte order.
 */
export function trecOrder(scores: ReadonlyMap<string, number>): string[] {
  return [...scores]
    .map(([id, score]) => ({ id, score: Math.fround(score), bytes: Buffer.from(id) }))
    .sort((a, b) => b.score - a.score || Buffer.compare(b.bytes, a.bytes))
    .map(({ id }) => id);
}

type Grades = ReadonlyMap<string, number>;

const gain = (grades: Grades, id: string): number => Math.max(0, grades.get(id) ?? 0);

/** nDCG over the first k documents; k may be Infinity. 0 when nothing is relevant. */
export function ndcg(ranking: readonly string[], grades: Grades, k: number): number {
  const discounted = (gains: readonly number[]): number =>
    gains.slice(0, k).reduce((sum, g, i) => sum + g / Math.log2(i + 2), 0);
  const ideal = discounted([...grades.values()].map((g) => Math.max(0, g)).sort((a, b) => b - a));
  return ideal === 0 ? 0 : discounted(ranking.map((id) => gain(grades, id))) / ideal;
}

/** Average precision over the first k documents. */
export function averagePrecision(ranking: readonly string[], grades: Grades, k: number): number {
  const relevant = relevantCount(grades);
  let found = 0;
  let sum = 0;
  ranking.slice(0, k).forEach((id, i) => {
    if (gain(grades, id) > 0) sum += ++found / (i + 1);
  });
  return relevant === 0 ? 0 : sum / relevant;
}

/** 1 / rank of the first relevant document, 0 when there is none. */
export function reciprocalRank(ranking: readonly string[], grades: Grades): number {
  const at = ranking.findIndex((id) => gain(grades, id) > 0);
  return at < 0 ? 0 : 1 / (at + 1);
}

/** Share of the first k places that hold a relevant document; a short ranking counts as k places. */
export function precision(ranking: readonly string[], grades: Grades, k: number): number {
  return hits(ranking, grades, k) / k;
}

/** Share of the relevant documents among the first k. */
export function recall(ranking: readonly string[], grades: Grades, k: number): number {
  const relevant = relevantCount(grades);
  return relevant === 0 ? 0 : hits(ranking, grades, k) / relevant;
}

/** 1 when the first k hold a relevant document, else 0. */
export function success(ranking: readonly string[], grades: Grades, k: number): number {
  return hits(ranking, grades, k) > 0 ? 1 : 0;
}

/**
 * Mean of a measure over the queries that both the run and the judgements have, as trec_eval does it.
 * 0 when there is no such query.
 */
export function mean(
  run: Run,
  judgements: Judgements,
  measure: (ranking: readonly string[], grades: Grades) => number,
): number {
  let sum = 0;
  let count = 0;
  for (const [query, scores] of run) {
    const grades = judgements.get(query);
    if (grades === undefined) continue;
    sum += measure(trecOrder(scores), grades);
    count += 1;
  }
  return count === 0 ? 0 : sum / count;
}

function hits(ranking: readonly string[], grades: Grades, k: number): number {
  return ranking.slice(0, k).filter((id) => gain(grades, id) > 0).length;
}

function relevantCount(grades: Grades): number {
  return [...grades.values()].filter((grade) => grade > 0).length;
}
