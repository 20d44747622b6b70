/**
 * Indexes of the PLAID family: ColBERT's own (.pt files), fast-plaid's and PyLate's, next-plaid's (.npy
 * files). A token is a centroid and nbits per dim that choose a weight to add to it; the sum is divided
 * by its length. All of them pack codes alike: dim after dim from the highest bit of each byte, the
 * bits of one code in reverse.
 */
import { join } from 'node:path';
import { checkInteger } from '../check.js';
import type { IndexDocument } from '../index/store.js';
import type { DocumentSource } from './documents.js';
import { type IdRecord, Ids } from './ids.js';
import { readNpy } from './npy.js';
import { exists, readLengths } from './numpy-source.js';
import { findIdMap } from './plaid-ids.js';
import { isObject, readJson, refused, SourceFile } from './source-file.js';
import {
  ITEM_BYTES,
  isInteger,
  readFloats,
  shapeName,
  type Tensor,
  TensorStream,
  toIntegers,
} from './tensor.js';
import { isTensor, readTorch } from './torch-file.js';
import { checkDim, checkTokens, closeAll } from './vector-documents.js';

/** Rows of a tensor, from row `from` on. */
type Rows = { tensor: Tensor; from: number };

/** A run of documents whose codes lie together. */
type Chunk = {
  doclens: Float64Array;
  /** [tokens], each the number of a centroid. */
  codes: Rows;
  /** [tokens, dim * nbits / 8]; where signs are stored, one bit a dim. */
  residuals: Rows;
};

type Plaid = {
  kind: string;
  dim: number;
  /** 0: signs alone, +1 or -1 each (next-plaid's `binary`). */
  nbits: number;
  centroids: Float32Array;
  centroidCount: number;
  /** What each byte of residuals adds to its 8 / nbits dims. */
  weights: Float32Array;
};

/** The sum is divided by its length, or by this where it is shorter: as torch's normalize does. */
const SHORTEST = 1e-12;
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
    const metadata = await readMetadata(join(root, 'metadata.json'));
    const torch = await exists(join(root, 'centroids.pt'));
    const plaid = torch ? await openTorchCodec(root, metadata) : await openNpyCodec(root, metadata);
    const chunks = await openChunks(root, metadata, plaid, torch, files);
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

type Metadata = {
  file: string;
  chunks: number;
  nbits: number;
  dim: number | null;
  embeddings: number | null;
  documents: number | null;
  partitions: number | null;
  binary: boolean;
  kind: string;
};

async function readMetadata(file: string): Promise<Metadata> {
  const value = await readJson(file);
  if (!isObject(value)) throw refused(file, 'holds no JSON object');
  const config = isObject(value['config']) ? value['config'] : {};
  const integer = (name: string, found: unknown, min: number, max: number): number => {
    try {
      return checkInteger(`"${name}"`, found, min, max);
    } catch (cause) {
      throw refused(file, `is inconsistent: ${(cause as Error).message.replace(/\.$/, '')}`);
    }
  };
  const optional = (name: string): number | null =>
    value[name] === undefined ? null : integer(name, value[name], 0, Number.MAX_SAFE_INTEGER);
  const binary = value['binary'] === true;
  const nbits = integer('nbits', value['nbits'] ?? config['nbits'], 1, 8);
  if (![1, 2, 4, 8].includes(nbits)) {
    throw refused(file, `has ${nbits} bits a dim, expected 1, 2, 4 or 8`);
  }
  const dim = config['dim'] ?? (value['embedding_dim'] || undefined);
  const next = 'next_plaid_compatible' in value || binary;
  return {
    file,
    chunks: integer('num_chunks', value['num_chunks'], 0, 1e8),
    nbits,
    dim: dim === undefined ? null : integer('dim', dim, 1, 1 << 16),
    embeddings: optional('num_embeddings'),
    // Written as 0 where it is not known.
    documents: optional('num_documents') || null,
    partitions: optional('num_partitions'),
    binary,
    kind: next ? 'next-plaid index' : 'fast-plaid index',
  };
}

async function openTorchCodec(root: string, metadata: Metadata): Promise<Plaid> {
  const centroids = await loadTorch(join(root, 'centroids.pt'), (value) => value);
  // (cutoffs, weights): the cutoffs only encode.
  const weights = await loadTorch(join(root, 'buckets.pt'), (value) =>
    Array.isArray(value) && value.length === 2 ? value[1] : undefined,
  );
  return codecOf({ ...metadata, kind: 'ColBERT index' }, centroids, weights, root);
}

async function openNpyCodec(root: string, metadata: Metadata): Promise<Plaid> {
  const centroids = await loadNpy(join(root, 'centroids.npy'));
  if (metadata.binary) return codecOf(metadata, centroids, null, root);
  return codecOf(metadata, centroids, await loadNpy(join(root, 'bucket_weights.npy')), root);
}

type Floats = { file: string; shape: readonly number[]; values: Float32Array; tensor: Tensor };

async function loadTorch(path: string, pick: (value: unknown) => unknown): Promise<Floats> {
  const { file, value } = await readTorch(path);
  try {
    const tensor = pick(value);
    if (!isTensor(tensor)) throw refused(path, 'holds no tensor where one is expected');
    return { file: path, shape: tensor.shape, values: await readFloats(tensor), tensor };
  } finally {
    await file.close();
  }
}

async function loadNpy(path: string): Promise<Floats> {
  const file = await SourceFile.open(path);
  try {
    const tensor = await readNpy(file);
    return { file: path, shape: tensor.shape, values: await readFloats(tensor), tensor };
  } finally {
    await file.close();
  }
}

function codecOf(
  { kind, nbits, dim, binary, file, partitions }: Metadata,
  centroids: Floats,
  weights: Floats | null,
  root: string,
): Plaid {
  const [count = 0, width = 0] = centroids.shape;
  if (centroids.shape.length !== 2 || (count === 0 && !binary)) {
    throw refused(centroids.file, `holds ${shapeName(centroids)}, expected [centroids, dim]`);
  }
  if (dim !== null && dim !== width) {
    throw refused(centroids.file, `has centroids of dim ${width}, but ${file} says ${dim}`);
  }
  checkDim(width, centroids.tensor);
  if (!binary && partitions !== null && partitions !== count) {
    throw refused(centroids.file, `holds ${count} centroids, but ${file} says ${partitions}`);
  }
  const plaid = { kind, dim: width, centroids: centroids.values, centroidCount: count };
  if (weights === null) return { ...plaid, nbits: 0, weights: signs() };
  if (weights.values.length !== 2 ** nbits) {
    throw refused(
      weights.file,
      `holds ${weights.values.length} weights, but codes of ${nbits} bits need ${2 ** nbits}`,
    );
  }
  if ((width * nbits) % 8 !== 0) {
    throw refused(
      join(root, 'metadata.json'),
      `has dim ${width} and ${nbits} bits, which make no whole bytes`,
    );
  }
  for (const { values, file: name } of [centroids, weights]) {
    if (!values.every(Number.isFinite)) throw refused(name, 'holds a value that is not finite');
  }
  return { ...plaid, nbits, weights: byteWeights(weights.values, nbits) };
}

/** For every byte the weights of its 8 / nbits codes, first dim first. */
function byteWeights(weights: Float32Array, nbits: number): Float32Array {
  const perByte = 8 / nbits;
  const table = new Float32Array(256 * perByte);
  for (let byte = 0; byte < 256; byte++) {
    for (let i = 0; i < perByte; i++) {
      let code = 0;
      for (let bit = 0; bit < nbits; bit++) code |= ((byte >> (7 - i * nbits - bit)) & 1) << bit;
      table[byte * perByte + i] = weights[code] as number;
    }
  }
  return table;
}

/** +1 for a bit that is set, -1 for one that is not, from the highest on. */
function signs(): Float32Array {
  return byteWeights(Float32Array.of(-1, 1), 1);
}

async function openChunks(
  root: string,
  metadata: Metadata,
  plaid: Plaid,
  torch: boolean,
  files: SourceFile[],
): Promise<Chunk[]> {
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

function decode(
  { dim, nbits, centroids, centroidCount, weights }: Plaid,
  codes: Float64Array,
  residuals: Buffer,
  { file }: Tensor,
): Float32Array {
  const vectors = new Float32Array(codes.length * dim);
  const perByte = nbits === 0 ? 8 : 8 / nbits;
  const rowBytes = Math.ceil(dim / perByte);
  for (let token = 0; token < codes.length; token++) {
    const at = token * dim;
    const code = codes[token] as number;
    if (nbits !== 0 && !(code >= 0 && code < centroidCount)) {
      throw refused(file.path, `names centroid ${code}, but there are ${centroidCount}`);
    }
    let squares = 0;
    for (let d = 0; d < dim; d++) {
      const byte = residuals[token * rowBytes + Math.floor(d / perByte)] as number;
      const weight = weights[byte * perByte + (d % perByte)] as number;
      const value =
        nbits === 0 ? weight : Math.fround((centroids[code * dim + d] as number) + weight);
      squares += value * value;
      vectors[at + d] = value;
    }
    if (nbits === 0) continue;
    const length = Math.max(Math.sqrt(squares), SHORTEST);
    for (let d = 0; d < dim; d++) vectors[at + d] = (vectors[at + d] as number) / length;
  }
  return vectors;
}
