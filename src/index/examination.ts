/** An index read by somebody who expects damage: all that is wrong with it, and what can be put right. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import {
  loadAddon,
  type NativeCodebook,
  nativeAsync,
  type SegmentEntry,
  type SegmentExamination,
  type SegmentProblem,
  type TaskLimits,
} from '../runtime/addon.js';
import { bitsOf } from './codec.js';
import { type Correction, correct, type Section } from './correction.js';
import { filesOf, formatOf, isOurs } from './generation.js';
import { MANIFEST_FILE, type Manifest, parseManifest, type StoredSearch } from './manifest.js';
import { type ExaminedTombstones, examineTombstones } from './tombstones.js';

/** One range of a file that is not what was written. */
export type Problem = SegmentProblem & { file: string };

export type ExaminedSegment = {
  entry: SegmentEntry;
  examination: SegmentExamination;
  tombstones: ExaminedTombstones;
};

export type ExaminedIndex = {
  problems: Problem[];
  /** Every file that counts, as it was found. */
  files: { file: string; sizeBytes: number; whole: boolean }[];
  /** Null when the manifest cannot be put right; then nothing else was looked at. */
  manifest: Manifest | null;
  /** The bytes of a manifest or a codebook that had to be put right. */
  damagedManifest: Buffer | null;
  correctedCodebook: Buffer | null;
  /** Null without one, and where it cannot be put right: then segments were not looked at. */
  codebook: NativeCodebook | null;
  segments: ExaminedSegment[];
  /** The centroids of searches; null without any, and where they are damaged: they are derived. */
  searchCodebook: NativeCodebook | null;
};

export type ExaminationProgress = {
  /** Bytes of files, examined and in all. */
  done: number;
  total: number;
};

export type ExaminationOptions = {
  limits: TaskLimits;
  /** Throws when the caller has had enough. */
  check: () => void;
  onProgress?: ((progress: ExaminationProgress) => void) | undefined;
  /** Segments that were whole when they were last looked at; those of this time are added. */
  known?: Map<string, SegmentExamination>;
};

/** Changes nothing. Throws NOT_AN_INDEX, UNSUPPORTED_FORMAT, IO_ERROR, ABORTED; damage is no error. */
export async function examineIndex(
  path: string,
  { limits, check, onProgress, known }: ExaminationOptions,
): Promise<ExaminedIndex> {
  const found: ExaminedIndex = {
    problems: [],
    files: [],
    manifest: null,
    damagedManifest: null,
    correctedCodebook: null,
    codebook: null,
    segments: [],
    searchCodebook: null,
  };
  await examineManifest(path, found);
  const { manifest } = found;
  if (manifest === null) return found;
  const needed = [...filesOf(manifest)];
  const sizes = await Promise.all(needed.map((file) => sizeOf(join(path, file))));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const advance = (bytes: number): void => {
    check();
    done += bytes;
    onProgress?.({ done, total });
  };
  if (manifest.codec.codebook != null) {
    const { file } = manifest.codec.codebook;
    await examineCodebook(path, manifest, found);
    if (found.codebook === null) return found;
    advance(sizes[needed.indexOf(file)] as number);
  }
  if (manifest.search !== undefined) {
    const { file } = manifest.search.codebook;
    await examineCentroids(path, manifest, found);
    if (file !== manifest.codec.codebook?.file) advance(sizes[needed.indexOf(file)] as number);
  }
  const format = formatOf(manifest, found.codebook);
  for (const entry of manifest.segments) {
    const key = `${entry.file} ${entry.headerCrc}`;
    const examination =
      known?.get(key) ??
      (await nativeAsync(() =>
        loadAddon().examineSegment(join(path, entry.file), format, entry, 'lost', limits),
      ));
    if (examination.problems.length === 0) known?.set(key, examination);
    report(found, entry.file, examination.sizeBytes, examination.problems);
    advance(examination.sizeBytes);
    const tombstones = await examineDead(path, entry, found);
    if (entry.dead !== undefined) advance(sizes[needed.indexOf(entry.dead.file)] as number);
    if (entry.codes !== undefined) {
      const sizeBytes = sizes[needed.indexOf(entry.codes.file)] as number;
      await examineCodes(path, entry, sizeBytes, found);
      advance(sizeBytes);
    }
    found.segments.push({ entry, examination, tombstones });
  }
  return found;
}

/** Files with names of ours that the manifest does not list, and those that a repair has set aside. */
export async function unlistedFiles(
  path: string,
  manifest: Manifest,
): Promise<{ file: string; sizeBytes: number }[]> {
  const needed = filesOf(manifest);
  const names = (await readdir(path)).filter(
    (name) => (isOurs(name) || isSetAside(name)) && name !== MANIFEST_FILE && !needed.has(name),
  );
  return await Promise.all(
    names.sort().map(async (file) => ({ file, sizeBytes: await sizeOf(join(path, file)) })),
  );
}

/** What a repair has replaced. Nothing of maxsim reads or removes it. */
export const SET_ASIDE = '.damaged';

export function isSetAside(name: string): boolean {
  return name.endsWith(SET_ASIDE);
}

function report(
  found: ExaminedIndex,
  file: string,
  sizeBytes: number,
  problems: readonly SegmentProblem[],
): void {
  found.files.push({ file, sizeBytes, whole: problems.length === 0 });
  found.problems.push(...problems.map((problem) => ({ file, ...problem })));
}

/** Null when the file is not there. Throws IO_ERROR. */
async function read(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new MaxSimError('IO_ERROR', `${path}: cannot read: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

/** 0 when the file is not there. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

const MISSING: Section = { section: 'file', offset: 0, size: 0 };

function problem(
  range: Section,
  message: string,
  remedy: SegmentProblem['remedy'] = 'none',
): SegmentProblem {
  return { ...range, message, remedy, documents: 0, ids: [] };
}

async function examineManifest(path: string, found: ExaminedIndex): Promise<void> {
  const place = join(path, MANIFEST_FILE);
  let bytes: Buffer | null = null;
  let names: string[] = [];
  try {
    names = await readdir(path);
    bytes = await read(place);
  } catch (error) {
    if (error instanceof MaxSimError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      throw new MaxSimError('IO_ERROR', `${path}: cannot list: ${message}.`, { cause: error });
    }
  }
  if (bytes === null) {
    // An index that has lost its manifest, or no index at all?
    if (!names.some(isOurs)) {
      throw new MaxSimError(
        'NOT_AN_INDEX',
        `${path} is not a maxsim index: it has no ${MANIFEST_FILE}.`,
        { details: { directory: path } },
      );
    }
    report(found, MANIFEST_FILE, 0, [problem(MISSING, 'the file is not there')]);
    return;
  }
  let message: string;
  try {
    found.manifest = parseManifest(bytes, place);
    report(found, MANIFEST_FILE, bytes.length, []);
    return;
  } catch (error) {
    if (!(error instanceof MaxSimError)) throw error;
    message = error.message;
    const corrected = await correctManifest(bytes, place);
    if (corrected !== null) {
      found.manifest = corrected.manifest;
      found.damagedManifest = bytes;
      report(found, MANIFEST_FILE, bytes.length, [corrected.problem]);
      return;
    }
    if (error.code !== 'CORRUPT_INDEX') throw error;
  }
  const whole = { section: 'manifest', offset: 0, size: bytes.length };
  report(found, MANIFEST_FILE, bytes.length, [
    problem(whole, message.slice(message.indexOf('corrupt manifest: ') + 18).replace(/\.$/, '')),
  ]);
}

/** Line 2 is "crc32c:", 8 digits and a newline. */
const SEAL_BYTES = 16;

async function correctManifest(
  bytes: Buffer,
  path: string,
): Promise<{ manifest: Manifest; problem: SegmentProblem } | null> {
  const size = bytes.length - SEAL_BYTES - 1;
  if (size <= 0) return null;
  const addon = loadAddon();
  const corrected = Buffer.from(bytes);
  const line = corrected.subarray(0, size);
  const crc = addon.crc32c(line);
  const seal = Buffer.from(`\ncrc32c:${crc.toString(16).padStart(8, '0')}\n`);
  const bits = [...seal.keys()].flatMap((i) =>
    bitsSet((seal[i] as number) ^ (bytes[size + i] as number)).map((bit) => (size + i) * 8 + bit),
  );
  let bit: number | null = null;
  if (bits.length === 1) {
    // No flipped bit of line 1 makes a checksum whose text differs from the right one in one bit.
    bit = bits[0] as number;
  } else {
    const stored = /^\ncrc32c:([0-9a-f]{8})\n$/.exec(bytes.toString('latin1', size))?.[1];
    if (stored === undefined) return null;
    bit = await addon.findFlippedBit(size, (crc ^ Number.parseInt(stored, 16)) >>> 0);
  }
  if (bit === null || bit >= bytes.length * 8) return null;
  const at = Math.floor(bit / 8);
  corrected[at] = (corrected[at] as number) ^ (1 << (bit % 8));
  try {
    const manifest = parseManifest(corrected, path);
    const range = { section: 'manifest', offset: at, size: 1 };
    return { manifest, problem: problem(range, `bit ${bit % 8} is flipped`, 'flipped-bit') };
  } catch {
    return null;
  }
}

function bitsSet(byte: number): number[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => ((byte >> bit) & 1) === 1);
}

const CODEBOOK_HEADER = 128;

async function examineCodebook(
  path: string,
  { codec, dim }: Manifest,
  found: ExaminedIndex,
): Promise<void> {
  const { file, crc } = codec.codebook as { file: string; crc: number };
  const place = join(path, file);
  const stored = await read(place);
  if (stored === null) {
    report(found, file, 0, [problem(MISSING, 'the file is not there, but the manifest lists it')]);
    return;
  }
  const bytes = Buffer.from(stored);
  const problems: SegmentProblem[] = [];
  const apply = (correction: Correction): void => {
    if (correction.problem !== null) problems.push(correction.problem);
  };
  if (bytes.length >= CODEBOOK_HEADER) {
    // The manifest says which checksum the header has.
    apply(await correct(bytes, { section: 'header', offset: 0, size: 124 }, crc, 124));
    const rows = { section: 'centroids', offset: CODEBOOK_HEADER, size: bytes.length - 128 };
    apply(await correct(bytes, rows, bytes.readUInt32LE(36)));
  }
  try {
    if (problems.every(({ remedy }) => remedy !== 'none')) {
      const codebook = await nativeAsync(() => loadAddon().parseCodebook(place, bytes));
      if (codebook.crc !== crc || codebook.dim !== dim || codebook.bits !== bitsOf(codec.name)) {
        throw new MaxSimError(
          'CORRUPT_INDEX',
          `a codebook of ${codebook.bits} bits, dim ${codebook.dim} and checksum ${codebook.crc}, which the manifest does not say`,
        );
      }
      found.codebook = codebook;
      if (problems.length > 0) found.correctedCodebook = bytes;
    }
  } catch (error) {
    if (!(error instanceof MaxSimError) || error.code !== 'CORRUPT_INDEX') throw error;
    const range = { section: 'codebook', offset: 0, size: bytes.length };
    problems.splice(0, Number.POSITIVE_INFINITY, problem(range, error.message));
  }
  report(found, file, bytes.length, problems);
}

/** What is derived is made anew rather than put right. */
async function examineCentroids(
  path: string,
  { search, codec, dim }: Manifest,
  found: ExaminedIndex,
): Promise<void> {
  const { file, crc } = (search as StoredSearch).codebook;
  if (file === codec.codebook?.file) {
    found.searchCodebook = found.codebook;
    return;
  }
  const place = join(path, file);
  const bytes = await read(place);
  const problems = await derived(bytes, 'centroids', async (stored) => {
    const codebook = await nativeAsync(() => loadAddon().parseCodebook(place, stored));
    if (codebook.crc !== crc || codebook.dim !== dim) {
      throw new MaxSimError(
        'CORRUPT_INDEX',
        `${place}: centroids of dim ${codebook.dim} and checksum ${codebook.crc}, which the manifest does not say.`,
      );
    }
    found.searchCodebook = codebook;
  });
  report(found, file, bytes?.length ?? 0, problems);
}

async function examineCodes(
  path: string,
  entry: SegmentEntry,
  sizeBytes: number,
  found: ExaminedIndex,
): Promise<void> {
  const { file } = entry.codes as { file: string };
  const codebook = found.searchCodebook;
  const place = join(path, file);
  const problems = await derived(sizeBytes === 0 ? null : sizeBytes, 'codes', async () => {
    // Without centroids they are of no use, which is said of the centroids.
    if (codebook !== null) {
      await nativeAsync(() => loadAddon().examineCodes(place, entry, codebook));
    }
  });
  report(found, file, sizeBytes, problems);
}

/** What an examination of something derived has to say; `stored` is null where there is no file. */
async function derived<T extends Buffer | number>(
  stored: T | null,
  section: string,
  examine: (stored: T) => Promise<void>,
): Promise<SegmentProblem[]> {
  if (stored === null) {
    return [problem(MISSING, 'the file is not there, but the manifest lists it', 'left-out')];
  }
  try {
    await examine(stored);
    return [];
  } catch (error) {
    if (!(error instanceof MaxSimError)) throw error;
    if (error.code !== 'CORRUPT_INDEX' && error.code !== 'UNSUPPORTED_FORMAT') throw error;
    const size = typeof stored === 'number' ? stored : stored.length;
    // "<file>: corrupt <section> at byte <offset>: <what>."
    const [, where, offset, what] =
      /: corrupt ([a-z ]+) at byte (\d+): (.*)\.$/s.exec(error.message) ?? [];
    const range =
      where === undefined
        ? { section, offset: 0, size }
        : { section: where, offset: Number(offset), size: Math.max(size - Number(offset), 0) };
    return [problem(range, what ?? error.message, 'left-out')];
  }
}

async function examineDead(
  path: string,
  entry: SegmentEntry,
  found: ExaminedIndex,
): Promise<ExaminedTombstones> {
  if (entry.dead === undefined) return { dead: new Uint32Array(0), problems: [] };
  const place = join(path, entry.dead.file);
  const bytes = await read(place);
  const tombstones =
    bytes === null
      ? {
          dead: null,
          problems: [problem(MISSING, 'the file is not there, but the manifest lists it')],
        }
      : await examineTombstones(place, bytes, entry.documents, entry.dead.count);
  report(found, entry.dead.file, bytes?.length ?? 0, tombstones.problems);
  return tombstones;
}
