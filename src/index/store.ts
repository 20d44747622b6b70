/**
 * The durable store: token vectors, texts and payloads by id. START HERE for reading; commit.ts is how
 * it changes, manifest.ts what a generation is.
 */
import { setImmediate } from 'node:timers/promises';
import { checkArray, checkId, checkOptions } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  explainVectors,
  type QueryVectors,
  scoreVectors,
  toMatches,
  toQuery,
  type VectorMatch,
} from '../maxsim/query.js';
import {
  type NativeLock,
  type NativeSnapshot,
  native,
  UNKNOWN_REF,
  type VectorFormat,
} from '../runtime/addon.js';
import { CODECS, type CodecName, type StoredDocument } from '../types.js';
import {
  type CodecOption,
  checkCodec,
  codecOf,
  isResidual,
  type Training,
  trainingOf,
} from './codec.js';
import { type CommitCounts, type Committed, commit, recode, UncertainCommit } from './commit.js';
import {
  HASH_PREFIX_BYTES,
  type IndexDocument,
  prepareDocuments,
  readContentHash,
  unpackRecord,
} from './document.js';
import { formatOf, type Generation, removeFiles } from './generation.js';
import type { EncoderIdentity, Manifest } from './manifest.js';
import { type IndexOptions, openIndex, openNewest } from './open.js';
import {
  checkRankOptions,
  type RankOptions,
  type RankRequest,
  type RankResult,
  type ResolvedIds,
  rankBatch,
  resolveRefs,
  type ScoreResult,
  scoreBatch,
  spread,
  toBatch,
  withLimits,
} from './scoring.js';
import { type IndexStats, statsOf } from './stats.js';

export type { CodecOption } from './codec.js';
export type { IndexDocument } from './document.js';
export type { IndexOptions } from './open.js';
export type { RankOptions, RankRequest, RankResult, ScoreResult } from './scoring.js';
export type { IndexStats } from './stats.js';

/** How an index stores tokens. */
export type CodecInfo = {
  name: CodecName;
  /** What one step of int8 is worth, null until the first commit chooses it; 1 for other codecs. */
  scale: number | null;
  /** Of residual codecs, once they are learned: centroids, and how many tokens they were learned from. */
  centroids?: number;
  trainedTokens?: number;
};

export type RecodeOptions = {
  signal?: AbortSignal;
  /** From 0 to 1, while centroids are learned. */
  onProgress?: (share: number) => void;
};

export type CommitResult = CommitCounts & { generation: number };

export type IndexSearchOptions = RankOptions;

const BATCH = 256;

export class Index {
  /** Absolute path. */
  readonly directory: string;
  private current: Generation;
  private readonly lock: NativeLock | null;
  private readonly training: Training;
  private skipped = 0;
  private tail: Promise<unknown> = Promise.resolve();
  private closing: Promise<void> | undefined;
  private broken: UncertainCommit | undefined;

  private constructor(
    directory: string,
    current: Generation,
    lock: NativeLock | null,
    training: Training,
  ) {
    this.training = training;
    this.directory = directory;
    this.current = current;
    this.lock = lock;
  }

  /**
   * Opens the index in a directory; in write mode it is created where there is none. Everything in it
   * is verified before this resolves. Throws NOT_AN_INDEX (nothing is touched), INDEX_LOCKED (the pid
   * of the other writer in `details.pid`), MODEL_MISMATCH, CORRUPT_INDEX, UNSUPPORTED_FORMAT, IO_ERROR.
   *
   * @example
   * await using index = await Index.open('./index', { dim: 128 })
   */
  static async open(directory: string, options?: IndexOptions): Promise<Index> {
    const { path, current, lock } = await openIndex(directory, options);
    return new Index(path, current, lock, trainingOf(options?.codec));
  }

  get dim(): number {
    return this.manifest.dim;
  }

  get codec(): CodecInfo {
    const { name, scale } = this.manifest.codec;
    const { codebook } = this.current;
    if (codebook === null) return { name, scale };
    const { centroidCount, trainedTokens } = codebook;
    return { name, scale, centroids: centroidCount, trainedTokens };
  }

  /** Documents that `rank` and `search` have given up early since the index was opened. */
  get skippedDocuments(): number {
    return this.skipped;
  }

  get encoder(): EncoderIdentity | null {
    return this.manifest.encoder;
  }

  /** Grows by one with every commit that changes something. */
  get generation(): number {
    return this.manifest.generation;
  }

  get documentCount(): number {
    return this.snapshot.documentCount;
  }

  get tokenCount(): number {
    return this.snapshot.tokenCount;
  }

  /** Of all files of this generation. */
  get sizeBytes(): number {
    return this.stats().sizeBytes;
  }

  /** How vectors are stored, for scoring others as if they were. */
  get format(): VectorFormat {
    return formatOf(this.manifest, this.current.codebook);
  }

  /** Upserts documents in one durable, all-or-nothing commit. */
  async add(documents: readonly IndexDocument[]): Promise<CommitResult> {
    return await this.commit({ add: documents });
  }

  /** Removes documents in one durable, all-or-nothing commit; ids it does not hold are reported. */
  async delete(ids: readonly string[]): Promise<CommitResult> {
    return await this.commit({ delete: ids });
  }

  /**
   * Deletes, then adds, as one generation: durable when this resolves, all or nothing. An id in both is
   * a replacement; the last of several documents with one id wins, the others count as replaced.
   * Documents are copied in slices of a few milliseconds, so leave them alone until this resolves.
   * Commits run one after the other, in the order of the calls. Throws INVALID_ARGUMENT,
   * INVALID_VECTORS, VECTOR_OUT_OF_RANGE, READ_ONLY, IO_ERROR; then nothing has changed.
   */
  async commit(changes: {
    add?: readonly IndexDocument[];
    delete?: readonly string[];
  }): Promise<CommitResult> {
    this.checkWritable();
    const { add = [], delete: remove = [] } = checkOptions<{
      add?: readonly IndexDocument[];
      delete?: readonly string[];
    }>('changes', changes, ['add', 'delete']);
    const ids = [...new Set(checkArray('ids', remove).map((id, i) => checkId(`ids[${i}]`, id)))];
    const preparing = prepareDocuments(checkArray('documents', add), this.dim);
    preparing.catch(() => {}); // awaited below, in its turn
    return await this.enqueue(async () => {
      const { prepared, repeats } = await preparing;
      const result = await this.apply(
        [...prepared.values()],
        ids.filter((id) => !prepared.has(id)),
        false,
      );
      return { ...result, replaced: result.replaced + repeats };
    });
  }

  /** Merges everything into one segment and drops what is dead. Ids and scores stay the same. */
  async compact(): Promise<void> {
    this.checkWritable();
    await this.enqueue(() => this.apply([], [], true));
  }

  /**
   * Stores every document in another codec, as one commit: the way to a residual codec for an index
   * that grows from small commits, since its centroids are then learned from all documents. Only down
   * the ladder of CODECS, and from a residual codec nowhere: what one has lost cannot be won back.
   * Readers follow with `refresh`. Throws INVALID_ARGUMENT, VECTOR_OUT_OF_RANGE, ABORTED, READ_ONLY,
   * IO_ERROR; then nothing has changed.
   */
  async recode(codec: CodecOption, options?: RecodeOptions): Promise<CommitResult> {
    this.checkWritable();
    const stored = codecOf(checkCodec(codec));
    const { signal, onProgress } = checkOptions<RecodeOptions>('options', options, [
      'signal',
      'onProgress',
    ]);
    return await this.enqueue(async () => {
      const from = this.manifest.codec.name;
      const loses = CODECS.indexOf(stored.name) > CODECS.indexOf(from) && !isResidual(from);
      if (!loses && this.documentCount > 0) {
        throw new MaxSimError(
          'INVALID_ARGUMENT',
          `The index stores ${from} tokens, from which ${stored.name} cannot be made without losing more than ${stored.name} does by itself; index the documents again.`,
        );
      }
      return await withLimits(
        signal,
        undefined,
        async (limits) =>
          await this.publish(() =>
            recode(this.directory, this.current, stored, trainingOf(codec), limits),
          ),
        onProgress,
      );
    });
  }

  /** In read mode: moves to the newest generation. True when there was a newer one. */
  async refresh(): Promise<boolean> {
    this.checkOpen();
    if (this.lock !== null) return false; // a writer is the newest
    return await this.enqueue(async () => {
      const next = await openNewest(this.directory, this.current);
      if (next === null) return false;
      this.advance(next);
      return true;
    });
  }

  has(id: string): boolean {
    return this.hasMany([id])[0] as boolean;
  }

  hasMany(ids: readonly string[]): boolean[] {
    return Array.from(this.find(ids), (ref) => ref !== UNKNOWN_REF);
  }

  get(id: string): StoredDocument | undefined {
    return this.getMany([id])[0];
  }

  /** One entry per id, in their order; undefined for an unknown one. */
  getMany(ids: readonly string[]): (StoredDocument | undefined)[] {
    const refs = this.find(ids);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      return ref === UNKNOWN_REF ? undefined : readDocument(this.snapshot, id, ref);
    });
  }

  /** The stored vectors, decoded: flat `tokens * dim` values. Throws UNKNOWN_ID. */
  vectors(id: string): Float32Array {
    const ref = this.require(id);
    return native(() => this.snapshot.tokens(ref));
  }

  /** One entry per id: its content hash, null if stored without one, undefined if unknown. */
  contentHashes(ids: readonly string[]): (string | null | undefined)[] {
    const refs = this.find(ids);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      if (ref === UNKNOWN_REF) return undefined;
      return readContentHash(
        native(() => this.snapshot.record(ref, HASH_PREFIX_BYTES)),
        id,
      );
    });
  }

  /** All documents of this generation, oldest segment first, whatever is committed meanwhile. */
  async *documents(): AsyncGenerator<StoredDocument, void, undefined> {
    const snapshot = this.snapshot.share();
    try {
      for (let from = 0; ; ) {
        const refs = snapshot.refs(from, BATCH);
        if (refs.length === 0) return;
        const ids = snapshot.ids(refs);
        for (const [i, ref] of refs.entries()) yield readDocument(snapshot, ids[i] as string, ref);
        from = (refs.at(-1) as number) + 1;
        await setImmediate();
      }
    } finally {
      snapshot.close();
    }
  }

  /**
   * MaxSim scores of stored documents, on the calling thread whatever their number: 100 documents of 180
   * tokens take 0.2 to 0.4 ms with AVX-512. Where it may be more, use `scoreAsync`. The query is flat `tokens * dim` values, or prepared.
   * Throws INVALID_VECTORS, MODEL_MISMATCH.
   */
  score(query: Float32Array | QueryVectors, ids: readonly string[]): ScoreResult {
    const { known, places, unknownIds } = this.resolveIds(ids);
    const handle = toQuery(query, this.dim);
    const counts = Uint32Array.of(known.length);
    const scores = native(() => this.snapshot.score([handle], known, counts));
    return { scores: spread(scores, places, ids.length), unknownIds };
  }

  /** The same off the event loop; what takes less than about 0.3 ms is done at once. */
  async scoreAsync(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<ScoreResult> {
    return (await this.scoreMany([{ query, ids }], options))[0] as ScoreResult;
  }

  /**
   * Scores of many queries, each for its own documents, in one call to the addon: queries are spread
   * over the cores, and so is one query when there are fewer of them than cores. What takes less than
   * about 0.3 ms in all is done at once on the calling thread.
   */
  async scoreMany(
    requests: readonly RankRequest[],
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<ScoreResult[]> {
    const { signal, deadlineMs } = checkOptions<{ signal?: AbortSignal; deadlineMs?: number }>(
      'options',
      options,
      ['signal', 'deadlineMs'],
    );
    const batch = this.toBatch(requests);
    return await withLimits(signal, deadlineMs, (limits) =>
      scoreBatch(this.snapshot, batch, limits),
    );
  }

  /**
   * The best of some stored documents, best first; equal scores keep the order of `ids`. The k best are
   * kept while documents are scored, in the addon; off the event loop where it takes longer than about
   * 0.3 ms.
   *
   * @example
   * const { hits } = await index.rank(queryVectors, ['a', 'b', 'c'], { topK: 2 })
   */
  async rank(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: RankOptions,
  ): Promise<RankResult> {
    return (await this.rankMany([{ query, ids }], options))[0] as RankResult;
  }

  /** `rank` for many queries in one call, as `scoreMany` is `score`. */
  async rankMany(requests: readonly RankRequest[], options?: RankOptions): Promise<RankResult[]> {
    const { topK, earlyExit, signal, deadlineMs } = checkRankOptions(options);
    const batch = this.toBatch(requests);
    const results = await withLimits(signal, deadlineMs, (limits) =>
      rankBatch(this.snapshot, batch, topK, earlyExit, limits),
    );
    for (const { skipped } of results) this.skipped += skipped;
    return results;
  }

  /** The best documents of the whole index, every token scanned, off the event loop. */
  async search(
    query: Float32Array | QueryVectors,
    options?: IndexSearchOptions,
  ): Promise<{ id: string; score: number }[]> {
    const { topK, earlyExit, signal, deadlineMs } = checkRankOptions(options);
    const handle = toQuery(query, this.dim);
    // The refs are this generation's: a commit meanwhile must not change what they mean.
    const snapshot = native(() => this.snapshot.share());
    try {
      const { refs, scores, skipped } = await withLimits(signal, deadlineMs, (limits) =>
        snapshot.search(handle, topK, earlyExit, limits),
      );
      this.skipped += skipped;
      return snapshot.ids(refs).map((id, i) => ({ id, score: scores[i] as number }));
    } finally {
      snapshot.close();
    }
  }

  /** One match per query token; the contributions add up to the score. Throws UNKNOWN_ID. */
  explain(query: Float32Array | QueryVectors, id: string): VectorMatch[] {
    const ref = this.require(id);
    const handle = toQuery(query, this.dim);
    return toMatches(native(() => this.snapshot.explain(handle, ref)));
  }

  /** Scores of vectors that are not stored, as if they were; off the event loop. */
  async scoreVectors(
    query: Float32Array | QueryVectors,
    documents: readonly Float32Array[],
  ): Promise<Float32Array> {
    this.checkOpen();
    return await scoreVectors(query, this.format, documents);
  }

  /** Explains a score of `scoreVectors`. */
  explainVectors(query: Float32Array | QueryVectors, vectors: Float32Array): VectorMatch[] {
    this.checkOpen();
    return explainVectors(query, this.format, vectors);
  }

  /** Counts and sizes, of the whole and of each segment. */
  stats(): IndexStats {
    return statsOf(this.manifest, this.snapshot, this.current.codebook);
  }

  /** Waits for commits under way, then lets go of the files and the lock. */
  async close(): Promise<void> {
    this.closing ??= this.tail.then(() => {
      this.current.snapshot.close();
      this.lock?.release();
    });
    await this.closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private get manifest(): Manifest {
    return this.current.manifest;
  }

  private get snapshot(): NativeSnapshot {
    this.checkOpen();
    return this.current.snapshot;
  }

  private checkOpen(): void {
    if (this.closing !== undefined) throw new MaxSimError('CLOSED', 'The index is closed.');
  }

  /** Throws READ_ONLY or CLOSED when this index takes no commits. */
  checkWritable(): void {
    this.checkOpen();
    if (this.lock === null) {
      throw new MaxSimError('READ_ONLY', 'The index is open in read mode.');
    }
  }

  private async enqueue<T>(task: () => Promise<T>): Promise<T> {
    const result = this.tail.then(task);
    this.tail = result.catch(() => {});
    return await result;
  }

  private async apply(
    add: Parameters<typeof commit>[2]['add'],
    remove: readonly string[],
    compact: boolean,
  ): Promise<CommitResult> {
    return await this.publish(() =>
      commit(this.directory, this.current, {
        add,
        delete: remove,
        compact,
        training: this.training,
      }),
    );
  }

  /** Makes what was committed the current generation. */
  private async publish(run: () => Promise<Committed>): Promise<CommitResult> {
    if (this.broken !== undefined) throw this.broken;
    try {
      const { next, counts, obsolete } = await run();
      if (next !== null) {
        this.advance(next);
        await removeFiles(this.directory, obsolete);
      }
      return { generation: this.manifest.generation, ...counts };
    } catch (error) {
      if (error instanceof UncertainCommit) this.broken = error;
      throw error;
    }
  }

  private advance(next: Generation): void {
    const previous = this.current.snapshot;
    this.current = next;
    previous.close();
  }

  private find(ids: readonly string[]): Uint32Array {
    const { snapshot } = this;
    checkArray('ids', ids);
    return native(() => snapshot.find(ids));
  }

  private require(id: string): number {
    const [ref] = this.find([id]);
    if (ref === UNKNOWN_REF) {
      throw new MaxSimError('UNKNOWN_ID', `The index holds no document ${JSON.stringify(id)}.`, {
        details: { id },
      });
    }
    return ref as number;
  }

  private toBatch(requests: readonly RankRequest[]): ReturnType<typeof toBatch> {
    return toBatch(requests, this.dim, this.format, (ids) => this.find(ids));
  }

  private resolveIds(ids: readonly string[]): ResolvedIds {
    return resolveRefs(ids, this.find(ids));
  }
}

function readDocument(snapshot: NativeSnapshot, id: string, ref: number): StoredDocument {
  const { text, payload, contentHash } = unpackRecord(
    native(() => snapshot.record(ref)),
    id,
  );
  const tokenCount = native(() => snapshot.tokenCounts(Uint32Array.of(ref)))[0] as number;
  return { id, text, payload, tokenCount, contentHash };
}
