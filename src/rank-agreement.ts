/** How far two rankings of the same documents agree. */

/**
 * Kendall's tau-b of paired scores: 1 for the same order, -1 for the reverse. Pairs that are tied on one
 * side count for neither order and shrink the scale (M. G. Kendall, Biometrika 33, 1945). NaN where one
 * side orders nothing.
 */
export function kendallTauB(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let balance = 0;
  let untiedA = 0;
  let untiedB = 0;
  for (let i = 1; i < a.length; i++) {
    for (let j = 0; j < i; j++) {
      const inA = Math.sign((a[i] as number) - (a[j] as number));
      const inB = Math.sign((b[i] as number) - (b[j] as number));
      balance += inA * inB;
      untiedA += Math.abs(inA);
      untiedB += Math.abs(inB);
    }
  }
  return untiedA === 0 || untiedB === 0 ? Number.NaN : balance / Math.sqrt(untiedA * untiedB);
}

/** Share of the first k of `reference` that are among the first k of `ranking`. */
export function topOverlap<T>(reference: readonly T[], ranking: readonly T[], k: number): number {
  const wanted = reference.slice(0, k);
  const found = new Set(ranking.slice(0, k));
  return wanted.filter((id) => found.has(id)).length / wanted.length;
}
