/** Around scoring calls: which ids are known, how long they may take, where their scores belong. */
import { checkArray, checkBoolean, checkInteger, checkOptions, checkPositive } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { type QueryVectors, toQuery } from '../maxsim/query.js';
import {
  loadAddon,
  type NativeCancel,
  type NativeQuery,
  type NativeRankings,
  type NativeSnapshot,
  nativeAsync,
  type TaskLimits,
  UNKNOWN_REF,
  type VectorFormat,
} from '../runtime/addon.js';
import type { CodecName, Filter } from '../types.js';

/** One query, flat `tokens * dim` values or prepared, and the documents it is asked about. */
export type RankRequest = { query: Float32Array | QueryVectors; ids: readonly string[] };

export type RankOptions = {
  /** How many documents to return, of each request. Default: 10. */
  topK?: number;
  /**
   * Give up a document between two passes of the query (of 32 tokens, or 16) when it cannot reach the
   * topK-th best any more. The ranking is the same. Default: true.
   */
  earlyExit?: boolean;
  signal?: AbortSignal;
  /** Gives up with ABORTED after this many milliseconds. */
  deadlineMs?: number;
  /** Leaves out documents that do not match, before any of their tokens is read. */
  filter?: Filter;
};

export type ScoreOptions = Pick<RankOptions, 'signal' | 'deadlineMs' | 'filter'>;

/** Throws INVALID_ARGUMENT; `signal` and `deadlineMs` are checked where they are used. */
export function checkRankOptions(options: RankOptions | undefined) {
  const checked = checkOptions<RankOptions>('options', options, [
    'topK',
    'earlyExit',
    'signal',
    'deadlineMs',
    'filter',
  ]);
  const { topK = 10, earlyExit = true, signal, deadlineMs, filter } = checked;
  checkInteger('topK', topK, 1, 0xffffffff);
  checkBoolean('earlyExit', earlyExit);
  return { topK, earlyExit, signal, deadlineMs, filter };
}

export type RankResult = {
  /** Best first; equal scores in the order of the ids. */
  hits: { id: string; score: number }[];
  unknownIds: string[];
  /** Stored, but kept out by the filter. */
  excludedIds: string[];
  /** Documents that were given up early: they cannot be among the hits. */
  skipped: number;
};

export type ScoreResult = {
  /** One per id, in their order; NaN for an unknown or excluded one. */
  scores: Float32Array;
  unknownIds: string[];
  /** Stored, but kept out by the filter. */
  excludedIds: string[];
};

/**
 * Refs of what is to be scored, in order; `places[i]` is the place of the i-th one's id, null when all
 * are.
 */
export type ResolvedIds = {
  known: Uint32Array;
  places: Uint32Array | null;
  unknownIds: string[];
  excludedIds: string[];
};

/** `matches[i]` is 0 for a ref that a filter keeps out; null without a filter. */
export function resolveRefs(
  ids: readonly string[],
  refs: Uint32Array,
  matches: Uint8Array | null,
): ResolvedIds {
  const unknownIds: string[] = [];
  const excludedIds: string[] = [];
  for (let i = 0; i < refs.length; i++) {
    if (refs[i] === UNKNOWN_REF) unknownIds.push(ids[i] as string);
    else if (matches?.[i] === 0) excludedIds.push(ids[i] as string);
  }
  if (unknownIds.length + excludedIds.length === 0) {
    return { known: refs, places: null, unknownIds, excludedIds };
  }
  const places = Uint32Array.from(refs.keys()).filter(
    (i) => refs[i] !== UNKNOWN_REF && matches?.[i] !== 0,
  );
  return { known: places.map((i) => refs[i] as number), places, unknownIds, excludedIds };
}

/** Scores of the known ids at the places of all; NaN elsewhere. */
export function spread(
  scores: Float32Array,
  places: Uint32Array | null,
  size: number,
): Float32Array {
  if (places === null) return scores;
  const all = new Float32Array(size).fill(Number.NaN);
  for (let i = 0; i < scores.length; i++) all[places[i] as number] = scores[i] as number;
  return all;
}

/** Requests as the addon takes them: the known documents of all, back to back. */
export type Batch = {
  requests: { ids: readonly string[]; resolved: ResolvedIds }[];
  queries: NativeQuery[];
  refs: Uint32Array;
  counts: Uint32Array;
  format: VectorFormat;
};

/** Throws INVALID_ARGUMENT, INVALID_VECTORS, MODEL_MISMATCH. */
export function toBatch(
  requests: readonly RankRequest[],
  dim: number,
  format: VectorFormat,
  resolve: (ids: readonly string[]) => ResolvedIds,
): Batch {
  const queries: NativeQuery[] = [];
  const resolved = checkArray('requests', requests).map((request, i) => {
    const { query, ids } = checkOptions<RankRequest>(`requests[${i}]`, request as RankRequest, [
      'query',
      'ids',
    ]);
    queries.push(toQuery(query, dim));
    return { ids, resolved: resolve(ids) };
  });
  const counts = Uint32Array.from(resolved, (one) => one.resolved.known.length);
  let offset = 0;
  const refs = new Uint32Array(counts.reduce((sum, count) => sum + count, 0));
  for (const { resolved: one } of resolved) {
    refs.set(one.known, offset);
    offset += one.known.length;
  }
  return { requests: resolved, queries, refs, counts, format };
}

export async function scoreBatch(
  snapshot: NativeSnapshot,
  batch: Batch,
  limits: TaskLimits,
): Promise<ScoreResult[]> {
  const { queries, refs, counts } = batch;
  const scores = isShort(snapshot, batch)
    ? snapshot.score(queries, refs, counts)
    : await snapshot.scoreAsync(queries, refs, counts, limits);
  let offset = 0;
  return batch.requests.map(({ ids, resolved: { known, places, unknownIds, excludedIds } }) => {
    const own = scores.slice(offset, offset + known.length);
    offset += known.length;
    return { scores: spread(own, places, ids.length), unknownIds, excludedIds };
  });
}

export async function rankBatch(
  snapshot: NativeSnapshot,
  batch: Batch,
  topK: number,
  earlyExit: boolean,
  limits: TaskLimits,
): Promise<RankResult[]> {
  const { queries, refs, counts } = batch;
  const rankings: NativeRankings = isShort(snapshot, batch)
    ? snapshot.rank(queries, refs, counts, topK, earlyExit)
    : await snapshot.rankAsync(queries, refs, counts, topK, earlyExit, limits);
  let offset = 0;
  return batch.requests.map(({ ids, resolved: { places, unknownIds, excludedIds } }, i) => {
    const hits: { id: string; score: number }[] = [];
    for (const end = offset + (rankings.counts[i] as number); offset < end; offset++) {
      const known = rankings.places[offset] as number;
      const place = places === null ? known : (places[known] as number);
      hits.push({ id: ids[place] as string, score: rankings.scores[offset] as number });
    }
    return { hits, unknownIds, excludedIds, skipped: rankings.skipped[i] as number };
  });
}

/**
 * Multiply-adds that each kernel set does in about 0.3 ms on one core (measured, int8): what may run on
 * the event loop, where handing it over and back would cost as much.
 */
const SHORT_WORK: Readonly<Record<string, number>> = {
  avx512bf16: 80e6,
  avx512: 80e6,
  avxvnni: 40e6,
  avx2: 20e6,
  neon: 20e6,
};

/** How long other codecs take for the same, measured. */
const RELATIVE_COST: Readonly<Record<CodecName, number>> = {
  f32: 4,
  f16: 4.4,
  bf16: 4.4,
  'int8-token': 1.1,
  int8: 1,
  r4: 1.2,
  r2: 1.5,
  r1: 1.5,
};

let shortWork: number | undefined;

/** Whether a batch is no burden for the event loop. */
function isShort(snapshot: NativeSnapshot, { queries, refs, counts, format }: Batch): boolean {
  shortWork ??= SHORT_WORK[loadAddon().kernels().chosen] ?? 0;
  const tokenCounts = snapshot.tokenCounts(refs);
  let work = 0;
  let offset = 0;
  for (const [i, { tokenCount }] of queries.entries()) {
    let tokens = 0;
    for (const end = offset + (counts[i] as number); offset < end; offset++) {
      tokens += tokenCounts[offset] as number;
    }
    // A residual codec also needs each query's products with the centroids that occur.
    const centroids = Math.min(tokens, format.codebook?.centroidCount ?? 0);
    work += (tokens * RELATIVE_COST[format.codec] + centroids) * tokenCount * format.dim;
  }
  return work <= shortWork;
}

/** Between two looks at how far a task is. */
const PROGRESS_MS = 200;

/** Runs a task that ends with ABORTED when the signal fires or the time is up. */
export async function withLimits<T>(
  signal: AbortSignal | undefined,
  deadlineMs: number | undefined,
  run: (limits: TaskLimits) => Promise<T>,
  onProgress?: (share: number) => void,
): Promise<T> {
  if (deadlineMs !== undefined) checkPositive('deadlineMs', deadlineMs);
  const limits: TaskLimits = deadlineMs === undefined ? {} : { deadlineMs };
  if (signal === undefined && onProgress === undefined) return await nativeAsync(() => run(limits));
  const cancel = new (loadAddon().Cancel)();
  const timer =
    onProgress === undefined
      ? undefined
      : setInterval(() => onProgress(cancel.progress), PROGRESS_MS);
  try {
    return await withSignal(signal, cancel, () => run({ ...limits, cancel }));
  } finally {
    clearInterval(timer);
  }
}

async function withSignal<T>(
  signal: AbortSignal | undefined,
  cancel: NativeCancel,
  run: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return await nativeAsync(run);
  if (!(signal instanceof AbortSignal)) throw invalid('signal', 'an AbortSignal', signal);
  const abort = () => cancel.cancel();
  if (signal.aborted) {
    throw new MaxSimError('ABORTED', 'The caller aborted the operation.', { cause: signal.reason });
  }
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await nativeAsync(run);
  } catch (error) {
    if (!signal.aborted || (error as MaxSimError).code !== 'ABORTED') throw error;
    throw new MaxSimError('ABORTED', 'The caller aborted the operation.', { cause: signal.reason });
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
