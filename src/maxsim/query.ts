/** Token vectors x candidates -> scores, for vectors that no index holds: the typed face of the kernels. */
import { checkInteger, checkOptions, checkVectors, LIMITS } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  loadAddon,
  type NativeQuery,
  native,
  nativeAsync,
  type VectorFormat,
} from '../runtime/addon.js';

export type QueryOptions = {
  /**
   * Precision of the query against int8 documents: 8 bits, or 7, which old CPUs score faster. Scores
   * of one precision are the same on every CPU. No effect on f32 documents. Default: 8.
   */
  queryBits?: 7 | 8;
};

/** A query prepared once, to be scored many times. Holds a copy of the vectors. */
export class QueryVectors {
  readonly tokenCount: number;
  readonly dim: number;
  readonly queryBits: number;
  /** What the addon takes. */
  readonly handle: NativeQuery;

  /** @internal Use prepareQuery. */
  constructor(handle: NativeQuery) {
    this.handle = handle;
    this.tokenCount = handle.tokenCount;
    this.dim = handle.dim;
    this.queryBits = handle.bits;
  }
}

/**
 * Prepares a query: flat `tokens * dim` values, finite, 1 to 1,024 tokens of dim 8 to 1,024. Throws
 * INVALID_VECTORS, INVALID_ARGUMENT.
 *
 * @example
 * const query = prepareQuery(new Float32Array(32 * 96).fill(0.1), 96)
 */
export function prepareQuery(
  vectors: Float32Array,
  dim: number,
  options?: QueryOptions,
): QueryVectors {
  const { queryBits = 8 } = checkOptions<QueryOptions>('options', options, ['queryBits']);
  checkInteger('dim', dim, LIMITS.minDim, LIMITS.maxDim);
  checkInteger('queryBits', queryBits, 7, 8);
  checkVectors('query', vectors, dim, LIMITS.maxQueryTokens);
  return new QueryVectors(native(() => new (loadAddon().Query)(vectors, dim, queryBits)));
}

/** A query of the given dim from either form. Throws MODEL_MISMATCH when a prepared one has another. */
export function toQuery(query: Float32Array | QueryVectors, dim: number): NativeQuery {
  if (!(query instanceof QueryVectors)) return prepareQuery(query, dim).handle;
  if (query.dim !== dim) {
    throw new MaxSimError(
      'MODEL_MISMATCH',
      `The query has dim ${query.dim}, but the index has dim ${dim}.`,
    );
  }
  return query.handle;
}

/**
 * MaxSim scores of token vectors that are not stored, one per document. They pass through the codec of
 * `format` first, so that a candidate scores as if it were stored. Runs off the event loop; the vectors
 * are copied before this returns. Throws INVALID_VECTORS, VECTOR_OUT_OF_RANGE, MODEL_MISMATCH.
 */
export async function scoreVectors(
  query: Float32Array | QueryVectors,
  format: VectorFormat,
  documents: readonly Float32Array[],
): Promise<Float32Array> {
  const handle = toQuery(query, format.dim);
  const counts = new Uint32Array(documents.length);
  let size = 0;
  for (const [i, vectors] of documents.entries()) {
    checkVectors(`documents[${i}]`, vectors, format.dim, LIMITS.maxDocumentTokens);
    counts[i] = vectors.length / format.dim;
    size += vectors.length;
  }
  if (documents.length === 0) return new Float32Array(0);
  const flat = new Float32Array(size);
  let offset = 0;
  for (const vectors of documents) {
    flat.set(vectors, offset);
    offset += vectors.length;
  }
  return await nativeAsync(() => loadAddon().scoreVectorsAsync(handle, format, flat, counts));
}

/** The best document token of one query token, and what it adds to the score. */
export type VectorMatch = { documentToken: number; contribution: number };

/** Explains the score that `scoreVectors` gives: one match per query token. */
export function explainVectors(
  query: Float32Array | QueryVectors,
  format: VectorFormat,
  vectors: Float32Array,
): VectorMatch[] {
  const handle = toQuery(query, format.dim);
  checkVectors('vectors', vectors, format.dim, LIMITS.maxDocumentTokens);
  return toMatches(native(() => loadAddon().explainVectors(handle, format, vectors)));
}

export function toMatches(matches: {
  documentTokens: Uint32Array;
  contributions: Float32Array;
}): VectorMatch[] {
  return Array.from(matches.contributions, (contribution, i) => ({
    documentToken: matches.documentTokens[i] as number,
    contribution,
  }));
}
