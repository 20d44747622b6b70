/** Documents of .safetensors files: exports of maxsim, and the common layouts of others. */
import { dirname, join } from 'node:path';
import type { IndexDocument } from '../index/store.js';
import type { DocumentSource } from './documents.js';
import { type ExportHeader, parseHeader } from './header.js';
import { toRecord } from './ids.js';
import { checkCounts, checksum } from './jsonl-source.js';
import { firstLine, readLines } from './lines.js';
import { readSafetensors, type SafetensorsFile } from './safetensors.js';
import { isObject, refused, SourceFile } from './source-file.js';
import {
  ITEM_BYTES,
  isFloat,
  isInteger,
  readIntegers,
  shapeName,
  type Tensor,
  TensorStream,
  toFloats,
} from './tensor.js';
import { blockSource, closeAll, namedSource, toLengths } from './vector-documents.js';

/** "x.documents.jsonl": the sidecar of "x.safetensors", and of its shards "x-00001-of-00003.safetensors". */
export function sidecarOf(path: string): string {
  return `${path.replace(/(-\d{5}-of-\d{5})?\.safetensors$/i, '')}.documents.jsonl`;
}

export async function safetensorsSource(
  path: string,
  ids: string | readonly string[] | null,
  given: Float64Array | null,
): Promise<DocumentSource> {
  const file = await SourceFile.open(path);
  try {
    const content = await readSafetensors(file);
    if (content.metadata['format'] === 'maxsim-export') {
      await file.close();
      const sidecar = sidecarOf(path);
      const header = parseHeader(await firstLine(sidecar), sidecar);
      if (header === null) throw refused(sidecar, `is not the sidecar of ${path}`);
      return await exportSource(sidecar, header);
    }
    return await generalSource(file, content, ids, given);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** An export: the sidecar has a line per document, the files their vectors, in the same order. */
export async function exportSource(sidecar: string, header: ExportHeader): Promise<DocumentSource> {
  const { vectors, dim } = header;
  if (vectors === 'base64-f32') throw refused(sidecar, 'names no files of vectors');
  const parts: Part[] = [];
  try {
    for (const name of vectors.files) {
      parts.push(await openPart(join(dirname(sidecar), name), vectors.export, dim));
    }
  } catch (error) {
    await closeAll(parts.map((part) => part.file));
    throw error;
  }
  return {
    format: 'safetensors',
    description: `safetensors, an export of maxsim in ${parts.length} file${parts.length === 1 ? '' : 's'}`,
    dim,
    documents: header.documents,
    header,
    skipped: 0,
    async *read() {
      let documents = 0;
      let tokens = 0;
      const lines = readLines(sidecar);
      await lines.next(); // the header
      for (const { file, rows, doclens } of parts) {
        const stream = new TensorStream(rows);
        for (const length of await readIntegers(doclens)) {
          const { value, done } = await lines.next();
          if (done) {
            throw refused(sidecar, `ends after ${documents} documents, but ${file.path} has more`);
          }
          const place = `Line ${value.number} of ${sidecar}`;
          const record = toRecord(value.text, place);
          const bytes = await stream.take(length * dim * ITEM_BYTES[rows.dtype]);
          const document = { ...record, vectors: toFloats(bytes, rows.dtype) };
          verify(document, value.text, file.path, place);
          documents += 1;
          tokens += length;
          yield document;
        }
      }
      if (!(await lines.next()).done) {
        throw refused(sidecar, `has more lines than the ${documents} documents of its files`);
      }
      checkCounts(sidecar, header, documents, tokens);
    },
    close: () => closeAll(parts.map((part) => part.file)),
  };
}

type Part = { file: SourceFile; rows: Tensor; doclens: Tensor };

async function openPart(path: string, id: string, dim: number): Promise<Part> {
  const file = await SourceFile.open(path);
  try {
    const { tensors, metadata } = await readSafetensors(file);
    const rows = tensors.get('vectors');
    const doclens = tensors.get('doclens');
    if (metadata['export'] !== id) {
      throw refused(
        path,
        'is of another export than its sidecar: an export was overwritten halfway',
      );
    }
    if (rows?.shape.length !== 2 || !isFloat(rows) || rows.shape[1] !== dim) {
      throw refused(path, `has no tensor "vectors" of floats [tokens, ${dim}]`);
    }
    if (doclens?.shape.length !== 1 || !isInteger(doclens)) {
      throw refused(path, 'has no tensor "doclens" of whole numbers [documents]');
    }
    const sum = (await readIntegers(doclens)).reduce((a, b) => a + b, 0);
    if (sum !== rows.shape[0]) {
      throw refused(path, `has ${rows.shape[0]} rows, but its doclens add up to ${sum}`);
    }
    return { file, rows, doclens };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function verify(document: IndexDocument, line: string, file: string, place: string): void {
  const { crc32 } = JSON.parse(line) as { crc32?: unknown };
  if (crc32 === undefined || crc32 === checksum(document.vectors)) return;
  throw refused(
    file,
    `has vectors of document ${JSON.stringify(document.id)} that do not match the checksum in ${place}`,
  );
}

/** Layouts of others: rows with lengths or offsets, padded blocks, or a tensor per document. */
async function generalSource(
  file: SourceFile,
  { tensors, metadata }: SafetensorsFile,
  ids: string | readonly string[] | null,
  given: Float64Array | null,
): Promise<DocumentSource> {
  const { path } = file;
  const all = [...tensors.entries()];
  const files = [file];
  const blocks = all.filter(([, tensor]) => isFloat(tensor) && tensor.shape.length === 3);
  const matrices = all.filter(([, tensor]) => isFloat(tensor) && tensor.shape.length === 2);
  const list = (found: [string, Tensor][]): string =>
    found
      .slice(0, 5)
      .map(([, tensor]) => `${tensor.name} ${tensor.dtype} ${shapeName(tensor)}`)
      .join(', ') || 'nothing';
  if (blocks.length > 1) throw refused(path, `has several blocks of vectors: ${list(blocks)}`);
  const lengths = given ?? (await lengthsOf(all, path));
  const format = 'safetensors';
  const block = blocks[0]?.[1];
  if (block !== undefined) {
    const [docs, tokens] = block.shape;
    const mask = all.find(
      ([name, tensor]) =>
        /mask/i.test(name) &&
        tensor.shape.length === 2 &&
        tensor.shape[0] === docs &&
        tensor.shape[1] === tokens,
    )?.[1];
    const extent =
      mask !== undefined ? { mask } : lengths !== null ? { lengths } : { padding: true as const };
    return blockSource({ format, vectors: block, extent, ids, files });
  }
  const matrix = matrices[0]?.[1];
  if (matrix === undefined) {
    throw refused(path, `has no floats [tokens, dim] or [docs, tokens, dim]; it has ${list(all)}`);
  }
  if (lengths !== null) {
    if (matrices.length > 1)
      throw refused(path, `has several blocks of vectors: ${list(matrices)}`);
    return blockSource({ format, vectors: matrix, extent: { lengths }, ids, files });
  }
  if (ids !== null) {
    throw refused(
      path,
      'has a tensor per document, which names it; a list of ids fits only rows with lengths',
    );
  }
  if (!isObject(metadata)) throw refused(path, 'has metadata that is no object');
  return namedSource(
    format,
    matrices.map(([id, tensor]) => ({ id, tensor })),
    files,
  );
}

/** One vector of whole numbers: lengths, or by its name offsets; null where there is none. */
async function lengthsOf(all: [string, Tensor][], path: string): Promise<Float64Array | null> {
  const found = all.filter(([, tensor]) => isInteger(tensor) && tensor.shape.length === 1);
  if (found.length > 1) {
    throw refused(
      path,
      `has several vectors of whole numbers: ${found.map(([name]) => name).join(', ')}`,
    );
  }
  const [entry] = found;
  if (entry === undefined) return null;
  const [name, tensor] = entry;
  const values = await readIntegers(tensor);
  return /offset|indptr|splits/i.test(name) ? toLengths(values, path) : values;
}
