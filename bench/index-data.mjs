// Indexes of the first documents of the data, one per codec: what is scored from Node, and what the C++
// side of the same call opens.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Index } from '../dist/maxsim.js';
import { DIM, DOCUMENT_TOKENS } from './data.mjs';

export const INDEX_DOCUMENTS = 100;
export const INDEX_CODECS = /** @type {const} */ (['int8', 'f32', 'r4']);

/** @param {number} i */
export const documentId = (i) => `document-${i}`;

/** @param {string} folder @param {Float32Array} vectors */
export async function writeIndexes(folder, vectors) {
  const size = DOCUMENT_TOKENS * DIM;
  const documents = Array.from({ length: INDEX_DOCUMENTS }, (_, i) => ({
    id: documentId(i),
    vectors: vectors.slice(i * size, (i + 1) * size),
  }));
  for (const codec of INDEX_CODECS) {
    const index = await Index.open(join(folder, codec), { dim: DIM, codec });
    await index.add(documents);
    await index.close();
  }
}

/**
 * The manifest of an index, as the addon takes it.
 * @param {string} directory
 * @returns {Promise<{ dim: number, codec: { name: string, scale: number }, segments: { file: string,
 *   documents: number, tokens: number, headerCrc: number }[] }>}
 */
export async function readManifest(directory) {
  const text = await readFile(join(directory, 'manifest.json'), 'utf8');
  return JSON.parse(/** @type {string} */ (text.split('\n')[0]));
}
