/**
 * Ranking measures by trec_eval's definitions (NIST trec_eval 9): linear gain, rank discount
 * log2(rank + 1), negative and missing judgements count 0, relevant means grade 1 or more.
 */
import type { Judgements } from './qrels.js';

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

/**
 * What a grade is worth. 'linear': the grade, as in trec_eval and BEIR (K. Järvelin and J. Kekäläinen,
 * ACM TOIS 20 (4), 2002). 'exponential': 2^grade - 1, as in gdeval and learning to rank (C. Burges et
 * al., ICML 2005). The two differ only where there are grades above 1.
 */
export type Gain = 'linear' | 'exponential';

/** nDCG over the first k documents; k may be Infinity. 0 when nothing is relevant. */
export function ndcg(
  ranking: readonly string[],
  grades: Grades,
  k: number,
  kind: Gain = 'linear',
): number {
  const worth = (grade: number): number => (kind === 'linear' ? grade : 2 ** grade - 1);
  const discounted = (found: readonly number[]): number =>
    found.slice(0, k).reduce((sum, grade, i) => sum + worth(grade) / Math.log2(i + 2), 0);
  const ideal = discounted([...grades.values()].map((g) => Math.max(0, g)).sort((a, b) => b - a));
  return ideal === 0 ? 0 : discounted(ranking.slice(0, k).map((id) => gain(grades, id))) / ideal;
}

/**
 * nDCG of the best order that these candidates can be put in: what no reranker of them can exceed.
 * The ideal is that of all judged documents, so relevant ones that are no candidates keep it below 1.
 */
export function oracleNdcg(
  candidates: readonly string[],
  grades: Grades,
  k: number,
  kind: Gain = 'linear',
): number {
  const best = [...candidates].sort((a, b) => gain(grades, b) - gain(grades, a));
  return ndcg(best, grades, k, kind);
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

/** 1 / rank of the first relevant document among the first k (default: all), 0 when there is none. */
export function reciprocalRank(
  ranking: readonly string[],
  grades: Grades,
  k = Number.POSITIVE_INFINITY,
): number {
  const at = ranking.slice(0, k).findIndex((id) => gain(grades, id) > 0);
  return at < 0 ? 0 : 1 / (at + 1);
}

/** Share of the first k places that hold a relevant document; a short ranking counts as k places. */
export function precision(ranking: readonly string[], grades: Grades, k: number): number {
  return hits(ranking, grades, k) / k;
}

/** Precision at as many places as there are relevant documents. */
export function rPrecision(ranking: readonly string[], grades: Grades): number {
  const relevant = relevantCount(grades);
  return relevant === 0 ? 0 : precision(ranking, grades, relevant);
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
 * Share of the first k places with a judgement, whatever its grade. A system whose share is low is
 * measured on what nobody looked at, which counts as not relevant. A short ranking counts by its length;
 * an empty one has nothing unjudged.
 */
export function judged(ranking: readonly string[], grades: Grades, k: number): number {
  const top = ranking.slice(0, k);
  return top.length === 0 ? 1 : top.filter((id) => grades.has(id)).length / top.length;
}

/** Whether any document is judged relevant: without one, no ranking measure means anything. */
export function hasRelevant(grades: Grades): boolean {
  for (const grade of grades.values()) if (grade > 0) return true;
  return false;
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
