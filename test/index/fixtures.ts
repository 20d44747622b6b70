/** What the tests of the store share: seeded vectors, temporary directories, a plain MaxSim, codes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { MaxSimError } from '../../dist/errors.js';

export const DIM = 16;

/** Mulberry32: the same numbers in every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Unit-length token vectors. */
export function unitVectors(random: () => number, tokens: number, dim = DIM): Float32Array {
  const vectors = new Float32Array(tokens * dim);
  for (let token = 0; token < tokens; token++) {
    const row = vectors.subarray(token * dim, (token + 1) * dim);
    for (let d = 0; d < dim; d++) row[d] = random() * 2 - 1;
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

/** The definition: for each query token the best dot product with a document token, summed. */
export function plainMaxSim(query: Float32Array, document: Float32Array, dim = DIM): number {
  let score = 0;
  for (let q = 0; q < query.length; q += dim) {
    let best = Number.NEGATIVE_INFINITY;
    for (let d = 0; d < document.length; d += dim) {
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += (query[q + i] as number) * (document[d + i] as number);
      best = Math.max(best, dot);
    }
    score += best;
  }
  return score;
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
