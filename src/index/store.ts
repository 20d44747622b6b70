/**
 * The durable store: token vectors, texts and payloads by id. START HERE for reading; commit.ts is how
 * it changes, manifest.ts what a generation is.
 */
import { checkArray, checkId, checkOptions } from '../check.js';
import { MaxSimError } from '../errors.js';
import type { NativeLock } from '../runtime/addon.js';
import { CODECS, type CodecName } from '../types.js';
import {
  type CodecOption,
  checkCodec,
  codecOf,
  isResidual,
  type Training,
  trainingOf,
} from './codec.js';
import { type CommitCounts, type Committed, commit, recode, UncertainCommit } from './commit.js';
import { type IndexDocument, prepareDocuments } from './document.js';
import { DocumentView } from './document-view.js';
import { type Generation, removeFiles } from './generation.js';
import type { EncoderIdentity, Manifest } from './manifest.js';
import { type IndexOptions, openIndex, openNewest } from './open.js';
import { type RankOptions, withLimits } from './scoring.js';
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

export class Index extends DocumentView {
  /** Absolute path. */
  readonly directory: string;
  private current: Generation;
  private readonly lock: NativeLock | null;
  private readonly training: Training;
  private tail: Promise<unknown> = Promise.resolve();
  private closing: Promise<void> | undefined;
  private broken: UncertainCommit | undefined;

  private constructor(
    directory: string,
    current: Generation,
    lock: NativeLock | null,
    training: Training,
  ) {
    super();
    this.training = training;
    this.directory = directory;
    this.current = current;
    this.lock = lock;
  }

  /**
   * Opens the index in a directory; in write mode it is created where there is none. Headers and tables
   * are verified before this resolves, documents before they are first used (`verify`), and what is
   * damaged is reported as CORRUPT_INDEX, never scored. Throws NOT_AN_INDEX (nothing is touched), INDEX_LOCKED (the pid
   * of the other writer in `details.pid`), MODEL_MISMATCH, CORRUPT_INDEX, UNSUPPORTED_FORMAT, IO_ERROR.
   *
   * @example
   * await using index = await Index.open('./index', { dim: 128 })
   */
  static async open(directory: string, options?: IndexOptions): Promise<Index> {
    const { path, current, lock } = await openIndex(directory, options);
    return new Index(path, current, lock, trainingOf(options?.codec));
  }

  get codec(): CodecInfo {
    const { name, scale } = this.manifest.codec;
    const { codebook } = this.current;
    if (codebook === null) return { name, scale };
    const { centroidCount, trainedTokens } = codebook;
    return { name, scale, centroids: centroidCount, trainedTokens };
  }

  get encoder(): EncoderIdentity | null {
    return this.manifest.encoder;
  }

  /** Grows by one with every commit that changes something. */
  get generation(): number {
    return this.manifest.generation;
  }

  /** Of all files of this generation. */
  get sizeBytes(): number {
    return this.stats().sizeBytes;
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

  /** Counts and sizes, of the whole and of each segment. */
  stats(): IndexStats {
    return statsOf(this.manifest, this.generationInUse.snapshot, this.current.codebook);
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

  protected get generationInUse(): Generation {
    this.checkOpen();
    return this.current;
  }

  private get manifest(): Manifest {
    return this.current.manifest;
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
}
