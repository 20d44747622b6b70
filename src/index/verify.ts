/** `verifyIndex`: is every byte of an index what was written, and every promise of the format kept? */
import { resolve } from 'node:path';
import { checkOptions, checkString } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import type { NativeSnapshot, SegmentEntry, SegmentExamination } from '../runtime/addon.js';
import {
  type ExaminationProgress,
  type ExaminedIndex,
  examineIndex,
  type Problem,
  unlistedFiles,
} from './examination.js';
import { openGeneration } from './generation.js';
import { readManifest } from './manifest.js';
import { Pace } from './pace.js';
import { withLimits } from './scoring.js';

export type VerifyOptions = {
  signal?: AbortSignal;
  /** Called after each file. */
  onProgress?: (progress: ExaminationProgress) => void;
};

export type VerifyReport = {
  /** True when there is no problem. */
  ok: boolean;
  /** Null when the manifest cannot be read, nor put right. */
  generation: number | null;
  /** Live ones and dead ones, as the manifest counts them. */
  documents: number;
  deadDocuments: number;
  /** The files that count. */
  files: { file: string; sizeBytes: number; whole: boolean }[];
  /** In the order of the files, and within a file by offset. */
  problems: Problem[];
  /** Files of this index that do not count: waste of a crash, being written, or set aside by a repair. */
  unlisted: { file: string; sizeBytes: number }[];
};

/**
 * Reads every byte of an index and compares it with its checksum and the rules of the format. Takes no
 * lock and changes nothing: writers may go on meanwhile, and what they publish is started over with.
 * Throws NOT_AN_INDEX, UNSUPPORTED_FORMAT, IO_ERROR, ABORTED; damage is reported, not thrown.
 */
export async function verifyIndex(
  directory: string,
  options?: VerifyOptions,
): Promise<VerifyReport> {
  const path = resolve(checkString('directory', directory));
  const { signal, onProgress } = checkExaminationOptions(options, ['signal', 'onProgress']);
  const check = () => checkSignal(signal);
  // Segments never change: what was whole need not be read again for a newer generation.
  const known = new Map<string, SegmentExamination>();
  for (;;) {
    const found = await withLimits(signal, undefined, (limits) =>
      examineIndex(path, { limits, check, onProgress, known }),
    );
    const { manifest } = found;
    if (found.problems.length > 0 && (await hasMovedOn(path, found))) continue;
    const unlisted = manifest === null ? [] : await unlistedFiles(path, manifest);
    let repeats: Map<string, Uint32Array> = new Map();
    try {
      repeats = await findRepeats(path, found, check);
    } catch (error) {
      // What was whole a moment ago can only be gone because of a newer generation.
      if (await hasMovedOn(path, found)) continue;
      throw error;
    }
    for (const [file, ordinals] of repeats) {
      found.problems.push({
        file,
        section: 'ids',
        offset: 0,
        size: 0,
        message: `${ordinals.length} of its documents are live in a later segment too`,
        remedy: 'rewritten',
        documents: ordinals.length,
        ids: [],
      });
    }
    const segments = manifest?.segments ?? [];
    const count = (of: (entry: (typeof segments)[number]) => number): number =>
      segments.reduce((sum, entry) => sum + of(entry), 0);
    const deadDocuments = count(({ dead }) => dead?.count ?? 0);
    return {
      ok: found.problems.length === 0,
      generation: manifest?.generation ?? null,
      documents: count(({ documents }) => documents) - deadDocuments,
      deadDocuments,
      files: found.files,
      problems: found.problems,
      unlisted,
    };
  }
}

/** Checked options of verify and repair. */
export function checkExaminationOptions<T extends VerifyOptions>(
  options: T | undefined,
  known: readonly (keyof T & string)[],
): T {
  const checked = checkOptions<T>('options', options, known);
  const { signal, onProgress } = checked;
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid('signal', 'an AbortSignal', signal);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid('onProgress', 'a function', onProgress);
  }
  return checked;
}

/** Throws ABORTED. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) {
    throw new MaxSimError('ABORTED', 'The caller aborted the operation.', { cause: signal.reason });
  }
}

async function hasMovedOn(path: string, { manifest }: ExaminedIndex): Promise<boolean> {
  try {
    const newer = await readManifest(path);
    return newer !== null && newer.generation !== manifest?.generation;
  } catch {
    return false; // as broken as it was
  }
}

/**
 * Live documents of whole segments that a later whole segment has too, by file: each id must be there
 * once. A reader takes the later one.
 */
export async function findRepeats(
  path: string,
  { manifest, segments, correctedCodebook }: ExaminedIndex,
  check: () => void,
): Promise<Map<string, Uint32Array>> {
  const repeats = new Map<string, Uint32Array>();
  const whole = segments.filter(
    ({ examination, tombstones }) =>
      examination.problems.length === 0 && tombstones.problems.length === 0,
  );
  if (manifest === null || whole.length < 2 || correctedCodebook !== null) return repeats;
  const entries = whole.map(({ entry: { codes: _, ...entry } }) => entry);
  const { search: _, ...others } = manifest;
  const { snapshot } = await openGeneration(path, { ...others, segments: entries }, null);
  try {
    for (const [segment, ordinals] of await repeatsOf(snapshot, check)) {
      repeats.set((entries[segment] as SegmentEntry).file, Uint32Array.from(ordinals));
    }
  } finally {
    snapshot.close();
  }
  return repeats;
}

const BATCH = 1024;

async function repeatsOf(
  snapshot: NativeSnapshot,
  check: () => void,
): Promise<Map<number, number[]>> {
  const repeats = new Map<number, number[]>();
  const pace = new Pace();
  for (let from = 0; ; ) {
    const refs = snapshot.refs(from, BATCH);
    if (refs.length === 0) return repeats;
    const newest = snapshot.find(snapshot.ids(refs));
    for (const [i, ref] of refs.entries()) {
      if (newest[i] === ref) continue;
      const { segment, ordinal } = snapshot.locate(ref);
      const before = repeats.get(segment);
      if (before === undefined) repeats.set(segment, [ordinal]);
      else before.push(ordinal);
    }
    from = (refs.at(-1) as number) + 1;
    check();
    await pace.rest();
  }
}
