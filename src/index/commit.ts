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
  UNKNOWN_REF,
} from '../runtime/addon.js';
import { bitsOf, isResidual, type StoredCodec, type Training } from './codec.js';
import type { PreparedDocument } from './document.js';
import { toColumns } from './fields.js';
import { filesOf, formatOf, type Generation, openGeneration, removeFiles } from './generation.js';
import { type Manifest, readManifest, writeManifest } from './manifest.js';
import { planMerge } from './merge-policy.js';
import { chooseScale, sampleOf } from './scale.js';

export type Changes = {
  add: readonly PreparedDocument[];
  /** Ids that are not in `add`. */
  delete: readonly string[];
  /** Merge everything into one segment. */
  compact: boolean;
  training: Training;
};

export type CommitCounts = {
  added: number;
  replaced: number;
  deleted: number;
  unknownIds: string[];
  clippedComponents: number;
};

export type Committed = {
  next: Generation | null;
  counts: CommitCounts;
  obsolete: string[];
};

/** Set on the error of a commit of which it is unknown whether it survives a power loss. */
export class UncertainCommit extends MaxSimError {}

/**
 * Applies `changes`; `next` is null when there was nothing to do. `obsolete` lists the files that no
 * manifest needs any more, to be removed once nobody starts from the old generation. On failure the old generation stays
 * current and what was written is removed. Throws VECTOR_OUT_OF_RANGE, INVALID_VECTORS, IO_ERROR.
 */
export async function commit(
  directory: string,
  current: Generation,
  changes: Changes,
): Promise<Committed> {
  const attempt = new Attempt(directory, current);
  try {
    return await attempt.run(changes);
  } catch (error) {
    throw await attempt.undo(error);
  }
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
  const attempt = new Attempt(directory, current);
  try {
    return await attempt.recode(codec, training, limits);
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

  async run(changes: Changes): Promise<Committed> {
    const { snapshot } = this.current;
    const ids = [...changes.add.map((document) => document.id), ...changes.delete];
    const refs = snapshot.find(ids);
    const counts: CommitCounts = {
      added: 0,
      replaced: 0,
      deleted: 0,
      unknownIds: [],
      clippedComponents: 0,
    };
    for (const [i, id] of ids.entries()) {
      const known = refs[i] !== UNKNOWN_REF;
      if (i < changes.add.length) counts[known ? 'replaced' : 'added'] += 1;
      else if (known) counts.deleted += 1;
      else counts.unknownIds.push(id);
    }
    this.manifest = { ...this.manifest, generation: this.generation };
    if (changes.add.length > 0) {
      counts.clippedComponents = await this.writeSegment(changes.add, changes.training);
    }
    await this.bury(refs.filter((ref) => ref !== UNKNOWN_REF));
    await this.open();
    await this.merge(changes.compact);
    if (this.written.length === 0 && this.sameSegments()) {
      this.opened?.snapshot.close();
      return { next: null, counts, obsolete: [] };
    }
    return await this.publish(counts);
  }

  async recode(codec: StoredCodec, training: Training, limits: TaskLimits): Promise<Committed> {
    const addon = loadAddon();
    const { snapshot, manifest } = this.current;
    const { dim } = manifest;
    this.manifest = { ...manifest, generation: this.generation, codec };
    this.codebook = null;
    let clippedComponents = 0;
    if (manifest.segments.length > 0) {
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
    await this.open();
    return await this.publish({
      added: 0,
      replaced: 0,
      deleted: 0,
      unknownIds: [],
      clippedComponents,
    });
  }

  /** The rename of the manifest: from then on the new generation counts. */
  private async publish(counts: CommitCounts): Promise<Committed> {
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
  ): Promise<number> {
    const addon = loadAddon();
    const vectors = documents.map((document) => document.vectors);
    if (this.manifest.codec.codebook === null) {
      await this.train(vectors, training, {});
    } else if (this.manifest.codec.scale === null) {
      const scale = await chooseScale(vectors, this.manifest.dim);
      this.manifest = { ...this.manifest, codec: { ...this.manifest.codec, scale } };
    }
    const file = this.nextFile();
    const { clipped, ...entry } = await nativeAsync(() =>
      addon.writeSegment(
        join(this.directory, file),
        formatOf(this.manifest, this.codebook),
        documents.map((document) => document.id),
        vectors,
        documents.map((document) => document.record),
        toColumns(this.manifest, documents),
      ),
    );
    this.append(file, entry);
    return clipped;
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

  /** Marks documents dead; a segment of which none is left goes away altogether. */
  private async bury(refs: Uint32Array): Promise<void> {
    const { snapshot, manifest } = this.current;
    const dead = new Map<number, number[]>();
    for (const ref of refs) {
      const { segment, ordinal } = snapshot.locate(ref);
      const ordinals = dead.get(segment);
      if (ordinals === undefined) dead.set(segment, [ordinal]);
      else ordinals.push(ordinal);
    }
    const gone = new Set<string>();
    const updated = new Map<string, SegmentEntry>();
    for (const [number, ordinals] of dead) {
      const entry = manifest.segments[number] as SegmentEntry;
      const before = snapshot.deadOrdinals(number);
      if (before.length + ordinals.length === entry.documents) {
        gone.add(entry.file);
        continue;
      }
      const all = new Uint32Array(before.length + ordinals.length);
      all.set(before);
      all.set(ordinals, before.length);
      const file = `${entry.file}.${this.generation}.dead`;
      this.written.push(file);
      const count = await nativeAsync(() =>
        loadAddon().writeTombstones(join(this.directory, file), entry.documents, all),
      );
      updated.set(entry.file, { ...entry, dead: { file, count } });
    }
    this.manifest = {
      ...this.manifest,
      segments: this.manifest.segments
        .filter((entry) => !gone.has(entry.file))
        .map((entry) => updated.get(entry.file) ?? entry),
    };
  }

  private async merge(everything: boolean): Promise<void> {
    for (;;) {
      const candidates = this.manifest.segments.map(({ documents, dead }) => ({
        documents,
        dead: dead?.count ?? 0,
      }));
      const untidy = candidates.length > 1 || candidates.some(({ dead }) => dead > 0);
      const all = everything && untidy ? [...candidates.keys()] : null;
      const plan = all ?? planMerge(candidates);
      if (plan === null) return;
      const file = this.nextFile();
      const { clipped: _, ...summary } = await nativeAsync(() =>
        loadAddon().mergeSegments(
          join(this.directory, file),
          (this.opened as Generation).snapshot,
          plan,
        ),
      );
      const merged = new Set(plan);
      this.manifest = {
        ...this.manifest,
        // In the place of the oldest, so that old documents stay before new ones.
        segments: this.manifest.segments.flatMap((entry, i) =>
          i === plan[0] ? [toEntry(file, summary)] : merged.has(i) ? [] : [entry],
        ),
      };
      await this.open();
    }
  }

  private async open(): Promise<void> {
    const previous = this.opened;
    this.opened = await openGeneration(this.directory, this.manifest, {
      ...(previous ?? this.current),
      codebook: this.codebook,
    });
    previous?.snapshot.close();
  }

  private nextFile(): string {
    const number = String(this.generation).padStart(8, '0');
    const file = `segment-${number}-${this.written.length}.maxsim`;
    this.written.push(file);
    return file;
  }

  private append(file: string, summary: SegmentSizes): void {
    const segments = [...this.manifest.segments, toEntry(file, summary)];
    this.manifest = { ...this.manifest, segments };
  }

  private sameSegments(): boolean {
    return this.manifest.segments.length === this.current.manifest.segments.length;
  }
}

type SegmentSizes = { documents: number; tokens: number; headerCrc: number };

function toEntry(file: string, { documents, tokens, headerCrc }: SegmentSizes): SegmentEntry {
  return { file, documents, tokens, headerCrc };
}
