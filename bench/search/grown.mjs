// Indexes of a mixture's documents, of as many tokens as are asked for, built through the public API
// and kept in .cache/search: what takes long is done once, and goes on where it was interrupted.
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Index } from '../../dist/maxsim.js';
import { DIM, Mixture } from './mixture.mjs';

export const CACHE = fileURLToPath(new URL('../../.cache/search/', import.meta.url));
const SEED = 1;
const TOKENS_A_DOCUMENT = 180;
const VERSION = 1;
// The first commit is what a residual codec learns its centroids from.
const [FIRST, FURTHER] = [6000, 2500];

/**
 * @param {{ tokens: number, codec: 'r2' | 'r4' | 'int8', centroids: number, say?: (text: string) => void }} options
 * @returns {Promise<{ index: Index, mixture: Mixture, built: { addSeconds: number, searchSeconds: number }, name: string }>}
 */
export async function grownIndex({ tokens, codec, centroids, say = () => {} }) {
  const documents = Math.ceil(tokens / TOKENS_A_DOCUMENT);
  const name = `mixture-${VERSION}-${codec}-${centroids}-${documents}`;
  const directory = join(CACHE, name);
  const note = join(CACHE, `${name}.json`);
  await mkdir(CACHE, { recursive: true });
  const built = existsSync(note)
    ? JSON.parse(await readFile(note, 'utf8'))
    : { addSeconds: 0, searchSeconds: 0 };
  const mixture = new Mixture(SEED);
  const index = await Index.open(directory, {
    dim: DIM,
    codec: codec === 'int8' ? codec : { name: codec, centroids },
    compaction: 'off',
  });
  for (let from = index.documentCount; from < documents; from = index.documentCount) {
    const count = Math.min(from === 0 ? FIRST : FURTHER, documents - from);
    const added = Array.from({ length: count }, (_, i) => ({
      id: String(from + i),
      vectors: mixture.document(from + i),
    }));
    const started = performance.now();
    await index.add(added);
    built.addSeconds += (performance.now() - started) / 1000;
    await writeFile(note, JSON.stringify(built));
    say(
      `${name}: ${index.documentCount} of ${documents} documents, ${built.addSeconds.toFixed(0)} s`,
    );
  }
  if (index.stats().segments.length > 1 || index.stats().segments[0]?.codes === undefined) {
    const started = performance.now();
    say(`${name}: compaction`);
    await index.compact();
    say(`${name}: codes and depths`);
    await index.buildSearch({
      queries: Array.from({ length: 128 }, (_, i) => mixture.query(100_000 + i)),
      ...(codec === 'int8' ? { centroids } : {}),
    });
    built.searchSeconds += (performance.now() - started) / 1000;
    await writeFile(note, JSON.stringify(built));
  }
  return { index, mixture, built, name };
}
