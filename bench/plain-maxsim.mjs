// What an application has without a native library.

/**
 * MaxSim as one would write it in JavaScript.
 * @param {Float32Array} query @param {Float32Array} document @param {number} dim
 */
export function plainMaxSim(query, document, dim) {
  let score = 0;
  for (let q = 0; q < query.length; q += dim) {
    let best = -Infinity;
    for (let d = 0; d < document.length; d += dim) {
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += query[q + i] * document[d + i];
      if (dot > best) best = dot;
    }
    score += best;
  }
  return score;
}

/**
 * The same with four sums in flight.
 * @param {Float32Array} query @param {Float32Array} document @param {number} dim
 */
export function unrolledMaxSim(query, document, dim) {
  let score = 0;
  for (let q = 0; q < query.length; q += dim) {
    let best = -Infinity;
    for (let d = 0; d < document.length; d += dim) {
      let a = 0;
      let b = 0;
      let c = 0;
      let e = 0;
      for (let i = 0; i < dim; i += 4) {
        a += query[q + i] * document[d + i];
        b += query[q + i + 1] * document[d + i + 1];
        c += query[q + i + 2] * document[d + i + 2];
        e += query[q + i + 3] * document[d + i + 3];
      }
      const dot = a + b + (c + e);
      if (dot > best) best = dot;
    }
    score += best;
  }
  return score;
}
