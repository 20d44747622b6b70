// Token vectors of a collection, encoded once per encoder fingerprint and runtime, and kept in .cache/vectors, in
// files of 256 texts, so that an interrupted run goes on where it stopped.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../.cache/vectors/', import.meta.url));
const CHUNK = 256;

/**
 * @param {import('../../dist/types.js').Encoder} encoder
 * @param {string} name of the collection
 * @param {'query' | 'document'} kind
 * @param {string[]} texts
 * @param {(done: number, total: number) => void} [progress]
 * @param {'native' | 'onnx'} [runtime] that the encoder runs in
 * @returns {Promise<Float32Array[]>} flat [tokens][dim] vectors of each text
 */
export async function cachedVectors(
  encoder,
  name,
  kind,
  texts,
  progress = () => {},
  runtime = 'onnx',
) {
  const directory = join(
    CACHE,
    `${encoder.fingerprint}${runtime === 'onnx' ? '' : `-${runtime}`}`,
    name,
  );
  await mkdir(directory, { recursive: true });
  /** @type {Float32Array[]} */
  const vectors = [];
  for (let from = 0; from < texts.length; from += CHUNK) {
    const chunk = texts.slice(from, from + CHUNK);
    const key = createHash('sha256').update(JSON.stringify(chunk)).digest('hex').slice(0, 16);
    const file = join(directory, `${kind}-${String(from).padStart(7, '0')}-${key}`);
    if (!existsSync(file)) {
      const encoded =
        kind === 'query'
          ? await encoder.encodeQueries(chunk)
          : await encoder.encodeDocuments(chunk);
      const counts = Uint32Array.from(encoded, (text) => text.tokenCount);
      const parts = [counts, ...encoded.map((text) => text.vectors)];
      const bytes = parts.map((part) => Buffer.from(part.buffer, part.byteOffset, part.byteLength));
      await writeFile(`${file}.tmp`, Buffer.concat(bytes));
      await rename(`${file}.tmp`, file);
    }
    const bytes = await readFile(file);
    const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
    const counts = new Uint32Array(copy, 0, chunk.length);
    let at = chunk.length * 4;
    for (const count of counts) {
      vectors.push(new Float32Array(copy, at, count * encoder.dim));
      at += count * encoder.dim * 4;
    }
    progress(Math.min(from + CHUNK, texts.length), texts.length);
  }
  return vectors;
}
