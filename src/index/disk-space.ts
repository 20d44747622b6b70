/** Whether the disk has room for what is about to be written. */
import { statfs } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';
import type { SegmentStats } from '../runtime/addon.js';
import { tokenBytes } from './codec.js';
import type { PreparedDocument } from './document.js';
import type { Manifest } from './manifest.js';
import { Pace } from './pace.js';

// Manifest, headers, tombstones of a few segments: what no estimate below counts.
const MARGIN = 2 ** 20;
// Of a document, besides tokens, id and record: its entry, its slots of the id table, its alignment.
const DOCUMENT_BYTES = 48 + 16 + 63;

/** Throws DISK_FULL. Where the system cannot tell, writing finds out. */
export async function requireSpace(directory: string, bytes: number): Promise<void> {
  const needed = Math.ceil(bytes + MARGIN);
  let available: number;
  try {
    const { bavail, blocks, bsize } = await statfs(directory);
    if (blocks === 0) return;
    available = bavail * bsize;
  } catch {
    return;
  }
  if (available >= needed) return;
  throw new MaxSimError(
    'DISK_FULL',
    `${directory}: this write needs about ${needed} bytes, but ${available} are available on its disk.`,
    { details: { directory, needed, available } },
  );
}

/** At most what a segment of these documents takes. */
export async function bytesOfDocuments(
  documents: readonly PreparedDocument[],
  { codec, dim }: Pick<Manifest, 'codec' | 'dim'>,
): Promise<number> {
  const pace = new Pace();
  let values = 0;
  let other = 0;
  for (const { id, vectors, record } of documents) {
    values += vectors.length;
    other += Buffer.byteLength(id) + record.length + DOCUMENT_BYTES;
    if (pace.due) await pace.rest();
  }
  return (values / dim) * tokenBytes(codec.name, dim) + other;
}

/** What the live documents of segments take. */
export function bytesOfSegments(segments: readonly SegmentStats[]): number {
  return segments.reduce(
    (sum, { sizeBytes, documents, dead }) => sum + sizeBytes * (1 - dead / documents),
    0,
  );
}
