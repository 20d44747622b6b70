/** One flipped bit, found by the checksum of what it is in. */
import { loadAddon, nativeAsync, type SegmentProblem } from '../runtime/addon.js';

/** A range of a file. */
export type Section = { section: string; offset: number; size: number };

/** `problem` is null when nothing was wrong. */
export type Correction = { problem: SegmentProblem | null };

const hex = (crc: number): string => crc.toString(16).padStart(8, '0');

/**
 * Puts right one flipped bit of a range whose checksum is `expected`, in place; `crcAt` is where that is
 * stored, when it belongs to the range. Where it is not one bit, the bytes stay as they are and the
 * remedy is 'none'.
 */
export async function correct(
  bytes: Buffer,
  range: Section,
  expected: number,
  crcAt?: number,
): Promise<Correction> {
  const { section, offset, size } = range;
  const nothing = { documents: 0, ids: [] };
  const addon = loadAddon();
  const crc = addon.crc32c(bytes.subarray(offset, offset + size));
  const stored = crcAt === undefined ? expected : bytes.readUInt32LE(crcAt);
  if (crc === expected && stored === expected) return { problem: null };
  if (crc === expected && crcAt !== undefined) {
    bytes.writeUInt32LE(expected, crcAt);
    const message = 'the checksum is not the one that the manifest says';
    const problem: SegmentProblem = {
      section,
      offset: crcAt,
      size: 4,
      message,
      remedy: 'rewritten',
      ...nothing,
    };
    const wrong = (stored ^ expected) >>> 0;
    if ((wrong & (wrong - 1)) !== 0) return { problem };
    const bit = 31 - Math.clz32(wrong);
    return { problem: { ...problem, ...flipped(section, crcAt, bit) } };
  }
  const bit = await nativeAsync(() => addon.findFlippedBit(size, (crc ^ expected) >>> 0));
  if (bit === null || bit >= size * 8) {
    const message = `checksum ${hex(crc)} found, expected ${hex(expected)}`;
    return { problem: { ...range, message, remedy: 'none', ...nothing } };
  }
  const at = offset + Math.floor(bit / 8);
  bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8));
  if (crcAt !== undefined) bytes.writeUInt32LE(expected, crcAt);
  return { problem: { ...flipped(section, offset, bit), ...nothing } };
}

function flipped(
  section: string,
  offset: number,
  bit: number,
): Pick<SegmentProblem, 'section' | 'offset' | 'size' | 'message' | 'remedy'> {
  return {
    section,
    offset: offset + Math.floor(bit / 8),
    size: 1,
    message: `bit ${bit % 8} is flipped`,
    remedy: 'flipped-bit',
  };
}
