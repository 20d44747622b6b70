/** Several rankings of the same query as one. */

/** Of Cormack, Clarke and Büttcher: ranks far down still count, and the first does not decide alone. */
export const RRF_K = 60;

/**
 * Reciprocal rank fusion: the sum of 1 / (k + rank) over the rankings that hold a document, ranks from 1
 * (G. Cormack, C. Clarke and S. Büttcher, SIGIR 2009). Ties by the best rank, then by id. Scores of the
 * rankings are not looked at, so they need no common scale.
 */
export function reciprocalRankFusion(
  rankings: readonly (readonly string[])[],
  topK: number,
  k = RRF_K,
): { id: string; score: number }[] {
  const fused = new Map<string, { id: string; score: number; best: number }>();
  for (const ranking of rankings) {
    ranking.forEach((id, i) => {
      const before = fused.get(id);
      const score = 1 / (k + i + 1);
      if (before === undefined) fused.set(id, { id, score, best: i });
      else {
        before.score += score;
        before.best = Math.min(before.best, i);
      }
    });
  }
  return [...fused.values()]
    .sort((a, b) => b.score - a.score || a.best - b.best || (a.id < b.id ? -1 : 1))
    .slice(0, topK)
    .map(({ id, score }) => ({ id, score }));
}
