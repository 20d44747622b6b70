// Deterministic integer-mode cases whose scores are frozen in test/golden/int8-scores.json: every CPU,
// kernel and compiler must give these 32-bit floats, bit for bit.

/** Values that need no rounding to make: a linear congruential sequence, scaled by a power of two. */
function sequence(/** @type {number} */ seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 16) - 32768) / 65536; // -0.5 to 0.5
  };
}

export const SHAPES = [
  { dim: 8, queryTokens: 1, documentTokens: [1, 2, 3] },
  { dim: 48, queryTokens: 8, documentTokens: [1, 5, 64] },
  { dim: 96, queryTokens: 16, documentTokens: [11, 12, 13, 180] },
  { dim: 97, queryTokens: 17, documentTokens: [4, 24, 25] },
  { dim: 128, queryTokens: 32, documentTokens: [1, 23, 180, 300] },
  { dim: 128, queryTokens: 33, documentTokens: [7, 96] },
  { dim: 1024, queryTokens: 70, documentTokens: [2, 40] },
];

/**
 * Scores of every shape in both query modes, as the hex of their bits.
 * @param {import('../../dist/runtime/addon.js').Addon} addon
 */
export function scores(addon) {
  return SHAPES.flatMap(({ dim, queryTokens, documentTokens }, i) =>
    [8, 7].map((bits) => {
      const next = sequence(i + 1);
      const query = new addon.Query(
        Float32Array.from({ length: queryTokens * dim }, next),
        dim,
        bits,
      );
      const counts = Uint32Array.from(documentTokens);
      const total = counts.reduce((sum, count) => sum + count, 0);
      const vectors = Float32Array.from({ length: total * dim }, next);
      const result = addon.scoreVectors(
        query,
        { codec: 'int8', scale: 4 / 127, dim },
        vectors,
        counts,
      );
      const hex = Array.from(
        new Uint32Array(result.buffer, result.byteOffset, result.length),
        (bits32) => bits32.toString(16).padStart(8, '0'),
      );
      return `${dim}x${queryTokens}x${bits}: ${hex.join(' ')}`;
    }),
  );
}

/**
 * Scores of the codecs that have more than one scale, and the checksums of the codebooks that they were
 * learned with: k-means in whole numbers, the same on every CPU.
 * @param {import('../../dist/runtime/addon.js').Addon} addon
 */
export async function codecScores(addon) {
  const dim = 40;
  const queryTokens = 21;
  const next = sequence(77);
  const query = new addon.Query(Float32Array.from({ length: queryTokens * dim }, next), dim, 8);
  const counts = Uint32Array.of(1, 5, 13, 64, 300);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const vectors = Float32Array.from({ length: total * dim }, next);
  const learned = [Float32Array.from({ length: 4096 * dim }, next)];
  const lines = [];
  for (const [codec, bits] of /** @type {const} */ ([
    ['int8-token', 0],
    ['r4', 4],
    ['r2', 2],
    ['r1', 1],
  ])) {
    const codebook =
      bits === 0
        ? undefined
        : await addon.trainCodebook(learned, { bits, dim, centroids: 64, seed: 5 });
    const format = { codec, scale: 1, dim, ...(codebook && { codebook }) };
    const scored = addon.scoreVectors(query, format, vectors, counts);
    const hex = Array.from(
      new Uint32Array(scored.buffer, scored.byteOffset, scored.length),
      (bits32) => bits32.toString(16).padStart(8, '0'),
    );
    lines.push(`${codec} ${codebook?.crc.toString(16) ?? '-'}: ${hex.join(' ')}`);
  }
  return lines;
}
