import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { planBatches } from '../../dist/runtime/batches.js';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import { type JobOptions, WorkerPool } from '../../dist/runtime/pool.js';

const options = { priority: 0, tokens: 1 };
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

/** One thread, held by a first job, so that the others wait. */
async function held(
  settings: { maxQueuedTokens?: number } = {},
): Promise<{ one: WorkerPool; order: string[]; run: Run; free: Promise<unknown> }> {
  const entry = new URL('./obedient-worker.mjs', import.meta.url);
  const one = new WorkerPool(entry, { threads: 1, ...settings });
  const order: string[] = [];
  const run: Run = (name, rest = {}) =>
    one.run('echo', name, { priority: 1, tokens: 10, ...rest }).then(() => order.push(name));
  const free = one.run('sleep', 60, { priority: 0, tokens: 1 });
  return { one, order, run, free };
}
type Run = (name: string, rest?: Partial<JobOptions>) => Promise<unknown>;

it('begins the most urgent class first, in it the earliest deadline, then the first to come', async () => {
  const { one, order, run } = await held();
  const soon = performance.now() + 10_000;
  await Promise.all([
    run('no deadline'),
    run('later', { deadline: soon + 5000 }),
    run('soon', { deadline: soon }),
    run('less urgent', { priority: 2, deadline: soon - 1000 }),
    run('no deadline, second'),
  ]);
  expect(order).toEqual(['soon', 'later', 'no deadline', 'no deadline, second', 'less urgent']);
  await one.close();
});

it('never begins what is too late, or was given up while it waited', async () => {
  const { one, order, run, free } = await held();
  const controller = new AbortController();
  const late = run('late', { deadline: performance.now() + 10 });
  const dropped = run('dropped', { signal: controller.signal });
  await expect(run('too late already', { deadline: performance.now() - 1 })).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
  });
  controller.abort();
  await expect(dropped).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(late).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  await free;
  await run('after');
  expect(order).toEqual(['after']);
  expect(one.stats()).toMatchObject({ queuedJobs: 0, queuedTokens: 0, runningJobs: 0 });
  await one.close();
});

it('refuses what would wait behind too many tokens, and takes it again later', async () => {
  const { one, run } = await held({ maxQueuedTokens: 25 });
  const waiting = [run('first'), run('second')];
  await expect(run('third')).rejects.toMatchObject({
    code: 'OVERLOADED',
    details: { queuedTokens: 20, maxQueuedTokens: 25 },
  });
  await Promise.all(waiting);
  await run('third');
  await one.close();
});

it('lets a call in whole, and refuses no urgent work for what is less urgent', async () => {
  const { one, run } = await held({ maxQueuedTokens: 25 });
  one.admit(1, 1000);
  const call = ['a', 'b', 'c', 'd'].map((name) => run(name, { admitted: true }));
  expect(() => one.admit(1, 1)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
  await expect(run('as urgent')).rejects.toMatchObject({ code: 'OVERLOADED' });
  await expect(run('less urgent', { priority: 2 })).rejects.toMatchObject({ code: 'OVERLOADED' });
  await run('more urgent', { priority: 0 });
  await Promise.all(call);
  await one.close();
});

it('says what waits, what runs and what was done', async () => {
  const { one, run, free } = await held();
  const waiting = run('waits');
  expect(one.stats()).toMatchObject({
    threads: 1,
    deaths: 0,
    runningJobs: 1,
    queuedJobs: 1,
    queuedTokens: 10,
  });
  await Promise.all([free, waiting]);
  const { workers, rssBytes } = one.stats();
  expect(workers).toHaveLength(1);
  expect(workers[0]?.jobsDone).toBe(2);
  expect(workers[0]?.busyShare).toBeGreaterThan(0);
  expect(workers[0]?.busyShare).toBeLessThanOrEqual(1);
  expect(rssBytes).toBeGreaterThan(1e6);
  await one.close();
});

it('warms every thread up', async () => {
  await pool.warmUp('echo', 'warm');
  expect(pool.stats().workers.map(({ jobsDone }) => jobsDone)).toEqual([1, 1]);
});

/** The handles of threads are private; a test may kill one. */
function workerOf(of: WorkerPool): Worker {
  const { threads } = of as unknown as { threads: { worker: Worker }[] };
  return threads[0]?.worker as Worker;
}

it('tries the work of a thread that was terminated on another one', async () => {
  const running = pool.run('sleep', 100, options);
  await once(workerOf(pool), 'online');
  await workerOf(pool).terminate();
  await expect(running).resolves.toMatchObject({ payload: 100 });
  expect(pool.stats()).toMatchObject({ deaths: 1, runningJobs: 0, queuedJobs: 0 });
});

const tiny = fileURLToPath(new URL('../golden/encoders/pylate-bert', import.meta.url));

it('goes on with a long list where a model thread ends in the middle of it', async () => {
  const real = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
  try {
    const encoder = await ModelEncoder.open(tiny, real);
    const texts = Array.from({ length: 100 }, (_, i) => `${i} `.repeat(100));
    const [expected] = await encoder.encodeDocuments(texts.slice(99));
    const pending = encoder.encodeDocuments(texts);
    const worker = workerOf(real);
    worker.postMessage({ type: 'close' }); // it ends between two batches, as it must
    await once(worker, 'exit');
    const encoded = await pending;
    expect(encoded.map(({ tokenCount }) => tokenCount > 0)).toEqual(texts.map(() => true));
    expect(encoded[99]).toEqual(expected);
    expect(real.stats().deaths).toBe(1);
    expect(real.stats().workers[0]?.modelBytes).toBeGreaterThan(1e4);
  } finally {
    await real.close();
  }
});

it('a long list of one caller does not fill the queue', async () => {
  const real = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), {
    threads: 1,
    maxQueuedTokens: 5_000,
  });
  try {
    const encoder = await ModelEncoder.open(tiny, real);
    const encoded = await encoder.encodeDocuments(new Array(200).fill('word '.repeat(80)));
    expect(encoded).toHaveLength(200);
  } finally {
    await real.close();
  }
});

it.each([
  ['encoders/pylate-bert/model.onnx', 256],
  ['forms/model_q4.onnx', 256],
  ['forms/model_qdq.onnx', 256],
  ['forms/model_int8.onnx', 1],
])('in runs of %s, texts may fill %i tokens together', async (file, batchTokens) => {
  const session = await OnnxSession.open({
    file: fileURLToPath(new URL(`../golden/${file}`, import.meta.url)),
    output: null,
    head: [],
    width: null,
    sha256: null,
    optimisation: 'all',
    threads: 1,
  });
  expect(session.batchTokens).toBe(batchTokens);
  await session.close();
});

it('batches only sequences of one length that is a multiple of 4, within the budget', () => {
  const lengths = [8, 30, 8, 8, 9, 9, 300, 8];
  const batches = planBatches(lengths, 24);
  expect(batches.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
  expect(batches).toEqual([[6], [1], [4], [5], [0, 2, 3], [7]]);
});
