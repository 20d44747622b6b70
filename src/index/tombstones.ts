/** A tombstone file that may be damaged; docs/format.md has its layout. */
import { MaxSimError } from '../errors.js';
import { loadAddon, type SegmentProblem } from '../runtime/addon.js';
import { correct } from './correction.js';

export type ExaminedTombstones = {
  /** Ordinals, ascending; null when it cannot be known which documents are dead. */
  dead: Uint32Array | null;
  problems: SegmentProblem[];
};

const HEADER_BYTES = 64;
const HEADER_CRC = 60;
const BITMAP_CRC = 56;
const VERSION = 1;

/**
 * `documents` and `count` are what the manifest says. Where the header is damaged, a bitmap is believed
 * that has as many bits as the manifest says. Throws UNSUPPORTED_FORMAT.
 */
export async function examineTombstones(
  path: string,
  stored: Buffer,
  documents: number,
  count: number,
): Promise<ExaminedTombstones> {
  const problems: SegmentProblem[] = [];
  const add = (
    section: string,
    offset: number,
    size: number,
    message: string,
    remedy: SegmentProblem['remedy'],
  ): void => {
    problems.push({ section, offset, size, message, remedy, documents: 0, ids: [] });
  };
  const size = Math.ceil(documents / 8);
  // What is missing becomes zeros: whether they are right is for the checksum to say.
  const bytes = Buffer.alloc(HEADER_BYTES + size);
  stored.copy(bytes);
  if (stored.length !== bytes.length) {
    const end = Math.min(stored.length, bytes.length);
    const message = `the file has ${stored.length} bytes, expected ${bytes.length}`;
    add('file', end, Math.abs(stored.length - bytes.length), message, 'rewritten');
  }
  const flipped = await correctHeader(path, bytes);
  const known = isHeaderOf(bytes, documents, count);
  if (!known) {
    const message = 'it is not what was written; the manifest says what it said';
    add('header', 0, HEADER_BYTES, message, 'rewritten');
  } else if (flipped !== null) {
    add('header', flipped >> 3, 1, `bit ${flipped & 7} is flipped`, 'flipped-bit');
  }
  const range = { section: 'bitmap', offset: HEADER_BYTES, size };
  const { problem } = known
    ? await correct(bytes, range, bytes.readUInt32LE(BITMAP_CRC))
    : { problem: null };
  const bitmap = bytes.subarray(HEADER_BYTES);
  const dead = ordinalsOf(bitmap);
  const excess = documents % 8 === 0 ? 0 : (bitmap.at(-1) as number) >> (documents % 8);
  if (problem?.remedy === 'none' || dead.length !== count || excess !== 0) {
    const message = `it cannot be known which ${count} of ${documents} documents are dead`;
    add('bitmap', HEADER_BYTES, size, message, 'none');
    return { dead: null, problems };
  }
  if (problem !== null) problems.push(problem);
  return { dead, problems };
}

/** The bit that was wrong, or null. */
async function correctHeader(path: string, bytes: Buffer): Promise<number | null> {
  const addon = loadAddon();
  const syndrome = addon.crc32c(bytes.subarray(0, HEADER_CRC)) ^ bytes.readUInt32LE(HEADER_CRC);
  if (syndrome === 0) {
    const version = bytes.readUInt32LE(8);
    if (version <= VERSION) return null;
    throw new MaxSimError(
      'UNSUPPORTED_FORMAT',
      `${path}: tombstone format version ${version}; this release of maxsim reads version ${VERSION}.`,
      { details: { file: path } },
    );
  }
  // The checksum follows what it is of, so its own bits count on from there.
  const bit = await addon.findFlippedBit(HEADER_CRC, syndrome >>> 0);
  if (bit === null) return null;
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  return bit;
}

function isHeaderOf(bytes: Buffer, documents: number, count: number): boolean {
  return (
    loadAddon().crc32c(bytes.subarray(0, HEADER_CRC)) === bytes.readUInt32LE(HEADER_CRC) &&
    bytes.toString('latin1', 0, 8) === 'MAXSIMDD' &&
    bytes.readUInt32LE(8) === VERSION &&
    bytes.readUInt32LE(12) === HEADER_BYTES &&
    bytes.readBigUInt64LE(16) === BigInt(documents) &&
    bytes.readBigUInt64LE(24) === BigInt(count)
  );
}

function ordinalsOf(bitmap: Uint8Array): Uint32Array {
  const ordinals: number[] = [];
  for (const [i, byte] of bitmap.entries()) {
    for (let bit = 0; byte >> bit !== 0; bit++) {
      if (((byte >> bit) & 1) === 1) ordinals.push(i * 8 + bit);
    }
  }
  return Uint32Array.from(ordinals);
}
