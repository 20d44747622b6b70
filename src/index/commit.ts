/**
 * One commit: changes in, the next generation out, durable or not there at all. New files are written
 * under names never used before; the rename of the manifest is the moment at which they count.
 */
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import {
  loadAddon,
  type NativeCodebook,
  type NativeSnapshot,
  nativeAsync,
  type SegmentEntry,
  type TaskLimits,
} from '../runtime/addon.js';
import { type ChangeGroup, type Changes, type CommitCounts, combine } from './change-group.js';
import { bitsOf, isResidual, type StoredCodec, type Training, tokenBytes } from './codec.js';
import { bytesOfDocuments, requireSpace } from './disk-space.js';
import { copiesOf, type PreparedDocument } from './document.js';
import { toColumns } from './fields.js';
import { filesOf, formatOf, type Generation, openGeneration, removeFiles } from './generation.js';
import { type Manifest, readManifest, type StoredSearch, writeManifest } from './manifest.js';
import { chooseScale, sampleOf } from './scale.js';
import { writeSegment } from './segment-writer.js';

/** `next` is null when there was nothing to do; `counts` has one entry per call. */
export type Committed = {
  next: Generation | null;
  counts: CommitCounts[];
  /** Files that no manifest needs any more, to be removed once nobody starts from the old generation. */
  obsolete: string[];
};

/** A merged segment, durable but for its name, and what it was made of. */
export type Merge = {
  /** The generation whose segments were merged. */
  from: Generation;
  /** Places of those segments in it, ascending. */
  segments: readonly number[];
  merged: SegmentEntry;
  /** Holds the merged segment, verified already. */
  staged: Generation;
};

/** Codes of segments under one codebook, durable but for their names, and a generation that has them. */
export type Coding = {
  /** What they were made from. */
  from: Manifest;
  search: StoredSearch;
  /** By the name of the segment. */
  codes: ReadonlyMap<string, NonNullable<SegmentEntry['codes']>>;
  /** All that was written for it. */
  files: readonly string[];
  staged: Generation;
};

/** Set on the error of a commit of which it is unknown whether it survives a power loss. */
export class UncertainCommit extends MaxSimError {}

/**
 * Applies the changes of a group of calls as one generation. On failure the old generation stays current
 * and what was written is removed. Throws VECTOR_OUT_OF_RANGE, INVALID_VECTORS, DISK_FULL, IO_ERROR.
 */
export async function commit(
  directory: string,
  current: Generation,
  calls: readonly Changes[],
  training: Training,
): Promise<Committed> {
  const group = await combine(calls, current.snapshot);
  return await attempt(directory, current, (attempt) => attempt.run(group, training));
}

/**
 * Puts a merged segment in the place of its sources, as one generation. What commits have deleted or
 * replaced since it was begun is dead in it too. `next` is null when a commit has made it needless.
 */
export async function adopt(
  directory: string,
  current: Generation,
  merge: Merge,
): Promise<Committed> {
  return await attempt(directory, current, (attempt) => attempt.adopt(merge));
}

/** Gives segments codes, as one generation; those that are gone by now need none. */
export async function adoptCodes(
  directory: string,
  current: Generation,
  coding: Coding,
): Promise<Committed> {
  return await attempt(directory, current, (attempt) => attempt.adoptCodes(coding));
}

/**
 * Stores every document in another codec, as one generation, like `commit`. The vectors are those that
 * are stored, so what the present codec has lost stays lost.
 */
export async function recode(
  directory: string,
  current: Generation,
  codec: StoredCodec,
  training: Training,
  limits: TaskLimits,
): Promise<Committed> {
  return await attempt(directory, current, (attempt) => attempt.recode(codec, training, limits));
}

/** The segments after a merge: the merged one, if anything is left of it, in the place of the oldest. */
export function withMerged(
  segments: readonly SegmentEntry[],
  { from, segments: places }: Pick<Merge, 'from' | 'segments'>,
  merged: SegmentEntry | null,
): SegmentEntry[] {
  const sources = new Set(places.map((place) => from.manifest.segments[place]?.file));
  const oldest = segments.findIndex(({ file }) => sources.has(file));
  return segments.flatMap((entry, i) => {
    if (!sources.has(entry.file)) return [entry];
    return i === oldest && merged !== null ? [merged] : [];
  });
}

async function attempt(
  directory: string,
  current: Generation,
  run: (attempt: Attempt) => Promise<Committed>,
): Promise<Committed> {
  const attempt = new Attempt(directory, current);
  try {
    return await run(attempt);
  } catch (error) {
    throw await attempt.undo(error);
  }
}

class Attempt {
  private readonly generation: number;
  private readonly written: string[] = [];
  private manifest: Manifest;
  private codebook: NativeCodebook | null;
  private opened: Generation | null = null;
  private manifestTouched = false;

  constructor(
    private readonly directory: string,
    private readonly current: Generation,
  ) {
    this.manifest = current.manifest;
    this.codebook = current.codebook;
    this.generation = current.manifest.generation + 1;
  }

  async run(group: ChangeGroup, training: Training): Promise<Committed> {
    const { documents, callers, passing, dead, counts } = group;
    if (passing.length > 0) {
      const vectors = await copiesOf(passing);
      await nativeAsync(() =>
        loadAddon().checkDocuments(
          formatOf(this.manifest, this.codebook),
          passing.map(({ id }) => id),
          vectors,
        ),
      );
    }
    if (documents.length === 0 && dead.length === 0) return { next: null, counts, obsolete: [] };
    const { segments } = this.current.manifest;
    const bitmaps = dead.length === 0 ? [] : segments.map((entry) => entry.documents / 8);
    const tombstoneBytes = bitmaps.reduce((sum, bytes) => sum + bytes, 0);
    await requireSpace(
      this.directory,
      (await bytesOfDocuments(documents, this.current.manifest)) + tombstoneBytes,
    );
    this.manifest = { ...this.manifest, generation: this.generation };
    // Side by side, so that their flushes overlap; both end before anything is undone.
    const [writing, burying] = await Promise.allSettled([
      documents.length === 0 ? null : this.writeSegment(documents, training),
      dead.length === 0 ? segments : this.bury(dead),
    ]);
    if (writing.status === 'rejected') throw writing.reason;
    if (burying.status === 'rejected') throw burying.reason;
    const left = burying.value;
    this.manifest = {
      ...this.manifest,
      segments: writing.value === null ? left : [...left, writing.value.entry],
    };
    for (const [i, clipped] of (writing.value?.clippedByDocument ?? []).entries()) {
      (counts[callers[i] as number] as CommitCounts).clippedComponents += clipped;
    }
    await this.open(this.current);
    return await this.publish(counts);
  }

  async adopt(merge: Merge): Promise<Committed> {
    const { from, segments, staged } = merge;
    this.written.push(merge.merged.file);
    const { codes, ...bare } = merge.merged;
    if (codes !== undefined) this.written.push(codes.file);
    // Codes are of no use under other centroids than those that the index has by now.
    const merged = isSameSearch(from.manifest, this.manifest) ? merge.merged : bare;
    const nothing = { next: null, counts: [], obsolete: [] };
    // After a recode none of the sources is left, and the documents are stored anew.
    if (!isSameCodec(from.manifest, this.manifest)) return nothing;
    const file = `${merged.file}.${this.generation}.dead`;
    this.written.push(file);
    const count = await nativeAsync(() =>
      loadAddon().buryMerged(
        join(this.directory, file),
        from.snapshot,
        segments,
        this.current.snapshot,
      ),
    );
    if (count === merged.documents) return nothing;
    const entry = count === 0 ? merged : { ...merged, dead: { file, count } };
    this.manifest = {
      ...this.manifest,
      generation: this.generation,
      segments: withMerged(this.manifest.segments, merge, entry),
    };
    await this.open(staged);
    return await this.publish([]);
  }

  async adoptCodes({ from, search, codes, files, staged }: Coding): Promise<Committed> {
    this.written.push(...files);
    const { manifest } = this;
    if (!isSameCodec(from, manifest) || !isSameSearch(from, manifest)) {
      throw new MaxSimError(
        'ABORTED',
        'The index was stored in another codec while its search was built; build it again.',
      );
    }
    const renewed = manifest.search?.codebook.crc !== search.codebook.crc;
    const segments = manifest.segments.map(({ codes: before, ...entry }) => {
      const own = codes.get(entry.file) ?? (renewed ? undefined : before);
      return own === undefined ? entry : { ...entry, codes: own };
    });
    this.manifest = { ...manifest, generation: this.generation, segments, search };
    await this.open({ ...this.current, ...pickCodes(staged) });
    return await this.publish([]);
  }

  async recode(codec: StoredCodec, training: Training, limits: TaskLimits): Promise<Committed> {
    const addon = loadAddon();
    const { snapshot, manifest } = this.current;
    const { dim } = manifest;
    this.manifest = { ...manifest, generation: this.generation, codec };
    const { search } = manifest;
    if (search !== undefined && search.codebook.file === manifest.codec.codebook?.file) {
      delete this.manifest.search; // its centroids go with the codec
    } else if (search !== undefined) {
      // Depths were measured with scores of the codec before.
      this.manifest.search = { ...search, depths: null };
    }
    this.codebook = null;
    let clippedComponents = 0;
    if (manifest.segments.length > 0) {
      const others = snapshot
        .segments()
        .map(({ sizeBytes, sections }) => sizeBytes - sections.tokens);
      await requireSpace(
        this.directory,
        snapshot.tokenCount * tokenBytes(codec.name, dim) + others.reduce((a, b) => a + b, 0),
      );
      if (isResidual(codec.name)) {
        await this.train(snapshot, training, limits);
      } else if (codec.scale === null) {
        const scale = await chooseScale(await sampleOf(snapshot), dim);
        this.manifest = { ...this.manifest, codec: { ...codec, scale } };
      }
      const file = this.nextFile();
      const { clipped, ...summary } = await nativeAsync(() =>
        addon.recodeSegments(
          join(this.directory, file),
          snapshot,
          formatOf(this.manifest, this.codebook),
        ),
      );
      clippedComponents = clipped;
      this.manifest = { ...this.manifest, segments: [toEntry(file, summary)] };
    }
    await this.open(this.current);
    return await this.publish([
      { added: 0, replaced: 0, deleted: 0, unknownIds: [], clippedComponents },
    ]);
  }

  /** The rename of the manifest: from then on the new generation counts. */
  private async publish(counts: CommitCounts[]): Promise<Committed> {
    this.manifestTouched = true;
    await writeManifest(this.directory, this.manifest);
    const needed = filesOf(this.manifest);
    return {
      next: { ...(this.opened as Generation), manifest: this.manifest },
      counts,
      obsolete: [...filesOf(this.current.manifest), ...this.written].filter(
        (file) => !needed.has(file),
      ),
    };
  }

  /** Removes what was written, unless the manifest on disk lists it already. */
  async undo(error: unknown): Promise<unknown> {
    this.opened?.snapshot.close();
    if (!this.manifestTouched) {
      await removeFiles(this.directory, this.written);
      return error;
    }
    let onDisk: Manifest | null = null;
    try {
      onDisk = await readManifest(this.directory);
    } catch {
      // Unreadable: then nothing may be removed either.
    }
    if (onDisk?.generation === this.current.manifest.generation) {
      await removeFiles(this.directory, this.written);
      return error;
    }
    return new UncertainCommit(
      'IO_ERROR',
      `${this.directory}: generation ${this.generation} was written, but not confirmed by the disk; close the index and open it again to see which generation survived.`,
      { cause: error },
    );
  }

  private async writeSegment(
    documents: readonly PreparedDocument[],
    training: Training,
  ): Promise<{ entry: SegmentEntry; clippedByDocument: Uint32Array }> {
    if (this.manifest.codec.codebook === null || this.manifest.codec.scale === null) {
      // Read on other threads, while the caller's may be taken away: hence copies.
      const vectors = await copiesOf(documents);
      if (this.manifest.codec.codebook === null) {
        await this.train(vectors, training, {});
      } else {
        const scale = await chooseScale(vectors, this.manifest.dim);
        this.manifest = { ...this.manifest, codec: { ...this.manifest.codec, scale } };
      }
    }
    const file = this.nextFile();
    const { clippedByDocument, ...summary } = await writeSegment(
      join(this.directory, file),
      formatOf(this.manifest, this.codebook),
      documents,
      toColumns(this.manifest, documents),
    );
    return { entry: toEntry(file, summary), clippedByDocument };
  }

  private async train(
    vectors: readonly Float32Array[] | NativeSnapshot,
    { centroids, seed }: Training,
    limits: TaskLimits,
  ): Promise<void> {
    const addon = loadAddon();
    const { dim, codec } = this.manifest;
    const options = { bits: bitsOf(codec.name), dim, centroids, seed };
    let codebook: NativeCodebook;
    try {
      codebook = await nativeAsync(() => addon.trainCodebook(vectors, options, limits));
    } catch (error) {
      if (!(error instanceof MaxSimError) || error.code !== 'INVALID_ARGUMENT') throw error;
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `The ${codec.name} codec learns its centroids from the documents that are there when it is chosen. ${error.message} Add more documents at once, or store them as f16 and change the codec with recode when all are there.`,
        { cause: error },
      );
    }
    const file = `codebook-${String(this.generation).padStart(8, '0')}.maxsim`;
    this.written.push(file);
    await nativeAsync(() => addon.writeCodebook(join(this.directory, file), codebook));
    this.codebook = codebook;
    this.manifest = {
      ...this.manifest,
      codec: { ...codec, codebook: { file, crc: codebook.crc } },
    };
  }

  /** The segments when those documents are dead: one of which none is left goes away altogether. */
  private async bury(refs: Uint32Array): Promise<SegmentEntry[]> {
    const { snapshot, manifest } = this.current;
    const burials = await nativeAsync(() =>
      loadAddon().buryDocuments(this.directory, snapshot, refs, this.generation),
    );
    const bySegment = new Map(burials.map((burial) => [burial.segment, burial]));
    return manifest.segments.flatMap((entry, i) => {
      const burial = bySegment.get(i);
      if (burial === undefined) return [entry];
      const { file, count } = burial;
      if (file === undefined) return [];
      this.written.push(file);
      return [{ ...entry, dead: { file, count } }];
    });
  }

  private async open(previous: Generation): Promise<void> {
    this.opened = await openGeneration(this.directory, this.manifest, {
      ...previous,
      codebook: this.codebook,
    });
  }

  private nextFile(): string {
    const file = segmentName(this.generation, 0);
    this.written.push(file);
    return file;
  }
}

function isSameCodec(a: Manifest, b: Manifest): boolean {
  return JSON.stringify(a.codec) === JSON.stringify(b.codec);
}

function isSameSearch(a: Manifest, b: Manifest): boolean {
  return a.search?.codebook.crc === b.search?.codebook.crc;
}

/** What has codes mapped already. */
function pickCodes({ snapshot, searchCodebook }: Generation) {
  return { snapshot, searchCodebook };
}

type SegmentSizes = { documents: number; tokens: number; headerCrc: number };

export function toEntry(
  file: string,
  { documents, tokens, headerCrc }: SegmentSizes,
): SegmentEntry {
  return { file, documents, tokens, headerCrc };
}

/** The segment of the commit of a generation is its 0th; what is merged from its segments, its first. */
export function segmentName(generation: number, number: 0 | 1): string {
  return `segment-${String(generation).padStart(8, '0')}-${number}.maxsim`;
}
