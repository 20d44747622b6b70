/**
 * The durable store: token vectors, texts and payloads by id. START HERE for reading; commit.ts is how
 * it changes, commit-queue.ts when, compaction.ts how its segments stay few, manifest.ts what a
 * generation is.
 */
import { checkArray, checkId, checkOptions } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  type NativeLock,
  type NativeSnapshot,
  type NativeTally,
  native,
} from '../runtime/addon.js';
import { CODECS, type CodecName } from '../types.js';
import {
  type BuildSearchOptions,
  type BuiltSearch,
  buildSearch,
  builtOf,
  checkBuildOptions,
} from './build-search.js';
import type { Changes, CommitCounts } from './change-group.js';
import {
  type CodecOption,
  checkCodec,
  codecOf,
  isResidual,
  type Training,
  trainingOf,
} from './codec.js';
import {
  adopt,
  adoptCodes,
  type Coding,
  type Committed,
  commit,
  recode,
  UncertainCommit,
} from './commit.js';
import { CommitQueue, type Sized } from './commit-queue.js';
import { Compaction } from './compaction.js';
import { type IndexDocument, type PreparedDocument, prepareDocuments } from './document.js';
import { DocumentView } from './document-view.js';
import { type Generation, removeFiles } from './generation.js';
import { IndexSnapshot } from './index-snapshot.js';
import type { EncoderIdentity, Manifest } from './manifest.js';
import { type IndexOptions, openIndex, openNewest } from './open.js';
import { withLimits } from './scoring.js';
import { type IndexStats, statsOf } from './stats.js';
import { checkTenant, noTenants, ownId, storedId, tenantRequired } from './tenant.js';
import { storedIds, TenantView } from './tenant-view.js';

export { type BuildSearchOptions, type BuiltSearch, SAMPLED_QUERIES } from './build-search.js';
export type { CodecOption } from './codec.js';
export type { CompactionStats } from './compaction.js';
export type { IndexDocument } from './document.js';
export type { FilterOption } from './document-view.js';
export type { IndexSnapshot } from './index-snapshot.js';
export type { IndexOptions } from './open.js';
export type { RankOptions, RankRequest, RankResult, ScoreOptions, ScoreResult } from './scoring.js';
export type { IndexSearchOptions, IndexSearchResult } from './searching.js';
export type { IndexStats, SearchStats } from './stats.js';
export { type TenantChanges, TenantView } from './tenant-view.js';

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

/** A tenant of an index, with what it has stored. */
export type TenantInfo = { tenant: string; documents: number; tokens: number };

type SizedChanges = Changes & { size: Sized };

export class Index extends DocumentView {
  /** Absolute path. */
  readonly directory: string;
  private current: Generation;
  private readonly lock: NativeLock | null;
  private readonly training: Training;
  private readonly queue: CommitQueue<SizedChanges, CommitResult>;
  private readonly compaction: Compaction;
  private closing: Promise<void> | undefined;
  private broken: UncertainCommit | undefined;
  private tallied: { snapshot: NativeSnapshot; tallies: Map<string, NativeTally> } | undefined;

  private constructor(
    directory: string,
    current: Generation,
    lock: NativeLock | null,
    options: IndexOptions,
  ) {
    super();
    this.training = trainingOf(options.codec);
    this.directory = directory;
    this.current = current;
    this.lock = lock;
    this.queue = new CommitQueue(
      (group) => this.write(group),
      // The first documents decide how all are stored: those of the first call, not of its neighbours.
      () => this.manifest.codec.scale === null || this.manifest.codec.codebook === null,
    );
    this.compaction = new Compaction(
      {
        directory,
        manifest: () => this.manifest,
        pin: () => this.mergeable(),
        adopt: (merge) => this.adopt(merge),
        adoptCodes: (coding) => this.adoptCodes(coding),
        settled: () => this.queue.run(async () => {}),
      },
      lock !== null && options.compaction !== 'off',
    );
    this.compaction.wake();
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
    return new Index(path, current, lock, options ?? {});
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

  /** Grows by one with every commit that changes something; merges are commits too. */
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
   * The vectors of a large call are copied little by little while others are written, so leave them alone
   * until this resolves.
   * Calls take effect in their order. Those that wait while one is written become the next generation
   * together: each has the counts it would have had alone, and fails alone. Throws INVALID_ARGUMENT,
   * INVALID_VECTORS, VECTOR_OUT_OF_RANGE, READ_ONLY, DISK_FULL, IO_ERROR; then nothing has changed.
   */
  async commit(changes: {
    add?: readonly IndexDocument[];
    delete?: readonly string[];
  }): Promise<CommitResult> {
    this.checkWritable();
    return await this.commitFor(this.tenantInUse, changes);
  }

  /** The documents of a tenant alone, in an index with tenants. Throws INVALID_ARGUMENT. */
  tenant(name: string): TenantView {
    const tenant = checkTenant(name);
    if (!this.manifest.tenants) throw noTenants();
    return new TenantView(tenant, {
      generation: () => this.generationInUse,
      tally: () => this.tallies().get(tenant) ?? { documents: 0, tokens: 0 },
      checkWritable: () => this.checkWritable(),
      commit: (changes) => this.commitFor(tenant, changes),
      clear: () => this.clear(tenant),
      snapshot: () => this.snapshotOf(tenant),
    });
  }

  /** The documents of the tenant that is named, or of an index without tenants. Else throws. */
  view(tenant: string | undefined): Index | TenantView {
    if (tenant !== undefined) return this.tenant(tenant);
    if (this.manifest.tenants) throw tenantRequired();
    return this;
  }

  /** The tenants that have documents, in the order of their bytes. Throws INVALID_ARGUMENT. */
  tenants(): TenantInfo[] {
    this.checkOpen();
    if (!this.manifest.tenants) throw noTenants();
    return Array.from(this.tallies(), ([tenant, tally]) => ({ tenant, ...tally }));
  }

  /** Whether every document belongs to a tenant. */
  get hasTenants(): boolean {
    return this.manifest.tenants;
  }

  private async commitFor(
    tenant: string | null,
    changes: { add?: readonly IndexDocument[]; delete?: readonly string[] },
  ): Promise<CommitResult> {
    this.checkWritable();
    const { add = [], delete: remove = [] } = checkOptions<{
      add?: readonly IndexDocument[];
      delete?: readonly string[];
    }>('changes', changes, ['add', 'delete']);
    const ids = [
      ...new Set(
        checkArray('ids', remove).map((id, i) => storedId(tenant, checkId(`ids[${i}]`, id))),
      ),
    ];
    const preparing = prepareDocuments(checkArray('documents', add), this.manifest, tenant);
    const result = await this.queue.commit(
      preparing.then(({ prepared, repeats }) => ({
        add: prepared,
        delete: ids.filter((id) => !prepared.has(id)),
        repeats,
        size: sizeOf(prepared, ids.length),
      })),
    );
    return { ...result, unknownIds: result.unknownIds.map((id) => ownId(tenant, id)) };
  }

  /**
   * Merges everything that is committed by now into one segment and drops what is dead. Ids and scores
   * stay the same, and commits go on meanwhile. Resolves when the new segment is durable. Throws
   * READ_ONLY, DISK_FULL, IO_ERROR.
   */
  async compact(): Promise<void> {
    this.checkWritable();
    await this.compaction.compact();
  }

  /** What the index holds now, to be read whatever is committed from here on; close it after use. */
  snapshot(): IndexSnapshot {
    return this.snapshotOf(this.tenantInUse);
  }

  /**
   * Stores every document in another codec, as one commit: the way to a residual codec for an index
   * that grows from small commits, since its centroids are then learned from all documents. Only down
   * the ladder of CODECS, and from a residual codec nowhere: what one has lost cannot be won back.
   * Readers follow with `refresh`. Throws INVALID_ARGUMENT, VECTOR_OUT_OF_RANGE, ABORTED, READ_ONLY,
   * DISK_FULL, IO_ERROR; then nothing has changed.
   */
  async recode(codec: CodecOption, options?: RecodeOptions): Promise<CommitResult> {
    this.checkWritable();
    const stored = codecOf(checkCodec(codec));
    const { signal, onProgress } = checkOptions<RecodeOptions>('options', options, [
      'signal',
      'onProgress',
    ]);
    return await this.queue.run(async () => {
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
        async (limits) => {
          const [counts] = await this.publish(() =>
            recode(this.directory, this.current, stored, trainingOf(codec), limits),
          );
          return { generation: this.generation, ...(counts as CommitCounts) };
        },
        onProgress,
      );
    });
  }

  /**
   * Prepares the index for searches that need not score every document: learns centroids, unless it has
   * some, notes which of them occur in each document, and measures how many candidates find how much.
   * Commits go on meanwhile; what they add is scored whole until the background has caught up, and
   * nothing is learned again unless `retrain` says so. Takes the tokens 2 to 6 bytes each on disk.
   * Throws INVALID_ARGUMENT (fewer than 4,096 tokens), READ_ONLY, ABORTED, DISK_FULL, IO_ERROR; then
   * nothing has changed.
   *
   * @example
   * await index.buildSearch()
   */
  async buildSearch(options?: BuildSearchOptions): Promise<BuiltSearch> {
    this.checkWritable();
    const checked = checkBuildOptions(options);
    return await this.compaction.exclusively(async () => {
      const from = this.mergeable();
      try {
        const coding = await buildSearch(this.directory, from, checked);
        try {
          await this.adoptCodes(coding);
        } finally {
          coding.staged.snapshot.close();
        }
        return { generation: this.generation, ...builtOf(coding) };
      } finally {
        from.snapshot.close();
      }
    });
  }

  /** In read mode: moves to the newest generation. True when there was a newer one. */
  async refresh(): Promise<boolean> {
    this.checkOpen();
    if (this.lock !== null) return false; // a writer is the newest
    return await this.queue.run(async () => {
      const next = await openNewest(this.directory, this.current);
      if (next === null) return false;
      this.advance(next);
      return true;
    });
  }

  /** Counts and sizes, of the whole and of each segment. */
  stats(): IndexStats {
    return statsOf(this.generationInUse, this.lock === null ? null : this.compaction.stats);
  }

  /**
   * Waits for commits under way and for `compact`, then lets go of the files and the lock. A merge in
   * the background that is not nearly done is given up.
   */
  async close(): Promise<void> {
    this.closing ??= this.finish();
    await this.closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected get generationInUse(): Generation {
    this.checkOpen();
    return this.current;
  }

  protected get tenantInUse(): null {
    this.checkOpen();
    if (this.manifest.tenants) throw tenantRequired();
    return null;
  }

  /** What each tenant has in this generation, counted once. */
  private tallies(): ReadonlyMap<string, NativeTally> {
    const { snapshot } = this.generationInUse;
    if (this.tallied?.snapshot !== snapshot) {
      const rows = native(() => snapshot.tallyKeywords(0));
      const tallies = new Map(
        rows.map(({ keyword, documents, tokens }) => [keyword, { documents, tokens }]),
      );
      this.tallied = { snapshot, tallies };
    }
    return this.tallied.tallies;
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

  private async finish(): Promise<void> {
    await this.compaction.stop();
    await this.queue.drain();
    this.current.snapshot.close();
    this.lock?.release();
  }

  /** The current generation, with a handle of its own to the data. */
  private pin(): Generation {
    return { ...this.current, snapshot: this.current.snapshot.share() };
  }

  /**
   * What a merge starts from. None starts while it is unknown which generation the disk holds: it would
   * write over the file of an earlier one, which that generation may list.
   */
  private mergeable(): Generation {
    if (this.broken !== undefined) throw this.broken;
    return this.pin();
  }

  private snapshotOf(tenant: string | null): IndexSnapshot {
    this.checkOpen();
    return new IndexSnapshot(this.pin(), tenant);
  }

  /** Which documents there are is known only when it is its turn. */
  private async clear(tenant: string): Promise<CommitResult> {
    return await this.queue.run(async () => {
      const ids = storedIds(this.current, tenant);
      const [result] = await this.write([{ add: new Map(), delete: ids, repeats: 0 }]);
      return result as CommitResult;
    });
  }

  private async write(group: readonly Changes[]): Promise<CommitResult[]> {
    const counts = await this.publish(() =>
      commit(this.directory, this.current, group, this.training),
    );
    const { generation } = this.manifest;
    return counts.map((count) => ({ generation, ...count }));
  }

  private async adopt(merge: Parameters<typeof adopt>[2]): Promise<boolean> {
    return await this.queue.run(async () => {
      const before = this.current;
      await this.publish(() => adopt(this.directory, this.current, merge));
      return this.current !== before;
    });
  }

  private async adoptCodes(coding: Coding): Promise<void> {
    await this.queue.run(async () => {
      await this.publish(() => adoptCodes(this.directory, this.current, coding));
    });
  }

  /** Makes what was committed the current generation. */
  private async publish(run: () => Promise<Committed>): Promise<CommitCounts[]> {
    if (this.broken !== undefined) throw this.broken;
    try {
      const { next, counts, obsolete } = await run();
      if (next !== null) {
        this.advance(next);
        this.compaction.wake();
        await removeFiles(this.directory, obsolete);
      }
      return counts;
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

function sizeOf(documents: ReadonlyMap<string, PreparedDocument>, deletes: number): Sized {
  let bytes = 0;
  for (const { vectors, record } of documents.values()) bytes += vectors.byteLength + record.length;
  return { documents: documents.size + deletes, bytes };
}
