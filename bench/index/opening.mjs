/** How long a large index takes to open, and what that takes of memory: measured in a process of its own. */
import { execFileSync } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Index } from '../../dist/maxsim.js';
import { quantile, random, unitVectors } from '../stats.mjs';

export const DIM = 128;
export const TOKENS = 16;

/** Documents of 16 tokens, in a few commits. @param {string} path @param {number} documents */
export async function makeIndex(path, documents) {
  await rm(path, { recursive: true, force: true });
  const index = await Index.open(path, { dim: DIM });
  const next = random(5);
  // The same few thousand vectors for all: what is measured does not look at them.
  const vectors = Array.from({ length: 1000 }, () => unitVectors(TOKENS, DIM, next));
  const BATCH = 125_000;
  for (let first = 0; first < documents; first += BATCH) {
    const size = Math.min(BATCH, documents - first);
    await index.add(
      Array.from({ length: size }, (_, i) => ({
        id: `document-${first + i}`,
        vectors: vectors[(first + i) % vectors.length],
        payload: first + i,
      })),
    );
  }
  await index.compact();
  const stats = index.stats();
  await index.close();
  return stats;
}

/** @param {{ path: string, runs: number }} options */
export function benchOpening({ path, runs }) {
  const script = new URL('./open-once.mjs', import.meta.url).pathname;
  const results = Array.from({ length: runs }, () =>
    JSON.parse(execFileSync(process.execPath, ['--expose-gc', script, path], { encoding: 'utf8' })),
  );
  /** @param {string} key */
  const median = (key) =>
    quantile(
      results.map((result) => result[key]),
      0.5,
    );
  return {
    documents: results[0].documents,
    openMs: median('openMs'),
    openMsOfRuns: results.map(({ openMs }) => openMs),
    heapMB: median('heapMB'),
    rssMB: median('rssMB'),
    rssBeforeMB: median('rssBeforeMB'),
    getMs: median('getMs'),
    rankMs: median('rankMs'),
  };
}

export const pathIn = (/** @type {string} */ directory) => join(directory, 'opening');
