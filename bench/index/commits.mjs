// `node --expose-gc bench/index/commits.mjs [--documents <n>] [--json]`: what commits cost. Adds of one document by
// one caller and by 64, in groups and one by one; 1,000 deletes of a large index, and which part of that
// is the disk; and how long the event loop is held by deletes, and while everything is merged. Needs an
// idle machine.
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Index } from '../../dist/maxsim.js';
import { machine, quantile, random } from '../stats.mjs';

const DIM = 32;
const TOKENS = 4;
const SECONDS = 3;
const CALLERS = 64;
const BATCH = 10_000;
const DELETES = 1000;
const ROUNDS = 9;

/** Not of unit length, which no figure here depends on. @param {string} id @param {() => number} next */
function document(id, next) {
  return { id, vectors: Float32Array.from({ length: TOKENS * DIM }, () => next() - 0.5), text: id };
}

/** @template T @param {(index: Index) => Promise<T>} run */
async function withIndex(run) {
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-commits-'));
  const index = await Index.open(directory, { dim: DIM, codec: { name: 'int8', range: 2 } });
  try {
    return await run(index);
  } finally {
    await index.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** @param {() => Promise<unknown>} run */
async function milliseconds(run) {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

/** The longest time, in ms, for which `run` held the event loop. @param {() => Promise<unknown>} run */
async function longestHold(run) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await run();
  delay.disable();
  return delay.max / 1e6 - 1;
}

/**
 * Adds of one document for some seconds by callers that each wait for their own.
 * @param {number} callers @param {boolean} grouped
 */
async function adds(callers, grouped) {
  return await withIndex(async (index) => {
    const next = random(1);
    /** @type {number[]} */
    const latencies = [];
    let turn = Promise.resolve();
    let count = 0;
    const started = performance.now();
    const call = async () => {
      while (performance.now() - started < SECONDS * 1000) {
        const one = document(`d${count++}`, next);
        const run = async () => void (await index.add([one]));
        latencies.push(
          await milliseconds(() => {
            if (grouped) return run();
            turn = turn.then(run);
            return turn;
          }),
        );
      }
    };
    await Promise.all(Array.from({ length: callers }, call));
    const seconds = (performance.now() - started) / 1000;
    return {
      callers,
      grouped,
      addsPerSecond: latencies.length / seconds,
      medianMs: quantile(latencies, 0.5),
      p99Ms: quantile(latencies, 0.99),
      merges: index.stats().compaction?.merges ?? 0,
      segments: index.stats().segments.length,
    };
  });
}

/**
 * Files written and flushed and the directory as often: what a commit of deletes must wait for.
 * @param {string} directory @param {number[]} sizes
 */
async function flushes(directory, sizes) {
  const files = [];
  for (const [i, size] of sizes.entries()) {
    const path = join(directory, `probe-${i}`);
    const file = await open(path, 'w');
    await file.write(Buffer.alloc(size));
    await file.sync();
    await file.close();
    files.push(path);
    const parent = await open(directory, 'r');
    await parent.sync();
    await parent.close();
  }
  for (const path of files) await rm(path);
}

/** @param {number} count */
async function deletes(count) {
  return await withIndex(async (index) => {
    const next = random(2);
    for (let from = 0; from < count; from += BATCH) {
      const size = Math.min(BATCH, count - from);
      await index.add(Array.from({ length: size }, (_, i) => document(`d${from + i}`, next)));
    }
    // The garbage of all this is not the merge's.
    globalThis.gc?.();
    const mergeHold = await longestHold(() => index.compact());
    /** @type {number[]} */
    const times = [];
    const disk = [];
    const holds = [];
    for (let round = 0; round < ROUNDS; round++) {
      const ids = Array.from({ length: DELETES }, (_, i) => `d${round * DELETES * 10 + i * 7}`);
      await setTimeout(20);
      holds.push(
        await longestHold(async () => {
          times.push(await milliseconds(() => index.delete(ids)));
        }),
      );
      disk.push(await milliseconds(() => flushes(index.directory, [64 + count / 8, 1000])));
    }
    return {
      documents: count,
      segments: index.stats().segments.length,
      deletes: DELETES,
      medianMs: quantile(times, 0.5),
      slowestMs: Math.max(...times),
      diskMedianMs: quantile(disk, 0.5),
      eventLoopHeldMs: Math.max(...holds),
      eventLoopHeldByMergeMs: mergeHold,
    };
  });
}

/** @param {{ documents: number, say?: (text: string) => void }} options */
export async function measureCommits({ documents, say = () => {} }) {
  const cases = [];
  for (const { callers, grouped } of [
    { callers: 1, grouped: true },
    { callers: CALLERS, grouped: true },
    { callers: CALLERS, grouped: false },
  ]) {
    say(`${callers} callers, ${grouped ? 'in groups' : 'one by one'}`);
    cases.push(await adds(callers, grouped));
  }
  say(`${DELETES} deletes of ${documents} documents`);
  return { adds: cases, deletes: await deletes(documents) };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values: options } = parseArgs({
    options: {
      documents: { type: 'string', default: '1000000' },
      json: { type: 'boolean', default: false },
    },
  });
  const say = (/** @type {string} */ text) => process.stderr.write(`${text}\n`);
  const results = await measureCommits({ documents: Number(options.documents), say });
  if (options.json) {
    console.log(JSON.stringify({ machine: machine(), ...results }));
  } else {
    console.table(results.adds);
    console.table([results.deletes]);
  }
}
