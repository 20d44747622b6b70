/** What a PLAID index says of itself, and how its tokens become vectors. */
import { join } from 'node:path';
import { checkInteger } from '../check.js';
import { readNpy } from './npy.js';
import { exists } from './numpy-source.js';
import { isObject, readJson, refused, SourceFile } from './source-file.js';
import { readFloats, shapeName, type Tensor } from './tensor.js';
import { isTensor, readTorch } from './torch-file.js';
import { checkDim } from './vector-documents.js';

export type Plaid = {
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
export type Metadata = {
  file: string;
  chunks: number;
  nbits: number;
  dim: number | null;
  embeddings: number | null;
  documents: number | null;
  partitions: number | null;
  binary: boolean;
  /** Files of torch.save (ColBERT's own), not .npy. */
  torch: boolean;
  kind: string;
};

export async function readMetadata(root: string): Promise<Metadata> {
  const file = join(root, 'metadata.json');
  const torch = await exists(join(root, 'centroids.pt'));
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
    torch,
    kind: torch ? 'ColBERT index' : next ? 'next-plaid index' : 'fast-plaid index',
  };
}

/** Centroids and weights, from .pt or .npy files. */
export async function openCodec(root: string, metadata: Metadata): Promise<Plaid> {
  return await (metadata.torch ? openTorchCodec : openNpyCodec)(root, metadata);
}

async function openTorchCodec(root: string, metadata: Metadata): Promise<Plaid> {
  const centroids = await loadTorch(join(root, 'centroids.pt'), (value) => value);
  // (cutoffs, weights): the cutoffs only encode.
  const weights = await loadTorch(join(root, 'buckets.pt'), (value) =>
    Array.isArray(value) && value.length === 2 ? value[1] : undefined,
  );
  return codecOf(metadata, centroids, weights, root);
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

export function decode(
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
