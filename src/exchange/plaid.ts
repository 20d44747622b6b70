/**
 * Indexes of the PLAID family: ColBERT's own (.pt files), fast-plaid's and PyLate's, next-plaid's (.npy
 * files). A token is a centroid and nbits per dim that choose a weight to add to it; the sum is divided
 * by its length. All of them pack codes alike: dim after dim from the highest bit of each byte, the
 * bits of one code in reverse.
 */
import { join } from 'node:path';
import type { IndexDocument } from '../index/store.js';
import type { DocumentSource } from './documents.js';
import { type IdRecord, Ids } from './ids.js';
import { exists } from './numpy-source.js';
import { type Chunk, openChunks } from './plaid-chunks.js';
import { decode, openCodec, type Plaid, readMetadata } from './plaid-codec.js';
import { findIdMap } from './plaid-ids.js';
import { refused, type SourceFile } from './source-file.js';
import { ITEM_BYTES, TensorStream, toIntegers } from './tensor.js';
import { closeAll } from './vector-documents.js';

/** Documents are decoded in runs of about so many tokens. */
const WANTED_TOKENS = 1 << 14;

/** Whether a directory looks like one of theirs: what to read then is decided by what is in it. */
export async function isPlaid(directory: string): Promise<boolean> {
  return (
    (await exists(join(directory, 'metadata.json'))) &&
    ((await exists(join(directory, 'centroids.pt'))) ||
      (await exists(join(directory, 'centroids.npy'))))
  );
}

/**
 * Opens an index; everything but the codes is read and every length compared. Throws INVALID_SOURCE
 * naming the file where the index is incomplete or contradicts itself.
 */
export async function plaidSource(
  directory: string,
  ids: string | readonly string[] | null,
): Promise<DocumentSource> {
  const inner = join(directory, 'fast_plaid_index');
  const root = (await isPlaid(inner)) ? inner : directory;
  const files: SourceFile[] = [];
  try {
    const metadata = await readMetadata(root);
    const plaid = await openCodec(root, metadata);
    const chunks = await openChunks(root, metadata, plaid, files);
    const documents = chunks.reduce((sum, { doclens }) => sum + doclens.length, 0);
    const map = ids === null ? await findIdMap(directory, root) : null;
    if (map !== null) {
      for (const place of map.ids.keys()) {
        if (place < documents) continue;
        throw refused(map.file, `maps document ${place}, but the index holds ${documents}`);
      }
    }
    let skipped = 0;
    return {
      format: 'plaid',
      description: `${plaid.kind}, ${plaid.nbits === 0 ? 'signs' : `${plaid.nbits} bits`}, ${plaid.centroidCount} centroids`,
      dim: plaid.dim,
      documents,
      header: null,
      get skipped() {
        return skipped;
      },
      async *read(): AsyncGenerator<IndexDocument> {
        const names = new Ids(ids);
        let place = 0;
        for (const chunk of chunks) {
          for await (const vectors of readChunk(plaid, chunk)) {
            let record: IdRecord | null = await names.next();
            if (map !== null) {
              const id = map.ids.get(place);
              record = id === undefined ? null : { id };
            }
            place += 1;
            if (record === null || vectors.length === 0) skipped += 1;
            else yield { ...record, vectors };
          }
          await closeAll([chunk.codes.tensor.file, chunk.residuals.tensor.file]);
        }
        await names.end();
      },
      close: () => closeAll(files),
    };
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

/** The vectors of each document of a chunk; of a deleted one none. */
async function* readChunk(plaid: Plaid, chunk: Chunk): AsyncGenerator<Float32Array> {
  const { dtype } = chunk.codes.tensor;
  const codeBytes = ITEM_BYTES[dtype];
  const rowBytes = chunk.residuals.tensor.shape[1] as number;
  const codes = new TensorStream(chunk.codes.tensor, chunk.codes.from * codeBytes);
  const residuals = new TensorStream(chunk.residuals.tensor, chunk.residuals.from * rowBytes);
  const { dim } = plaid;
  const { doclens } = chunk;
  for (let first = 0; first < doclens.length; ) {
    let count = 0;
    let last = first;
    // Documents are decoded in runs: a call for each short one would cost more than its decoding.
    do count += doclens[last++] as number;
    while (last < doclens.length && count + (doclens[last] as number) <= WANTED_TOKENS);
    const ids = toIntegers(await codes.take(count * codeBytes), dtype);
    const vectors = decode(plaid, ids, await residuals.take(count * rowBytes), chunk.codes.tensor);
    let row = 0;
    for (; first < last; first++) {
      const tokens = doclens[first] as number;
      yield vectors.slice(row * dim, (row + tokens) * dim);
      row += tokens;
    }
  }
}
