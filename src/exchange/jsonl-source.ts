/** A document a line: exports of maxsim, and any other file of {id | _id, vectors, text?, payload?}. */
import { crc32 } from 'node:zlib';
import { LIMITS } from '../check.js';
import { show } from '../errors.js';
import type { IndexDocument } from '../index/store.js';
import type { DocumentSource } from './documents.js';
import { type ExportHeader, parseHeader } from './header.js';
import { parseLine, pickRecord } from './ids.js';
import { firstLine, readLines } from './lines.js';
import { refused } from './source-file.js';
import { toFloats } from './tensor.js';

export async function jsonlSource(path: string): Promise<DocumentSource> {
  const first = await firstLine(path);
  if (first === '') throw refused(path, 'is empty');
  const header = parseHeader(first, path);
  const dim = header?.dim ?? dimOf(first, path);
  return {
    format: 'jsonl',
    description: header === null ? 'jsonl' : 'jsonl, an export of maxsim',
    dim,
    documents: header?.documents ?? null,
    header,
    skipped: 0,
    async *read() {
      let documents = 0;
      let tokens = 0;
      for await (const { number, text } of readLines(path)) {
        if (number === 1 && header !== null) continue;
        const document = toDocument(text, dim, `Line ${number} of ${path}`);
        documents += 1;
        tokens += document.vectors.length / dim;
        yield document;
      }
      if (header !== null) checkCounts(path, header, documents, tokens);
    },
    close: async () => {},
  };
}

/** An export that lacks documents, or has more of them, is not what was exported. */
export function checkCounts(
  file: string,
  header: ExportHeader,
  documents: number,
  tokens: number,
): void {
  if (documents === header.documents && tokens === header.tokens) return;
  throw refused(
    file,
    `holds ${documents} documents with ${tokens} tokens, but its header says ${header.documents} with ${header.tokens}`,
  );
}

function toDocument(line: string, dim: number, place: string): IndexDocument {
  const value = parseLine(line, place);
  const record = pickRecord(value, place);
  const vectors = toVectors(value['vectors'], dim, place);
  const crc = value['crc32'];
  if (crc !== undefined && crc !== checksum(vectors)) {
    throw refused(place, `has vectors that do not match their checksum ${show(crc)}`);
  }
  return { ...record, vectors };
}

/** CRC-32 of vectors as little-endian f32. */
export function checksum({ buffer, byteOffset, byteLength }: Float32Array): number {
  return crc32(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength));
}

function dimOf(line: string, path: string): number {
  const place = `Line 1 of ${path}`;
  const { vectors, dim } = parseLine(line, place);
  if (Array.isArray(vectors) && Array.isArray(vectors[0])) return vectors[0].length;
  if (typeof dim === 'number') return dim;
  if (vectors === undefined) {
    throw refused(
      place,
      'has no vectors; only documents with token vectors are imported (maxsim index encodes texts)',
    );
  }
  throw refused(
    place,
    'has vectors that are no array of rows, and no "dim" beside them that says how long a row is',
  );
}

/** Rows of numbers, or the base64 of little-endian f32. */
function toVectors(value: unknown, dim: number, place: string): Float32Array {
  const vectors =
    typeof value === 'string' ? fromBase64(value, dim, place) : fromRows(value, dim, place);
  const tokens = vectors.length / dim;
  if (tokens >= 1 && tokens <= LIMITS.maxDocumentTokens) return vectors;
  throw refused(
    place,
    `has ${tokens} token vectors; a document has 1 to ${LIMITS.maxDocumentTokens}`,
  );
}

function fromBase64(text: string, dim: number, place: string): Float32Array {
  const bytes = Buffer.from(text, 'base64');
  // The decoder skips what is no base64: then it has fewer bytes than the characters say.
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  if (bytes.length !== Math.floor((text.length * 3) / 4) - padding) {
    throw refused(place, 'has vectors that are not base64');
  }
  if (bytes.length % (4 * dim) !== 0) {
    throw refused(
      place,
      `has vectors of ${bytes.length} bytes, which are no whole rows of ${dim} f32 values`,
    );
  }
  return toFloats(bytes, 'F32');
}

function fromRows(value: unknown, dim: number, place: string): Float32Array {
  if (value === undefined || value === null) throw refused(place, 'has no vectors');
  if (!Array.isArray(value)) {
    throw refused(place, `has vectors that are ${show(value)}, expected rows of ${dim} numbers`);
  }
  const vectors = new Float32Array(value.length * dim);
  for (const [i, row] of value.entries()) {
    if (!Array.isArray(row) || row.length !== dim) {
      throw refused(place, `has ${show(row)} as token ${i}, expected a row of ${dim} numbers`);
    }
    for (const [d, x] of row.entries()) {
      if (typeof x !== 'number') {
        throw refused(place, `has ${show(x)} as value ${d} of token ${i}, expected a number`);
      }
      vectors[i * dim + d] = x;
    }
  }
  return vectors;
}
