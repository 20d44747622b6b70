/**
 * What one codec does to a collection: the same vectors in an index of f32 and in one of the codec, the
 * same queries against both. Everything is measured through the public face of the index, exhaustively.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type CodecName, Index, MaxSimError, prepareQuery, type QueryVectors } from '../maxsim.js';
import { kendallTauB, topOverlap } from '../rank-agreement.js';
import { type Interval, meanInterval, meanOf } from './bootstrap.js';
import type { Judgements } from './collection.js';
import { ndcg } from './measures.js';

/** Flat token vectors under an id: a document's or a query's. */
export type IdentifiedVectors = { id: string; vectors: Float32Array };

/** How many of the best are compared: overlap and nDCG; scores and their order. */
export const DEPTH = { top: 10, scores: 100 } as const;

export type PreparedQuery = { id: string; query: QueryVectors };

/** What f32 says about one query: the best documents, and their scores. */
export type Reference = { ids: string[]; scores: Float32Array; ndcg: number | null };

/** One codec against f32, for one query. */
export type Comparison = {
  overlap: number;
  /** NaN where one of the two orders nothing. */
  tau: number;
  /** Mean absolute difference of the scores of the reference's best. */
  error: number;
  /** Null where nothing is judged. */
  ndcg: number | null;
};

export type CodecSize = {
  /** Of the token section. */
  bytesPerToken: number;
  /** Of everything but texts and payloads: with ids, tables and codebooks. */
  totalBytesPerToken: number;
  /** Stored once, however many tokens there are. */
  codebookBytes: number;
};

export type CodecQuality = {
  scoreError: {
    meanAbsolute: number;
    /** As a share of the standard deviation of a query's reference scores. */
    relative: number;
  };
  overlap: Interval;
  /** Null where no query's scores can be ordered. */
  tau: Interval | null;
  /** Null where nothing is judged; the loss is f32 minus this codec, paired by query. */
  ndcg: { mean: number; loss: Interval } | null;
};

/** Failures of a codec on this data, as against failures of the machine or of the call. */
const UNSUITABLE: ReadonlySet<string> = new Set([
  'INVALID_ARGUMENT',
  'INVALID_VECTORS',
  'VECTOR_OUT_OF_RANGE',
]);

/**
 * An index of the codec with these documents, or why there is none. The caller closes it. Recoded from
 * f32, as large indexes come to a codec: that can be aborted while it learns.
 */
export async function buildIndex(
  root: string,
  codec: CodecName,
  { dim, documents }: { dim: number; documents: readonly IdentifiedVectors[] },
  signal?: AbortSignal,
): Promise<Index | MaxSimError> {
  const index = await Index.open(join(root, codec), { dim, codec: 'f32' });
  try {
    await index.add(documents.map(({ id, vectors }) => ({ id, vectors })));
    if (codec !== 'f32') await index.recode(codec, signal === undefined ? {} : { signal });
    return index;
  } catch (error) {
    await index.close();
    if (error instanceof MaxSimError && UNSUITABLE.has(error.code) && codec !== 'f32') return error;
    throw error;
  }
}

export function prepareQueries(
  queries: readonly IdentifiedVectors[],
  dim: number,
): PreparedQuery[] {
  return queries.map(({ id, vectors }) => ({ id, query: prepareQuery(vectors, dim) }));
}

export function sizeOf(index: Index): CodecSize {
  const { bytes, sizeBytes, tokens } = index.stats();
  return {
    bytesPerToken: bytes.tokens / tokens,
    totalBytesPerToken: (sizeBytes - bytes.records) / tokens,
    codebookBytes: bytes.codebook,
  };
}

/** The ranking of one query that codecs are held against. */
export async function referenceOf(
  index: Index,
  { id, query }: PreparedQuery,
  judgements: Judgements,
  signal?: AbortSignal,
): Promise<Reference> {
  const ids = await search(index, query, DEPTH.scores, signal);
  const { scores } = index.score(query, ids);
  return { ids, scores, ndcg: gainOf(ids, id, judgements) };
}

/** f32 against itself: nothing is lost, and nothing need be ranked to know it. */
export function compareWithItself({ scores, ndcg }: Reference): Comparison {
  return { overlap: 1, tau: kendallTauB(scores, scores), error: 0, ndcg };
}

export async function compareWith(
  reference: Reference,
  index: Index,
  { id, query }: PreparedQuery,
  judgements: Judgements,
  signal?: AbortSignal,
): Promise<Comparison> {
  const ids = await search(index, query, DEPTH.top, signal);
  const { scores } = index.score(query, reference.ids);
  return {
    overlap: topOverlap(reference.ids, ids, DEPTH.top),
    tau: kendallTauB(reference.scores, scores),
    error: meanOf(Array.from(scores, (score, i) => Math.abs(score - at(reference.scores, i)))),
    ndcg: gainOf(ids, id, judgements),
  };
}

/** Means and intervals over queries. One seed draws the same queries for every codec. */
export function qualityOf(
  references: readonly Reference[],
  comparisons: readonly Comparison[],
  seed: number,
): CodecQuality {
  const meanAbsolute = meanOf(comparisons.map(({ error }) => error));
  const spread = Math.sqrt(meanOf(references.map(({ scores }) => varianceOf(scores))));
  const taus = comparisons.map(({ tau }) => tau).filter((tau) => !Number.isNaN(tau));
  const gains: number[] = [];
  const losses: number[] = [];
  comparisons.forEach(({ ndcg: gain }, i) => {
    const before = references[i]?.ndcg;
    if (gain === null || before === null || before === undefined) return;
    gains.push(gain);
    losses.push(before - gain);
  });
  return {
    scoreError: { meanAbsolute, relative: spread === 0 ? 0 : meanAbsolute / spread },
    overlap: meanInterval(
      comparisons.map(({ overlap }) => overlap),
      { seed },
    ),
    tau: taus.length === 0 ? null : meanInterval(taus, { seed }),
    ndcg:
      losses.length === 0 ? null : { mean: meanOf(gains), loss: meanInterval(losses, { seed }) },
  };
}

const TIMED_ROUNDS = 60;
const WARM_ROUNDS = 4;

/**
 * Microseconds to score 100 documents by id on one thread, for each index: the median over rounds in
 * which every index has its turn, so that a busy machine slows all of them alike.
 */
export async function timeReranking(
  indexes: readonly Index[],
  queries: readonly PreparedQuery[],
  references: readonly Reference[],
  signal?: AbortSignal,
): Promise<number[]> {
  const times: number[][] = indexes.map(() => []);
  for (let round = -WARM_ROUNDS; round < TIMED_ROUNDS; round++) {
    const turn = (round + WARM_ROUNDS) % queries.length;
    const { query } = queries[turn] as PreparedQuery;
    const { ids } = references[turn] as Reference;
    for (let i = 0; i < indexes.length; i++) {
      // Another one goes first each time.
      const place = (i + round + WARM_ROUNDS) % indexes.length;
      const started = performance.now();
      indexes[place]?.score(query, ids);
      const micros = (performance.now() - started) * 1000;
      if (round >= 0) times[place]?.push((micros * 100) / ids.length);
    }
    await setImmediate();
    throwIfAborted(signal);
  }
  return times.map(medianOf);
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new MaxSimError('ABORTED', 'The measurement was aborted.', { cause: signal.reason });
  }
}

async function search(
  index: Index,
  query: QueryVectors,
  topK: number,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const { hits } = await index.search(query, {
    topK,
    method: 'exhaustive',
    ...(signal === undefined ? {} : { signal }),
  });
  return hits.map(({ id }) => id);
}

function gainOf(ids: readonly string[], query: string, judgements: Judgements): number | null {
  const grades = judgements.get(query);
  return grades === undefined ? null : ndcg(ids, grades, DEPTH.top);
}

function varianceOf(values: Float32Array): number {
  const mean = meanOf(Array.from(values));
  return meanOf(Array.from(values, (value) => (value - mean) ** 2));
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? at(sorted, middle)
    : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
}

function at(values: ArrayLike<number>, i: number): number {
  return values[i] as number;
}
