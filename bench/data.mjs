// The documents and the query that every system is measured on: seeded, unit-length token vectors
// around cluster centres, as trained token vectors lie. Written once into a folder that programs in any
// language can read:
//   shape.txt      documents, tokens per document, dim, query tokens, clusters
//   tokens.f32     [documents][tokens][dim], little-endian
//   query.f32      [query tokens][dim]
//   centroids.f32  [clusters][dim]: the cluster centres
//   clusters.u32   [documents][tokens]: which one each token was drawn around
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { random, unitVectors } from './stats.mjs';

export const DOCUMENTS = 1000;
export const DOCUMENT_TOKENS = 180;
export const DIM = 128;
export const QUERY_TOKENS = 64;
const CLUSTERS = 4096; // what 180,000 tokens call for: a power of two below 16 * sqrt(tokens)
// Length of what is added to a centre: tokens have a cosine of 0.8 with their centre on average.
const SPREAD = 0.75;

/** @param {Float32Array} out @param {Float32Array} centre @param {() => number} next */
function drawAround(out, centre, next) {
  // The sum of three uniform numbers has a variance of 1/4.
  const step = (SPREAD * 2) / Math.sqrt(DIM);
  let square = 0;
  for (let i = 0; i < DIM; i++) {
    const value = /** @type {number} */ (centre[i]) + step * (next() + next() + next() - 1.5);
    out[i] = value;
    square += value * value;
  }
  const scale = 1 / Math.sqrt(square);
  for (let i = 0; i < DIM; i++) out[i] *= scale;
}

/** @param {string} folder */
export async function writeData(folder) {
  const next = random(1);
  const centroids = unitVectors(CLUSTERS, DIM, next);
  /** @param {number} count */
  const draw = (count) => {
    const vectors = new Float32Array(count * DIM);
    const clusters = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const cluster = Math.floor(next() * CLUSTERS);
      clusters[i] = cluster;
      const centre = centroids.subarray(cluster * DIM, (cluster + 1) * DIM);
      drawAround(vectors.subarray(i * DIM, (i + 1) * DIM), centre, next);
    }
    return { vectors, clusters };
  };
  const query = draw(QUERY_TOKENS).vectors;
  const { vectors, clusters } = draw(DOCUMENTS * DOCUMENT_TOKENS);
  const shape = [DOCUMENTS, DOCUMENT_TOKENS, DIM, QUERY_TOKENS, CLUSTERS].join(' ');
  await writeFile(join(folder, 'shape.txt'), `${shape}\n`);
  await writeFile(join(folder, 'tokens.f32'), vectors);
  await writeFile(join(folder, 'query.f32'), query);
  await writeFile(join(folder, 'centroids.f32'), centroids);
  await writeFile(join(folder, 'clusters.u32'), clusters);
  return { vectors, query };
}

/**
 * MaxSim in double precision of the first documents: what every system's scores are compared with.
 * @param {Float32Array} query @param {Float32Array} vectors @param {number} count
 */
export function exactScores(query, vectors, count) {
  return Array.from({ length: count }, (_, document) => {
    let score = 0;
    for (let q = 0; q < 32 * DIM; q += DIM) {
      let best = -Infinity;
      for (let token = 0; token < DOCUMENT_TOKENS; token++) {
        const d = (document * DOCUMENT_TOKENS + token) * DIM;
        let dot = 0;
        for (let i = 0; i < DIM; i++) {
          dot += /** @type {number} */ (query[q + i]) * /** @type {number} */ (vectors[d + i]);
        }
        if (dot > best) best = dot;
      }
      score += best;
    }
    return score;
  });
}
