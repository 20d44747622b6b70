/**
 * A document as sweet-search's addon takes it: value = minimum + scale * code, per token. Codes of 8
 * bits are stored signed (code - 128), those of 4 bits in pairs, the first in the low half.
 * @param {Float32Array} vectors @param {number} dim @param {4 | 8} bits
 */
export function affineCodes(vectors, dim, bits) {
  const numTokens = vectors.length / dim;
  const levels = 2 ** bits - 1;
  const tokens = Buffer.alloc((vectors.length * bits) / 8);
  const minArray = new Float32Array(numTokens);
  const scaleArray = new Float32Array(numTokens);
  const tokenNorms = new Float32Array(numTokens);
  for (let token = 0; token < numTokens; token++) {
    const row = vectors.subarray(token * dim, (token + 1) * dim);
    const min = Math.min(...row);
    const scale = (Math.max(...row) - min) / levels;
    let square = 0;
    for (let i = 0; i < dim; i++) {
      const code = Math.round(/** @type {number} */ (row[i] - min) / scale);
      const place = token * dim + i;
      square += (min + scale * code) ** 2;
      if (bits === 8) tokens.writeInt8(code - 128, place);
      else
        tokens[place >> 1] = /** @type {number} */ (tokens[place >> 1]) | (code << (4 * (i % 2)));
    }
    minArray[token] = min;
    scaleArray[token] = scale;
    tokenNorms[token] = Math.sqrt(square);
  }
  // `min` and `scale` of the whole document are required, and not read where tokens have their own.
  return { tokens, numTokens, dim, minArray, scaleArray, tokenNorms, min: -0.5, scale: 1 / 255 };
}
