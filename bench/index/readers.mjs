/** What a reader process feels of a writer process that adds, deletes and merges all the time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Index } from '../../dist/maxsim.js';
import { quantile, random, unitVectors } from '../stats.mjs';

const DIM = 128;
const TOKENS = 180;
const STEADY = 2000;
const BATCH = 20;

/** @param {{ directory: string, seconds: number }} options */
export async function benchReaders({ directory, seconds }) {
  const folder = await mkdtemp(join(directory, 'readers-'));
  const path = join(folder, 'index');
  const next = random(3);
  const index = await Index.open(path, { dim: DIM });
  /** @param {string} id */
  const document = (id) => ({ id, vectors: unitVectors(TOKENS, DIM, next) });
  await index.add(Array.from({ length: STEADY }, (_, i) => document(`document-${i}`)));
  const batches = Array.from({ length: 8 }, (_, b) =>
    Array.from({ length: BATCH }, (_, i) => document(`moving-${b}-${i}`)),
  );
  try {
    // Idle and busy take turns, so that both have the machine as it is.
    /** @type {{ times: number[], errors: string[], generations: number }[]} */
    const idle = [];
    /** @type {{ times: number[], errors: string[], generations: number }[]} */
    const busy = [];
    let commits = 0;
    for (let round = 0; round < 2; round++) {
      const before = startReader(path);
      await setTimeout((seconds / 2) * 1000);
      idle.push(await before.stop());
      const during = startReader(path);
      const end = performance.now() + (seconds / 2) * 1000;
      while (performance.now() < end) {
        // A steady stream of replacements, as an indexing job makes them: half of them are dead at once.
        await index.add(batches[commits % batches.length] ?? []);
        commits += 1;
        if (commits % 20 === 0) await index.compact();
      }
      busy.push(await during.stop());
    }
    const { merges } = index.stats().compaction ?? { merges: 0 };
    const all = (/** @type {typeof idle} */ runs) => runs.flatMap(({ times }) => times);
    const figures = (/** @type {typeof idle} */ runs) => ({
      calls: all(runs).length,
      p50Ms: quantile(all(runs), 0.5),
      p99Ms: quantile(all(runs), 0.99),
    });
    return {
      idle: figures(idle),
      busy: figures(busy),
      errors: [...idle, ...busy].flatMap((run) => run.errors),
      generations: busy.reduce((sum, run) => sum + run.generations, 0),
      commits,
      merges,
      p99Ratio: quantile(all(busy), 0.99) / quantile(all(idle), 0.99),
    };
  } finally {
    await index.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {string} path */
function startReader(path) {
  const script = new URL('./reader.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, path, String(STEADY)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  return {
    /** @returns {Promise<{ times: number[], errors: string[], generations: number }>} */
    async stop() {
      child.stdin.end();
      const [code] = await once(child, 'close');
      if (code !== 0) throw new Error(`The reader ended with code ${code}.`);
      return JSON.parse(output);
    },
  };
}
