/** Where the codes and residuals of a PLAID index are, every length compared. */
import { join } from 'node:path';
import { readNpy } from './npy.js';
import { exists, readLengths } from './numpy-source.js';
import type { Metadata, Plaid } from './plaid-codec.js';
import { isObject, readJson, refused, SourceFile } from './source-file.js';
import { isInteger, shapeName, type Tensor } from './tensor.js';
import { isTensor, readTorch } from './torch-file.js';
import { checkTokens, closeAll } from './vector-documents.js';

/** Rows of a tensor, from row `from` on. */
type Rows = { tensor: Tensor; from: number };

/** A run of documents whose codes lie together. */
export type Chunk = {
  doclens: Float64Array;
  /** [tokens], each the number of a centroid. */
  codes: Rows;
  /** [tokens, dim * nbits / 8]; where signs are stored, one bit a dim. */
  residuals: Rows;
};

export async function openChunks(
  root: string,
  metadata: Metadata,
  plaid: Plaid,
  files: SourceFile[],
): Promise<Chunk[]> {
  const { torch } = metadata;
  const bytes = plaid.nbits === 0 ? Math.ceil(plaid.dim / 8) : (plaid.dim * plaid.nbits) / 8;
  const codes = new RowFiles(root, 'codes', torch, files);
  const residuals = new RowFiles(root, 'residuals', torch, files);
  const chunks: Chunk[] = [];
  let tokens = 0;
  let documents = 0;
  for (let i = 0; i < metadata.chunks; i++) {
    const file = join(root, `doclens.${i}.json`);
    const doclens = await readLengths(file);
    for (const [d, length] of doclens.entries()) checkTokens(length, file, `document ${d}`);
    const count = doclens.reduce((a, b) => a + b, 0);
    const chunk = {
      doclens,
      codes: await codes.chunk(
        i,
        count,
        (tensor) => tensor.shape.length === 1 && isInteger(tensor),
      ),
      residuals: await residuals.chunk(
        i,
        count,
        ({ shape, dtype }) => shape.length === 2 && shape[1] === bytes && dtype === 'U8',
        bytes,
      ),
    };
    // Read later, a chunk at a time.
    await closeAll([chunk.codes.tensor.file, chunk.residuals.tensor.file]);
    chunks.push(chunk);
    tokens += count;
    documents += doclens.length;
  }
  // ColBERT's updater leaves a count of its own there.
  if (!torch && metadata.embeddings !== null && metadata.embeddings !== tokens) {
    throw refused(
      metadata.file,
      `says ${metadata.embeddings} tokens, but the doclens add up to ${tokens}`,
    );
  }
  if (metadata.documents !== null && metadata.documents !== documents) {
    throw refused(
      metadata.file,
      `says ${metadata.documents} documents, but there are ${documents} doclens`,
    );
  }
  return chunks;
}

/**
 * The files of codes or residuals: one a chunk. fast-plaid from 1.7 on moves chunks into one merged file,
 * and keeps files of their own only for those that have changed since.
 */
class RowFiles {
  private merged: { tensor: Tensor; rows: (number | null)[] | null } | undefined;
  /** Rows of the merged file before the chunk at hand. */
  private before = 0;

  constructor(
    private readonly root: string,
    private readonly name: 'codes' | 'residuals',
    private readonly torch: boolean,
    private readonly files: SourceFile[],
  ) {}

  async chunk(
    i: number,
    count: number,
    fits: (tensor: Tensor) => boolean,
    width?: number,
  ): Promise<Rows> {
    const path = join(this.root, `${i}.${this.name}.${this.torch ? 'pt' : 'npy'}`);
    const apart = this.torch || (await exists(path)) || !(await exists(this.mergedPath));
    const { tensor, from } = apart
      ? { tensor: await this.open(path), from: 0 }
      : await this.inMerged(i, count);
    if (apart) this.before += (await this.manifest())?.[i] ?? count;
    const rows = tensor.shape[0] as number;
    // Behind the last chunk the merged file has rows of padding.
    if (fits(tensor) && (apart ? rows === count : rows >= from + count)) return { tensor, from };
    const expected = width === undefined ? `[${from + count}]` : `U8 [${from + count}, ${width}]`;
    throw refused(
      tensor.file.path,
      `holds ${tensor.dtype} ${shapeName(tensor)}, but by doclens.${i}.json it must be ${expected}${apart ? '' : ' or longer'}`,
    );
  }

  private async inMerged(i: number, count: number): Promise<Rows> {
    const listed = await this.manifest();
    const rows = listed === null ? count : (listed[i] ?? null);
    if (rows !== count) {
      throw refused(
        join(this.root, `merged_${this.name}.manifest.json`),
        `lists ${rows ?? 'no'} rows of chunk ${i}, but doclens.${i}.json adds up to ${count}`,
      );
    }
    const from = this.before;
    this.before += count;
    this.merged ??= { tensor: await this.open(this.mergedPath), rows: listed };
    return { tensor: this.merged.tensor, from };
  }

  /** How many rows of each chunk are in the merged file; null where nothing says so. */
  private async manifest(): Promise<(number | null)[] | null> {
    if (this.merged !== undefined) return this.merged.rows;
    const file = join(this.root, `merged_${this.name}.manifest.json`);
    if (!(await exists(file))) return null;
    const value = await readJson(file);
    if (!isObject(value)) throw refused(file, 'holds no JSON object');
    const rows: (number | null)[] = [];
    for (const [key, entry] of Object.entries(value)) {
      const chunk = /^(\d+)\./.exec(key)?.[1];
      const count = isObject(entry) ? entry['rows'] : undefined;
      if (chunk !== undefined && typeof count === 'number') rows[Number(chunk)] = count;
    }
    return rows;
  }

  private async open(path: string): Promise<Tensor> {
    if (this.torch) {
      const { file, value } = await readTorch(path);
      this.files.push(file);
      if (!isTensor(value)) throw refused(path, 'holds no tensor where one is expected');
      return value;
    }
    const file = await SourceFile.open(path);
    this.files.push(file);
    return await readNpy(file);
  }

  private get mergedPath(): string {
    return join(this.root, `merged_${this.name}.npy`);
  }
}
