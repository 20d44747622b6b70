/**
 * Merging segments while commits go on: from a snapshot, off the event loop, one merge at a time. Only
 * what it has written takes a turn among the commits, as a generation of its own.
 */
import { join } from 'node:path';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import {
  loadAddon,
  type NativeCancel,
  type NativeCodebook,
  nativeAsync,
} from '../runtime/addon.js';
import { tokenBytes } from './codec.js';
import { codesName, uncodedSegments, writeCodes } from './codes.js';
import {
  type Coding,
  type Merge,
  segmentName,
  toEntry,
  UncertainCommit,
  withMerged,
} from './commit.js';
import { bytesOfSegments, requireSpace } from './disk-space.js';
import { type Generation, openAhead, removeFiles } from './generation.js';
import type { Manifest } from './manifest.js';
import { type MergeCandidate, planMerge } from './merge-policy.js';

/** Of an index that is open for writing. */
export type CompactionStats = {
  /** A merge is under way. */
  running: boolean;
  /** Merges that became a generation since the index was opened. */
  merges: number;
  /** Why the last merge failed, which will be tried again; null when it did not. */
  lastError: { code: MaxSimErrorCode; message: string } | null;
};

/** What a compaction asks of the index. */
export type Host = {
  readonly directory: string;
  manifest(): Manifest;
  /** The current generation; its snapshot is a handle of the caller's own. */
  pin(): Generation;
  /** Puts the merged segment into use in its turn; false when it is needless by then. */
  adopt(merge: Merge): Promise<boolean>;
  adoptCodes(coding: Coding): Promise<void>;
  /** Waits for the commits asked for so far. */
  settled(): Promise<void>;
};

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
// A merge that `close` waits for: so small ones get done in processes that live for one commit.
const QUICK_MERGE_BYTES = 64 * 2 ** 20;

type Plan = (candidates: readonly MergeCandidate[]) => number[] | null;
type Running = { cancel: NativeCancel; bytes: number };

export class Compaction {
  private tail: Promise<unknown> = Promise.resolve();
  private asked = 0;
  private looping = false;
  private stopped = false;
  private current: Running | undefined;
  private merges = 0;
  private lastError: MaxSimError | undefined;
  private retryMs = FIRST_RETRY_MS;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly host: Host,
    private readonly background: boolean,
  ) {}

  get stats(): CompactionStats {
    const { merges, lastError } = this;
    return {
      running: this.looping || this.asked > 0,
      merges,
      lastError: lastError === undefined ? null : pick(lastError),
    };
  }

  /** To be called after every commit: starts to merge in the background when something is due. */
  wake(): void {
    const { background, looping, asked, stopped, retry } = this;
    if (!background || looping || asked > 0 || stopped || retry !== undefined) return;
    const manifest = this.host.manifest();
    if (planMerge(candidatesOf(manifest)) === null && uncodedSegments(manifest).length === 0)
      return;
    this.looping = true;
    this.enqueue(() => this.loop());
  }

  /** Merges what is committed by now into one segment without dead documents. */
  async compact(): Promise<void> {
    await this.exclusively(async () => {
      // A codec that was changed meanwhile makes a merge needless, but has left one segment itself.
      while ((await this.merge(planAll)) === 'dropped');
    });
  }

  /** Runs while nothing is merged; what is merged in the background is given up for it. */
  async exclusively<T>(task: () => Promise<T>): Promise<T> {
    if (this.asked === 0) this.current?.cancel.cancel();
    this.asked += 1;
    try {
      return await this.enqueue(async () => {
        await this.host.settled();
        return await task();
      });
    } finally {
      this.asked -= 1;
      this.wake();
    }
  }

  /** Cancels a long merge in the background, and waits for everything else. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.retry);
    if (this.asked === 0 && (this.current?.bytes ?? 0) > QUICK_MERGE_BYTES) {
      this.current?.cancel.cancel();
    }
    await this.tail;
  }

  private async enqueue<T>(task: () => Promise<T>): Promise<T> {
    const result = this.tail.then(task);
    this.tail = result.catch(() => {});
    return await result;
  }

  private async loop(): Promise<void> {
    let isAborted = false;
    try {
      while (!this.stopped && this.asked === 0) {
        if ((await this.merge(planMerge)) === 'none' && !(await this.codeSegments())) break;
      }
      this.retryMs = FIRST_RETRY_MS;
    } catch (error) {
      isAborted = error instanceof MaxSimError && error.code === 'ABORTED';
      this.fail(error);
    } finally {
      this.looping = false;
    }
    if (isAborted) this.wake(); // what a change of codec has made needless may be due again
  }

  /** Commits go on: what could not be merged costs space and time, not data. */
  private fail(error: unknown): void {
    if (error instanceof MaxSimError && error.code === 'ABORTED') return;
    this.lastError =
      error instanceof MaxSimError
        ? error
        : new MaxSimError('INTERNAL', String(error), { cause: error });
    if (this.stopped || error instanceof UncertainCommit) return;
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.wake();
    }, this.retryMs).unref();
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
  }

  private async merge(choose: Plan): Promise<'merged' | 'dropped' | 'none'> {
    const { directory } = this.host;
    const from = this.host.pin();
    let file: string | undefined;
    let codes: string | undefined;
    let staged: Generation | undefined;
    try {
      const segments = choose(candidatesOf(from.manifest));
      if (segments === null) return 'none';
      const sizes = from.snapshot.segments();
      const bytes = bytesOfSegments(segments.map((place) => sizes[place] as (typeof sizes)[0]));
      const cancel = new (loadAddon().Cancel)();
      this.current = { cancel, bytes };
      const codeBytes = segments.map((place) => sizes[place]?.codes?.sizeBytes ?? 0);
      await requireSpace(directory, bytes + codeBytes.reduce((sum, size) => sum + size, 0));
      file = segmentName(from.manifest.generation, 1);
      const path = join(directory, file);
      const summary = await nativeAsync(() =>
        loadAddon().mergeSegments(path, from.snapshot, segments, { cancel }),
      );
      let merged = toEntry(file, summary);
      // Verified here, and not while commits wait.
      staged = await this.stage({ from, segments }, merged);
      if (staged === undefined) return 'dropped';
      if (from.searchCodebook !== null) {
        codes = codesName(file, from.manifest.generation);
        const bare = staged;
        merged = {
          ...merged,
          codes: await this.code({ from, segments }, bare, file, codes, cancel),
        };
        staged = await this.stage({ from, segments }, merged);
        bare.snapshot.close();
        if (staged === undefined) return 'dropped';
      }
      const mine = file;
      file = undefined; // from here on the commit's, to keep or to remove
      const adopted = await this.host.adopt({ from, segments, merged, staged });
      if (!adopted) {
        file = mine;
        return 'dropped';
      }
      codes = undefined;
      this.merges += 1;
      this.lastError = undefined;
      return 'merged';
    } finally {
      this.current = undefined;
      staged?.snapshot.close();
      from.snapshot.close();
      const left = [file, codes].filter((name) => name !== undefined);
      if (file !== undefined) await removeFiles(directory, left);
    }
  }

  /** Codes of a merged segment, most of them those of its sources. */
  private async code(
    { from, segments }: Pick<Merge, 'from' | 'segments'>,
    staged: Generation,
    file: string,
    name: string,
    cancel: NativeCancel,
  ): Promise<{ file: string; crc: number }> {
    const place = staged.manifest.segments.findIndex((segment) => segment.file === file);
    const { crc } = await nativeAsync(() =>
      loadAddon().writeCodes(
        join(this.host.directory, name),
        staged.snapshot,
        place,
        from.searchCodebook as NativeCodebook,
        { lists: 'auto', background: true },
        { snapshot: from.snapshot, segments },
        { cancel },
      ),
    );
    return { file: name, crc };
  }

  /** Gives codes to segments that have none, when they are worth it. */
  private async codeSegments(): Promise<boolean> {
    const from = this.host.pin();
    try {
      if (uncodedSegments(from.manifest).length === 0) return false;
      const cancel = new (loadAddon().Cancel)();
      this.current = { cancel, bytes: Number.POSITIVE_INFINITY };
      const coding = await writeCodes(this.host.directory, from, {
        centroids: 'kept',
        lists: 'auto',
        background: true,
        limits: { cancel },
      });
      try {
        await this.host.adoptCodes(coding);
      } finally {
        coding.staged.snapshot.close();
      }
      return true;
    } finally {
      this.current = undefined;
      from.snapshot.close();
    }
  }

  /** The generation that there would be if nothing were committed until then. */
  private async stage(
    merge: Pick<Merge, 'from' | 'segments'>,
    merged: Merge['merged'],
  ): Promise<Generation | undefined> {
    const now = this.host.pin();
    try {
      const { manifest } = now;
      const segments = withMerged(manifest.segments, merge, merged);
      if (!segments.includes(merged)) return undefined;
      return await openAhead(this.host.directory, { ...manifest, segments }, now);
    } finally {
      now.snapshot.close();
    }
  }
}

function candidatesOf({ segments, codec, dim }: Manifest): MergeCandidate[] {
  const bytes = tokenBytes(codec.name, dim);
  return segments.map(({ documents, dead, tokens }) => {
    const count = dead?.count ?? 0;
    return { documents, dead: count, tokenBytes: tokens * bytes * (1 - count / documents) };
  });
}

function planAll(segments: readonly MergeCandidate[]): number[] | null {
  const tidy = segments.length < 2 && segments.every(({ dead }) => dead === 0);
  return tidy ? null : [...segments.keys()];
}

function pick({ code, message }: MaxSimError): { code: MaxSimErrorCode; message: string } {
  return { code, message };
}
