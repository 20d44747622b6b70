/** Documents of .npy and .npz files: [docs, tokens, dim], or [tokens, dim] with lengths. */
import { access } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { show } from '../errors.js';
import type { DocumentSource } from './documents.js';
import { readNpy } from './npy.js';
import { readJson, refused, SourceFile } from './source-file.js';
import { isFloat, isInteger, readIntegers, shapeName, type Tensor } from './tensor.js';
import { blockSource, toLengths } from './vector-documents.js';
import { readZip } from './zip.js';

type Ids = string | readonly string[] | null;

export async function npySource(
  path: string,
  ids: Ids,
  given: Float64Array | null,
): Promise<DocumentSource> {
  const file = await SourceFile.open(path);
  try {
    const vectors = await readNpy(file);
    checkVectors(vectors);
    const lengths = given ?? (await lengthsBeside(path));
    if (lengths === null && vectors.shape.length === 2) {
      throw refused(
        path,
        `holds ${shapeName(vectors)} rows, but nothing says where each document ends: neither doclens.npy nor doclens.json is beside it`,
      );
    }
    const extent = lengths === null ? { padding: true as const } : { lengths };
    return blockSource({ format: 'npy', vectors, extent, ids, files: [file] });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The arrays of an archive: one of vectors, and lengths, offsets or a mask. */
export async function npzSource(
  path: string,
  ids: Ids,
  given: Float64Array | null,
): Promise<DocumentSource> {
  const file = await SourceFile.open(path);
  try {
    const arrays: [string, Tensor][] = [];
    for (const { name, offset, size } of (await readZip(file)).values()) {
      arrays.push([name, await readNpy(file, offset, size, `${name} of ${path}`)]);
    }
    const found = arrays.filter(([, { shape }]) => shape.length >= 2);
    const vectors = found.filter(([name, array]) => isFloat(array) && !/mask/i.test(name));
    if (vectors.length !== 1) {
      throw refused(
        path,
        `must hold one array of vectors, but holds ${vectors.map(([name]) => name).join(', ') || 'none'}`,
      );
    }
    const [, block] = vectors[0] as [string, Tensor];
    checkVectors(block);
    const mask = found.find(
      ([name, { shape }]) =>
        /mask/i.test(name) &&
        shape.length === 2 &&
        shape[0] === block.shape[0] &&
        shape[1] === block.shape[1],
    )?.[1];
    let lengths = given;
    const counts = arrays.find(([, array]) => isInteger(array) && array.shape.length === 1);
    if (lengths === null && counts !== undefined) {
      const values = await readIntegers(counts[1]);
      lengths = /offset|indptr|splits/i.test(counts[0]) ? toLengths(values, path) : values;
    }
    const extent =
      lengths !== null ? { lengths } : mask !== undefined ? { mask } : { padding: true as const };
    return blockSource({ format: 'npz', vectors: block, extent, ids, files: [file] });
  } catch (error) {
    await file.close();
    throw error;
  }
}

function checkVectors(tensor: Tensor): void {
  const { shape } = tensor;
  if (isFloat(tensor) && (shape.length === 2 || shape.length === 3)) return;
  throw refused(
    tensor.name,
    `holds ${tensor.dtype} ${shapeName(tensor)}, expected floats [docs, tokens, dim] or [tokens, dim]`,
  );
}

/** Lengths beside vectors: "x.doclens.npy" or .json, else doclens.npy or .json in the same folder. */
async function lengthsBeside(path: string): Promise<Float64Array | null> {
  const stem = basename(path).replace(/\.npy$/i, '');
  for (const name of [`${stem}.doclens`, 'doclens']) {
    for (const ending of ['npy', 'json']) {
      const candidate = join(dirname(path), `${name}.${ending}`);
      if (await exists(candidate)) return await readLengths(candidate);
    }
  }
  return null;
}

/** Tokens per document: a .npy vector of whole numbers, or a JSON array of them. */
export async function readLengths(path: string): Promise<Float64Array> {
  if (/\.npy$/i.test(path)) {
    const file = await SourceFile.open(path);
    try {
      const tensor = await readNpy(file);
      if (tensor.shape.length !== 1 || !isInteger(tensor)) {
        throw refused(
          path,
          `holds ${tensor.dtype} ${shapeName(tensor)}, expected whole numbers [docs]`,
        );
      }
      return await readIntegers(tensor);
    } finally {
      await file.close();
    }
  }
  const list = await readJson(path);
  if (!Array.isArray(list))
    throw refused(path, `must hold an array of lengths, but holds ${show(list)}`);
  for (const [i, length] of list.entries()) {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw refused(path, `has ${show(length)} as length ${i}, expected a whole number`);
    }
  }
  return Float64Array.from(list as number[]);
}

export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
