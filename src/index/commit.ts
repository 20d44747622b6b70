/**
 * One commit: changes in, the next generation out, durable or not there at all. New files are written
 * under names never used before; the rename of the manifest is the moment at which they count.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import {
  loadAddon,
  type NativeSnapshot,
  nativeAsync,
  type SegmentEntry,
  UNKNOWN_REF,
  type VectorFormat,
} from '../runtime/addon.js';
import type { PreparedDocument } from './document.js';
import {
  MANIFEST_FILE,
  type Manifest,
  readManifest,
  SEGMENT_NAME,
  TOMBSTONE_NAME,
  writeManifest,
} from './manifest.js';
import { planMerge } from './merge-policy.js';

/** A generation and its data. */
export type Generation = { manifest: Manifest; snapshot: NativeSnapshot };

export type Changes = {
  add: readonly PreparedDocument[];
  /** Ids that are not in `add`. */
  delete: readonly string[];
  /** Merge everything into one segment. */
  compact: boolean;
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

// Room for longer vectors to come, in an index of vectors that are not unit-length.
const HEADROOM = 1.1;
// Fewer tokens say too little about the largest component to come.
const ENOUGH_TOKENS = 4096;

/** The scale that an index without documents would use. */
export const DEFAULT_INT8_SCALE = Math.fround(1 / 127);

export function formatOf(manifest: Manifest): VectorFormat {
  return {
    codec: manifest.codec.name,
    scale: manifest.codec.scale ?? DEFAULT_INT8_SCALE,
    dim: manifest.dim,
  };
}

export async function openGeneration(
  directory: string,
  manifest: Manifest,
  previous: NativeSnapshot | null,
): Promise<Generation> {
  const spec = { ...formatOf(manifest), segments: manifest.segments };
  const snapshot = await nativeAsync(() => loadAddon().openSnapshot(directory, spec, previous));
  return { manifest, snapshot };
}

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

class Attempt {
  private readonly generation: number;
  private readonly written: string[] = [];
  private manifest: Manifest;
  private opened: NativeSnapshot | null = null;
  private manifestTouched = false;

  constructor(
    private readonly directory: string,
    private readonly current: Generation,
  ) {
    this.manifest = current.manifest;
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
    if (changes.add.length > 0) counts.clippedComponents = await this.writeSegment(changes.add);
    await this.bury(refs.filter((ref) => ref !== UNKNOWN_REF));
    await this.open();
    await this.merge(changes.compact);
    if (this.written.length === 0 && this.sameSegments()) {
      this.opened?.close();
      return { next: null, counts, obsolete: [] };
    }
    this.manifestTouched = true;
    await writeManifest(this.directory, this.manifest);
    const needed = filesOf(this.manifest);
    return {
      next: { manifest: this.manifest, snapshot: this.opened as NativeSnapshot },
      counts,
      obsolete: [...filesOf(this.current.manifest), ...this.written].filter(
        (file) => !needed.has(file),
      ),
    };
  }

  /** Removes what was written, unless the manifest on disk lists it already. */
  async undo(error: unknown): Promise<unknown> {
    this.opened?.close();
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

  private async writeSegment(documents: readonly PreparedDocument[]): Promise<number> {
    const addon = loadAddon();
    const vectors = documents.map((document) => document.vectors);
    if (this.manifest.codec.scale === null) {
      const scale = await chooseScale(vectors, this.manifest.dim);
      this.manifest = { ...this.manifest, codec: { ...this.manifest.codec, scale } };
    }
    const file = this.nextFile();
    const { clipped, ...entry } = await nativeAsync(() =>
      addon.writeSegment(
        join(this.directory, file),
        formatOf(this.manifest),
        documents.map((document) => document.id),
        vectors,
        documents.map((document) => document.record),
      ),
    );
    this.append(file, entry);
    return clipped;
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
        loadAddon().mergeSegments(join(this.directory, file), this.opened as NativeSnapshot, plan),
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
    const { snapshot } = await openGeneration(
      this.directory,
      this.manifest,
      previous ?? this.current.snapshot,
    );
    this.opened = snapshot;
    previous?.close();
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

async function chooseScale(vectors: readonly Float32Array[], dim: number): Promise<number> {
  const largest = await nativeAsync(() => loadAddon().largestMagnitude(vectors, dim));
  const tokens = vectors.reduce((sum, values) => sum + values.length / dim, 0);
  // Not finite: writing the segment refuses it, naming the document.
  if (!(largest > 0) || largest === Number.POSITIVE_INFINITY) return DEFAULT_INT8_SCALE;
  // Vectors longer than 1 are refused beyond the range, so theirs needs room to grow. Unit-length ones
  // are clamped there, and a rare clamped tip costs less than wider steps for all.
  if (largest > 1) return Math.fround((largest * HEADROOM) / 127);
  // Rotated unit vectors are spread like normal variables of deviation 1 / sqrt(dim): a few tokens
  // say little about the largest that will come, five deviations do.
  // Shorter vectors are spread as much less: none is longer than sqrt(dim) times its largest component.
  const length = Math.min(1, largest * Math.sqrt(dim));
  const expected = tokens < ENOUGH_TOKENS ? (5 / Math.sqrt(dim)) * length : 0;
  const range = Math.min(1, Math.max(largest, expected));
  return Math.max(2 ** -126, Math.fround(range / 127));
}

export function filesOf(manifest: Manifest): Set<string> {
  return new Set(
    manifest.segments.flatMap(({ file, dead }) =>
      dead === undefined ? [file] : [file, dead.file],
    ),
  );
}

/** Removes files of ours that no generation needs. What cannot be removed now will be later. */
export async function removeFiles(directory: string, files: Iterable<string>): Promise<void> {
  for (const file of files) {
    try {
      await loadAddon().removeFile(join(directory, file));
    } catch {
      // Harmless: no manifest lists it, and the next open in write mode tries again.
    }
  }
}

const TEMPORARY = /\.tmp-\d+$/;

/** What an interrupted commit left behind; foreign files are not ours to touch. */
export async function removeOrphans(directory: string, manifest: Manifest): Promise<void> {
  const needed = filesOf(manifest);
  const entries = await readdir(directory);
  await removeFiles(
    directory,
    entries.filter((name) => isOurs(name) && name !== MANIFEST_FILE && !needed.has(name)),
  );
}

export function isOurs(name: string): boolean {
  const final = name.replace(TEMPORARY, '');
  return final === MANIFEST_FILE || SEGMENT_NAME.test(final) || TOMBSTONE_NAME.test(final);
}
