/** How fast given vectors become a durable int8 index, beside a plain write of as many bytes. */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Index } from '../../dist/maxsim.js';
import { quantile, random, unitVectors } from '../stats.mjs';

const DIM = 128;
const TOKENS = 180;

/**
 * @param {{ directory: string, megabytes: number, rounds: number }} options
 */
export async function benchIngest({ directory, megabytes, rounds }) {
  const count = Math.round((megabytes * 1e6) / (DIM * TOKENS));
  const documents = makeDocuments(count);
  const bytes = Buffer.alloc(1 << 20, 0x5a);
  const size = count * TOKENS * DIM;
  const ratios = [];
  const ingest = [];
  const plain = [];
  for (let round = 0; round <= rounds; round++) {
    const folder = await mkdtemp(join(directory, 'ingest-'));
    const plainSeconds = await seconds(async () => {
      const file = await open(join(folder, 'plain'), 'w');
      for (let written = 0; written < size; written += bytes.length) {
        await file.write(bytes, 0, Math.min(bytes.length, size - written));
      }
      await file.sync();
      await file.close();
    });
    await rm(join(folder, 'plain'));
    const index = await Index.open(join(folder, 'index'), {
      dim: DIM,
      codec: { name: 'int8', range: 0.5 },
    });
    const ingestSeconds = await seconds(() => index.add(documents));
    await index.close();
    await rm(folder, { recursive: true });
    if (round === 0) continue; // caches, threads and compiled code come into being
    plain.push(size / plainSeconds / 1e6);
    ingest.push(size / ingestSeconds / 1e6);
    ratios.push(plainSeconds / ingestSeconds);
  }
  return {
    megabytes: size / 1e6,
    documents: count,
    plainMBs: quantile(plain, 0.5),
    ingestMBs: quantile(ingest, 0.5),
    ratio: quantile(ratios, 0.5),
    ratios,
  };
}

/** @param {number} count */
function makeDocuments(count) {
  const next = random(7);
  return Array.from({ length: count }, (_, i) => ({
    id: `document-${i}`,
    vectors: unitVectors(TOKENS, DIM, next),
  }));
}

/** @param {() => Promise<unknown>} run */
async function seconds(run) {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1000;
}
