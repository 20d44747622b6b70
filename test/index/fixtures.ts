/** What the tests of the store share: seeded vectors, temporary directories, a plain MaxSim, codes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { random } from '../../bench/stats.mjs';
import type { MaxSimError } from '../../dist/errors.js';
import type { Index } from '../../dist/index/store.js';
import { maxSim } from '../maxsim/reference.js';

export const DIM = 16;

/** The same numbers in every run. */
export const seeded = random;

export const plainMaxSim = (query: Float32Array, document: Float32Array, dim = DIM): number =>
  maxSim(query, document, dim);

/** Unit-length token vectors. */
export function unitVectors(next: () => number, tokens: number, dim = DIM): Float32Array {
  const vectors = new Float32Array(tokens * dim);
  for (let token = 0; token < tokens; token++) {
    const row = vectors.subarray(token * dim, (token + 1) * dim);
    for (let d = 0; d < dim; d++) row[d] = next() * 2 - 1;
    const norm = Math.hypot(...row);
    for (let d = 0; d < dim; d++) row[d] = (row[d] as number) / norm;
  }
  return vectors;
}

/** A directory of this test's own, removed at its end. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'maxsim-test-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Resolves when nothing is merged in the background any more. */
export async function compacted(index: Index): Promise<void> {
  while (index.stats().compaction?.running) await setTimeout(1);
}

/** The code and message of what `run` throws. */
export async function refusal(run: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await run();
  } catch (error) {
    const { code, message } = error as MaxSimError;
    return { code, message };
  }
  throw new Error('nothing was thrown');
}
