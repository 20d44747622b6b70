/**
 * Token pooling at index time: a document's token vectors are clustered (Ward, on cosine distances) and
 * each cluster becomes its mean, so that every `factor` tokens become about one. The first tokens
 * stay. Sources: PyLate 1.6, ColBERT.pool_embeddings_hierarchical; sentence-transformers 6.2,
 * HierarchicalTokenPooling, which can make the means of unit length again.
 */
import type { Pooling } from './recipe.js';
import { toUnit } from './unit-vector.js';
import { cutTree, wardTree } from './ward.js';

/** `tokens * dim` unit vectors in, fewer out: protected ones first, then the means of clusters. */
export function pool(
  vectors: Float32Array,
  dim: number,
  { factor, protectedTokens, normalise }: Pooling,
): Float32Array {
  const kept = Math.min(protectedTokens, vectors.length / dim);
  const count = vectors.length / dim - kept;
  const clusters = Math.max(Math.floor(count / factor), 1);
  if (clusters >= count) return vectors;
  const rows = vectors.subarray(kept * dim);
  const labels = cutTree(wardTree(cosineDistances(rows, dim), count), count, clusters);
  const found = labels.reduce((most, label) => Math.max(most, label + 1), 0);
  const sums = new Float64Array(found * dim);
  const sizes = new Uint32Array(found);
  labels.forEach((label, i) => {
    sizes[label] = (sizes[label] as number) + 1;
    for (let k = 0; k < dim; k++)
      sums[label * dim + k] = (sums[label * dim + k] as number) + (rows[i * dim + k] as number);
  });
  const pooled = new Float32Array((kept + found) * dim);
  pooled.set(vectors.subarray(0, kept * dim));
  for (let i = 0; i < sums.length; i++)
    pooled[kept * dim + i] = (sums[i] as number) / (sizes[Math.floor(i / dim)] as number);
  if (normalise)
    for (let at = 0; at < pooled.length; at += dim) toUnit(pooled.subarray(at, at + dim));
  return pooled;
}

/** 1 - cosine of every pair i < j of unit vectors, row after row of the upper triangle. */
function cosineDistances(rows: Float32Array, dim: number): Float64Array {
  const count = rows.length / dim;
  const distances = new Float64Array((count * (count - 1)) / 2);
  let at = 0;
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      let dot = 0;
      for (let k = 0; k < dim; k++)
        dot += (rows[i * dim + k] as number) * (rows[j * dim + k] as number);
      // Float32, as the reference has them before it clusters.
      distances[at++] = Math.fround(1 - Math.fround(dot));
    }
  }
  return distances;
}
