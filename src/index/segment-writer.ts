/** A segment from documents in memory: some are copied while those before are encoded and written. */
import { MaxSimError, show } from '../errors.js';
import {
  type FieldColumn,
  loadAddon,
  type NativeSegmentWriter,
  nativeAsync,
  type SegmentSummary,
  type VectorFormat,
} from '../runtime/addon.js';
import type { PreparedDocument } from './document.js';

// Of a window: few enough to be handed over in about a millisecond, enough to keep all cores busy.
const WINDOW_VALUES = 2 ** 19;
const WINDOW_DOCUMENTS = 1024;

/** Durable, but for its name, when this resolves; on failure nothing is left behind. */
export async function writeSegment(
  path: string,
  format: VectorFormat,
  documents: readonly PreparedDocument[],
  columns: readonly FieldColumn[],
): Promise<SegmentSummary & { clippedByDocument: Uint32Array }> {
  return await nativeAsync(async () => {
    const { SegmentWriter } = loadAddon();
    const writer = new SegmentWriter(path, format, documents.length, columns);
    try {
      await appendAll(writer, documents);
      return await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  });
}

async function appendAll(
  writer: NativeSegmentWriter,
  documents: readonly PreparedDocument[],
): Promise<void> {
  let running: Promise<void> = Promise.resolve();
  for (let first = 0; first < documents.length; ) {
    const window: PreparedDocument[] = [];
    for (let values = 0; values < WINDOW_VALUES && window.length < WINDOW_DOCUMENTS; first++) {
      const document = documents[first];
      if (document === undefined) break;
      if (document.vectors.length !== document.valueCount) throw taken(document);
      window.push(document);
      values += document.valueCount;
    }
    const next = writer.append(
      window.map(({ id }) => id),
      window.map(({ vectors }) => vectors),
      window.map(({ record }) => record),
    );
    next.catch(() => {}); // awaited below, in its turn
    await running;
    running = next;
  }
  await running;
}

function taken({ id, vectors, valueCount }: PreparedDocument): MaxSimError {
  return new MaxSimError(
    'INVALID_VECTORS',
    `The vectors of document ${show(id)} must stay as they are while it is stored, but of ${valueCount} values ${vectors.length} are left (their buffer may have been transferred).`,
  );
}
