/** A fingerprint of a document as it was given, so that an unchanged one need not be encoded again. */
import { createHash } from 'node:crypto';
import type { DocumentInput, Payload } from '../types.js';
import { Pace } from './pace.js';

/** Hashes of documents, a few milliseconds at a time so that the event loop stays free. */
export async function contentHashes(documents: readonly DocumentInput[]): Promise<string[]> {
  const pace = new Pace();
  const hashes: string[] = [];
  for (const document of documents) {
    hashes.push(contentHash(document));
    await pace.rest();
  }
  return hashes;
}

/** 128 bits of SHA-256 over text, payload (keys sorted) and vectors, in base64url. */
function contentHash(document: DocumentInput): string {
  const hash = createHash('sha256').update(
    JSON.stringify([document.text ?? null, sortKeys(document.payload ?? null)]),
  );
  if (document.vectors !== undefined) {
    const { buffer, byteOffset, byteLength } = document.vectors;
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('base64url').slice(0, 22);
}

function sortKeys(value: Payload): Payload {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sortKeys(inner)]),
  );
}
