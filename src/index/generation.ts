/** A generation of an index: its manifest, its data, and the files that it is made of. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import {
  loadAddon,
  type NativeCodebook,
  type NativeSnapshot,
  nativeAsync,
  type ReadOptions,
  type VectorFormat,
} from '../runtime/addon.js';
import { bitsOf, isResidual } from './codec.js';
import { storedFields } from './fields.js';
import {
  CENTROIDS_NAME,
  CODEBOOK_NAME,
  CODES_NAME,
  MANIFEST_FILE,
  type Manifest,
  SEGMENT_NAME,
  TOMBSTONE_NAME,
} from './manifest.js';
import { DEFAULT_INT8_SCALE } from './scale.js';

/** A generation and its data; `codebook` is that of a residual codec, once it is trained. */
export type Generation = {
  manifest: Manifest;
  snapshot: NativeSnapshot;
  codebook: NativeCodebook | null;
  /** Under which segments have codes; null where none have. */
  searchCodebook: NativeCodebook | null;
  /** How its files are read, and those of the next generation. */
  reading: ReadOptions;
};

export function formatOf(
  { codec, dim }: Pick<Manifest, 'codec' | 'dim'>,
  codebook: NativeCodebook | null,
): VectorFormat {
  if (codebook !== null) return { codec: codec.name, scale: 1, dim, codebook };
  // Nothing is stored yet, and nothing can be said about how it will be.
  if (isResidual(codec.name)) return { codec: 'f32', scale: 1, dim };
  return { codec: codec.name, scale: codec.scale ?? DEFAULT_INT8_SCALE, dim };
}

// A query should not be the one to pay for the first look at a segment that has just come; a larger one
// would keep whoever waits for it too long.
const VERIFIED_AHEAD_BYTES = 256 * 2 ** 20;

/** As `openGeneration`, for what others are about to use: new segments that are not large are verified. */
export async function openAhead(
  directory: string,
  manifest: Manifest,
  previous: Generation,
): Promise<Generation> {
  return await openGeneration(
    directory,
    manifest,
    previous,
    previous.reading,
    VERIFIED_AHEAD_BYTES,
  );
}

export async function openGeneration(
  directory: string,
  manifest: Manifest,
  previous: Generation | null,
  reading: ReadOptions = previous?.reading ?? {},
  verifyUpTo = 0,
): Promise<Generation> {
  const codebook = await openCodebook(directory, manifest, previous?.codebook ?? null);
  const searchCodebook = await openSearchCodebook(directory, manifest, [
    codebook,
    previous?.searchCodebook ?? null,
  ]);
  const spec = {
    ...formatOf(manifest, codebook),
    ...reading,
    verifyUpTo,
    segments: manifest.segments,
    fields: storedFields(manifest),
    searchCodebook,
  };
  const snapshot = await nativeAsync(() =>
    loadAddon().openSnapshot(directory, spec, previous?.snapshot ?? null),
  );
  return { manifest, snapshot, codebook, searchCodebook, reading };
}

async function openCodebook(
  directory: string,
  { codec, dim }: Manifest,
  previous: NativeCodebook | null,
): Promise<NativeCodebook | null> {
  if (codec.codebook == null) return null;
  const { file, crc } = codec.codebook;
  if (previous?.crc === crc) return previous;
  const path = join(directory, file);
  const codebook = await nativeAsync(() => loadAddon().readCodebook(path));
  const bits = bitsOf(codec.name);
  if (codebook.crc === crc && codebook.dim === dim && codebook.bits === bits) return codebook;
  throw new MaxSimError(
    'CORRUPT_INDEX',
    `${path}: a codebook of ${codebook.bits} bits, dim ${codebook.dim} and checksum ${codebook.crc} found; the manifest says ${bits}, ${dim}, ${crc}.`,
    { details: { file: path } },
  );
}

async function openSearchCodebook(
  directory: string,
  { search, dim }: Manifest,
  known: readonly (NativeCodebook | null)[],
): Promise<NativeCodebook | null> {
  if (search === undefined) return null;
  const { file, crc } = search.codebook;
  const same = known.find((one) => one?.crc === crc);
  if (same != null) return same;
  const path = join(directory, file);
  const codebook = await nativeAsync(() => loadAddon().readCodebook(path));
  if (codebook.crc === crc && codebook.dim === dim) return codebook;
  throw new MaxSimError(
    'CORRUPT_INDEX',
    `${path}: centroids of dim ${codebook.dim} and checksum ${codebook.crc} found; the manifest says ${dim}, ${crc}.`,
    { details: { file: path } },
  );
}

export function filesOf(manifest: Manifest): Set<string> {
  const files = new Set(
    manifest.segments.flatMap(({ file, dead, codes }) =>
      [file, dead?.file, codes?.file].filter((name) => name !== undefined),
    ),
  );
  if (manifest.search !== undefined) files.add(manifest.search.codebook.file);
  if (manifest.codec.codebook != null) files.add(manifest.codec.codebook.file);
  return files;
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
  return (
    final === MANIFEST_FILE ||
    [SEGMENT_NAME, TOMBSTONE_NAME, CODEBOOK_NAME, CENTROIDS_NAME, CODES_NAME].some((n) =>
      n.test(final),
    )
  );
}
