/** MaxSim in plain JavaScript, in double precision: what every kernel is compared with. */
export function maxSim(query: Float32Array, document: Float32Array, dim: number): number {
  let score = 0;
  for (let q = 0; q < query.length; q += dim) {
    let best = Number.NEGATIVE_INFINITY;
    for (let d = 0; d < document.length; d += dim) {
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += (query[q + i] as number) * (document[d + i] as number);
      best = Math.max(best, dot);
    }
    score += best;
  }
  return score;
}
