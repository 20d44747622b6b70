// next-plaid's search at its defaults, in a process of its own (bench/peers/rust/src/bin/search.rs).
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DIM } from './states.mjs';

const PROGRAM = fileURLToPath(new URL('../../.cache/peers/rust/release/search', import.meta.url));

/**
 * Null where the peer is not installed (bench/peers/install rust).
 * @param {{ states: string, cache: string, say: (text: string) => void }} options `states`: their folder
 */
export async function nextPlaid({ states, cache, say }) {
  if (!existsSync(PROGRAM)) return null;
  const index = join(cache, `next-plaid-${basename(states)}`);
  const note = `${index}.json`;
  if (!existsSync(note)) {
    say('next-plaid builds its index, once, for some minutes');
    await rm(`${index}.tmp`, { recursive: true, force: true });
    await mkdir(cache, { recursive: true });
    const built = spawnSync(
      PROGRAM,
      ['build', join(states, 'documents'), String(DIM), `${index}.tmp`],
      { encoding: 'utf8' },
    );
    if (built.status !== 0) throw new Error(`next-plaid failed: ${built.stderr}`);
    await rm(index, { recursive: true, force: true });
    await rename(`${index}.tmp`, index);
    await writeFile(note, built.stdout);
  }
  const { buildSeconds, sizeBytes, tokens } = JSON.parse(await readFile(note, 'utf8'));
  const child = spawn(PROGRAM, ['serve', join(states, 'queries'), String(DIM), index], {
    env: { ...process.env, RAYON_NUM_THREADS: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next(); // it is ready
  return {
    buildSeconds,
    bytesPerToken: sizeBytes / tokens,
    /** @param {number} query its number @returns {Promise<{ ms: number, documents: number[] }>} */
    async search(query) {
      child.stdin.write(`${query}\n`);
      const { value } = await lines.next();
      return JSON.parse(value);
    },
    close: () => child.stdin.end(),
  };
}
