/** Zip archives whose entries are stored as they are, as numpy.savez and torch.save write them. */
import { crc32 } from 'node:zlib';
import { refused, type SourceFile } from './source-file.js';

export type ZipEntry = { name: string; offset: number; size: number };

const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const MAX_COMMENT = 0xffff;
const PIECE = 1 << 20;

export function isZip(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32LE(0) === LOCAL;
}

/** Where each entry's bytes are. Every entry's checksum is verified. */
export async function readZip(file: SourceFile): Promise<Map<string, ZipEntry>> {
  const { offset, size, count } = await findDirectory(file);
  if (offset + size > file.size)
    throw refused(file.path, 'is cut short: its directory lies beyond');
  const directory = await file.read(offset, size);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || directory.readUInt32LE(at) !== CENTRAL) {
      throw refused(file.path, `has a damaged zip directory at its entry ${i}`);
    }
    const method = directory.readUInt16LE(at + 10);
    const crc = directory.readUInt32LE(at + 16);
    const nameLength = directory.readUInt16LE(at + 28);
    const extraLength = directory.readUInt16LE(at + 30);
    const commentLength = directory.readUInt16LE(at + 32);
    const next = at + 46 + nameLength + extraLength + commentLength;
    if (next > size) throw refused(file.path, `has a damaged zip directory at its entry ${i}`);
    const name = directory.toString('utf8', at + 46, at + 46 + nameLength);
    const [full, packed, header] = sizesOf(
      file.path,
      directory,
      at,
      directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength),
    );
    if (method !== 0 || packed !== full) {
      throw refused(
        file.path,
        `holds ${name} compressed; save it without compression (numpy.savez, torch.save)`,
      );
    }
    const local = await file.read(header, 30);
    if (local.readUInt32LE(0) !== LOCAL)
      throw refused(file.path, `has no entry ${name} at ${header}`);
    const start = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
    await verify(file, name, start, full, crc);
    entries.set(name, { name, offset: start, size: full });
    at = next;
  }
  return entries;
}

async function verify(
  file: SourceFile,
  name: string,
  start: number,
  size: number,
  expected: number,
): Promise<void> {
  let crc = 0;
  for (let at = 0; at < size; at += PIECE) {
    crc = crc32(await file.read(start + at, Math.min(PIECE, size - at)), crc);
  }
  if (crc !== expected) throw refused(file.path, `has a wrong checksum over its entry ${name}`);
}

async function findDirectory(
  file: SourceFile,
): Promise<{ offset: number; size: number; count: number }> {
  const length = Math.min(file.size, 22 + MAX_COMMENT);
  const tail = await file.read(file.size - length, length);
  let at = length - 22;
  while (at >= 0 && tail.readUInt32LE(at) !== END) at -= 1;
  if (at < 0) throw refused(file.path, 'is cut short or no zip archive: it has no directory');
  const found = {
    count: tail.readUInt16LE(at + 10),
    size: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  const large = found.count === 0xffff || found.size === 0xffffffff || found.offset === 0xffffffff;
  if (!large) return found;
  if (at < 20 || tail.readUInt32LE(at - 20) !== END64_LOCATOR) {
    throw refused(file.path, 'has a damaged zip directory: its 64-bit end is missing');
  }
  const end = await file.read(Number(tail.readBigUInt64LE(at - 12)), 56);
  if (end.readUInt32LE(0) !== END64) throw refused(file.path, 'has a damaged 64-bit zip directory');
  return {
    count: Number(end.readBigUInt64LE(32)),
    size: Number(end.readBigUInt64LE(40)),
    offset: Number(end.readBigUInt64LE(48)),
  };
}

/** Size, size as stored, and place of the local header; a field of all ones is in the extra field 1. */
function sizesOf(
  path: string,
  directory: Buffer,
  at: number,
  extra: Buffer,
): [size: number, packed: number, header: number] {
  const field = (offset: number): number => directory.readUInt32LE(at + offset);
  const fields: [number, number, number] = [field(24), field(20), field(42)];
  if (!fields.includes(0xffffffff)) return fields;
  for (let i = 0; i + 4 <= extra.length; ) {
    const size = extra.readUInt16LE(i + 2);
    if (extra.readUInt16LE(i) === 1 && i + 4 + size <= extra.length) {
      let from = i + 4;
      const wide = (value: number): number => {
        if (value !== 0xffffffff) return value;
        if (from + 8 > i + 4 + size) throw refused(path, 'has a damaged 64-bit zip entry');
        from += 8;
        return Number(extra.readBigUInt64LE(from - 8));
      };
      return [wide(fields[0]), wide(fields[1]), wide(fields[2])];
    }
    i += 4 + size;
  }
  throw refused(path, 'has a damaged zip entry: its 64-bit sizes are missing');
}
