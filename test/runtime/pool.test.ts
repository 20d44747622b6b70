import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { planBatches } from '../../dist/runtime/batches.js';
import { WorkerPool } from '../../dist/runtime/pool.js';

const options = { priority: 0, cost: 1 };
let pool: WorkerPool;

beforeEach(() => {
  pool = new WorkerPool(new URL('./obedient-worker.mjs', import.meta.url), { threads: 2 });
});

afterEach(() => pool.close());

it('spreads jobs over its threads', async () => {
  const results = await Promise.all(
    Array.from({ length: 8 }, (_, i) => pool.run('sleep', 20 + i, options)),
  );
  const threads = new Set(results.map((result) => (result as { threadId: number }).threadId));
  expect(threads.size).toBe(2);
});

it('tries the jobs of a thread that died on another one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'maxsim-pool-'));
  try {
    const marker = join(directory, 'died');
    const [survivor] = await Promise.all([pool.run('die-once', marker, options)]);
    expect(survivor).toMatchObject({ payload: marker });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it('gives up on a job that kills its thread twice, and goes on with others', async () => {
  await expect(pool.run('die', null, options)).rejects.toMatchObject({ code: 'WORKER_FAILED' });
  await expect(pool.run('echo', 'still here', options)).resolves.toMatchObject({
    payload: 'still here',
  });
});

it('passes on the code, sentence and details of an error', async () => {
  await expect(pool.run('fail', 'x', options)).rejects.toMatchObject({
    name: 'MaxSimError',
    code: 'INVALID_MODEL',
    message: 'no such model',
    details: { name: 'x' },
  });
});

it('rejects an aborted job at once and stays usable', async () => {
  const controller = new AbortController();
  const job = pool.run('sleep', 10_000, { ...options, signal: controller.signal });
  controller.abort(new Error('changed my mind'));
  await expect(job).rejects.toMatchObject({ code: 'ABORTED', cause: new Error('changed my mind') });
  await expect(
    pool.run('echo', 1, { ...options, signal: controller.signal }),
  ).rejects.toMatchObject({
    code: 'ABORTED',
  });
  await expect(pool.run('echo', 2, options)).resolves.toMatchObject({ payload: 2 });
});

it('rejects what runs when it is closed, and everything after', async () => {
  const job = pool.run('sleep', 10_000, options);
  const rejected = expect(job).rejects.toMatchObject({ code: 'CLOSED' });
  await pool.close();
  await rejected;
  await expect(pool.run('echo', 1, options)).rejects.toMatchObject({ code: 'CLOSED' });
});

it('batches only sequences of one length that is a multiple of 4, within the budget', () => {
  const lengths = [8, 30, 8, 8, 9, 9, 300, 8];
  const batches = planBatches(lengths, 24);
  expect(batches.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
  expect(batches).toEqual([[6], [1], [4], [5], [0, 2, 3], [7]]);
});
