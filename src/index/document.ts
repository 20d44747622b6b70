/** Documents on their way into the store: checked, copied, packed; and records on their way out. */
import { Packr, Unpackr } from 'msgpackr';
import { checkOptions, checkPayload, checkString, checkVectorShape } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import type { Field } from '../runtime/addon.js';
import type { FieldValue, Payload } from '../types.js';
import { fieldValues } from './fields.js';
import type { Manifest } from './manifest.js';
import { Pace } from './pace.js';
import { checkStoredId } from './tenant.js';

/** A document with its token vectors. */
export type IndexDocument = {
  /** The caller's own id: 1 to 512 bytes of UTF-8, stable for ever. */
  id: string;
  /** Flat `tokens * dim` values, finite, 1 to 65,535 tokens. */
  vectors: Float32Array;
  /** Stored and given back; lone surrogates become U+FFFD, as in any UTF-8. */
  text?: string;
  /** Plain JSON, at most 64 levels deep. */
  payload?: Payload;
  /** At most 256 bytes, for the caller to tell whether a document has changed. */
  contentHash?: string;
};

/** What is stored beside the vectors: the msgpack array [contentHash, text, payload]. */
export type DocumentRecord = {
  contentHash: string | null;
  text: string | null;
  payload: Payload | null;
};

/** A document that is checked; only its vectors may still be the caller's. */
export type PreparedDocument = {
  /** As it is stored: with the tenant in front where there are tenants. */
  id: string;
  vectors: Float32Array;
  /** When they were checked. */
  valueCount: number;
  record: Uint8Array;
  /** Of each field that is stored, in their order. */
  fields: readonly (readonly FieldValue[])[];
};

// Vector values of one call that are copied at once. The rest of a larger call stays the caller's until
// it is written: a copy of everything would take as much memory again, and as long as the encoding.
const COPIED_VALUES = 2 ** 20;
const MAX_HASH_BYTES = 256;
/** Enough of a record to hold the content hash: array and string headers, and the string. */
export const HASH_PREFIX_BYTES = 1 + 3 + MAX_HASH_BYTES;

const packr = new Packr({ moreTypes: false, useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ moreTypes: false, useRecords: false });

/** Not slice(): a subclass may answer that with a view of memory that the caller can take away. */
function copyOf(vectors: Float32Array): Float32Array {
  return new Float32Array(vectors);
}

/** The vectors of documents, as memory that nobody else has. */
export async function copiesOf(documents: readonly PreparedDocument[]): Promise<Float32Array[]> {
  const pace = new Pace();
  const copies: Float32Array[] = [];
  for (const { vectors } of documents) {
    copies.push(copyOf(vectors));
    await pace.rest();
  }
  return copies;
}

/**
 * Checks documents and packs what is stored beside their vectors, a few milliseconds at a time so that the event loop stays free; the last
 * of several with one id wins. Throws INVALID_ARGUMENT, INVALID_VECTORS; whether the values are finite
 * is checked later, off the event loop.
 */
export async function prepareDocuments(
  documents: readonly unknown[],
  { dim, fields }: Pick<Manifest, 'dim' | 'fields'>,
  tenant: string | null,
): Promise<{ prepared: Map<string, PreparedDocument>; repeats: number }> {
  const prepared = new Map<string, PreparedDocument>();
  let repeats = 0;
  let copied = 0;
  const pace = new Pace();
  for (const [i, document] of documents.entries()) {
    const ready = prepareDocument(document, `documents[${i}]`, dim, fields, tenant);
    copied += ready.valueCount;
    if (copied <= COPIED_VALUES) ready.vectors = copyOf(ready.vectors);
    // Deleted first: the last one also takes the last place.
    if (prepared.delete(ready.id)) repeats += 1;
    prepared.set(ready.id, ready);
    await pace.rest();
  }
  return { prepared, repeats };
}

function prepareDocument(
  value: unknown,
  name: string,
  dim: number,
  fields: readonly Field[],
  tenant: string | null,
): PreparedDocument {
  const document = checkOptions<IndexDocument>(name, value as IndexDocument, [
    'id',
    'vectors',
    'text',
    'payload',
    'contentHash',
  ]);
  const id = checkStoredId(`${name}.id`, tenant, document.id);
  const given = document.vectors;
  checkVectorShape(`${name}.vectors`, given, dim);
  const { text, payload, contentHash } = document;
  if (text !== undefined) checkString(`${name}.text`, text);
  if (payload !== undefined) checkPayload(`${name}.payload`, payload);
  if (contentHash !== undefined) {
    checkString(`${name}.contentHash`, contentHash);
    if (Buffer.byteLength(contentHash) > MAX_HASH_BYTES) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name}.contentHash must be at most ${MAX_HASH_BYTES} bytes, but ${show(contentHash)} was given.`,
      );
    }
  }
  const record = packr.pack([contentHash ?? null, text ?? null, payload ?? null]);
  return {
    id,
    vectors: given,
    valueCount: given.length,
    record,
    fields: [
      ...(tenant === null ? [] : [[tenant]]),
      ...fieldValues(fields, payload, `${name}.payload`),
    ],
  };
}

export function unpackRecord(bytes: Uint8Array, id: string): DocumentRecord {
  let value: unknown;
  try {
    value = unpackr.unpack(bytes);
  } catch (error) {
    throw new MaxSimError('CORRUPT_INDEX', `The record of document ${show(id)} is not msgpack.`, {
      cause: error,
    });
  }
  const [contentHash, text, payload] = Array.isArray(value) ? (value as unknown[]) : [];
  if (!isTextOrNull(contentHash) || !isTextOrNull(text) || payload === undefined) {
    throw new MaxSimError('CORRUPT_INDEX', `The record of document ${show(id)} has another shape.`);
  }
  return { contentHash, text, payload: payload as Payload };
}

/** The content hash from the first HASH_PREFIX_BYTES of a record, without unpacking text and payload. */
export function readContentHash(bytes: Buffer, id: string): string | null {
  const head = bytes[1] ?? -1;
  if (bytes[0] === 0x93 && head === 0xc0) return null;
  let start = -1;
  let size = 0;
  if (head >= 0xa0 && head <= 0xbf) [start, size] = [2, head & 0x1f];
  else if (head === 0xd9 && bytes.length > 2) [start, size] = [3, bytes.readUInt8(2)];
  else if (head === 0xda && bytes.length > 3) [start, size] = [4, bytes.readUInt16BE(2)];
  if (bytes[0] !== 0x93 || start < 0 || start + size > bytes.length) {
    throw new MaxSimError('CORRUPT_INDEX', `The record of document ${show(id)} has another shape.`);
  }
  return bytes.toString('utf8', start, start + size);
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}
