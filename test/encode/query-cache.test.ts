import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { QueryCache } from '../../dist/encode/query-cache.js';
import { MaxSimError } from '../../dist/errors.js';
import type { EncodedText, EncodeOptions, Encoder } from '../../dist/types.js';

/** Encodes a text as its length, when it is told to. */
class Puppet implements Encoder {
  readonly dim = 8;
  readonly fingerprint = 'puppet';
  readonly recipe = {};
  asked: string[][] = [];
  signals: (AbortSignal | undefined)[] = [];
  release: ((error?: Error) => void)[] = [];
  waits = false;

  async encodeQueries(
    texts: readonly string[],
    options: EncodeOptions = {},
  ): Promise<EncodedText[]> {
    this.asked.push([...texts]);
    this.signals.push(options.signal);
    if (this.waits)
      await new Promise<void>((resolve, reject) =>
        this.release.push((error) => (error === undefined ? resolve() : reject(error))),
      );
    return texts.map((text) => ({
      vectors: new Float32Array(8).fill(text.length),
      tokenCount: 1,
      truncatedTokens: 0,
    }));
  }

  encodeDocuments(texts: readonly string[]): Promise<EncodedText[]> {
    return this.encodeQueries(texts);
  }
}

function open(maxBytes = 1 << 20): { puppet: Puppet; cache: QueryCache } {
  const puppet = new Puppet();
  return { puppet, cache: new QueryCache(puppet, maxBytes) };
}

const first = (encoded: EncodedText[]): number | undefined => encoded[0]?.vectors[0];

it('encodes a query once, and a batch for what it lacks of it', async () => {
  const { puppet, cache } = open();
  await cache.encodeQueries(['a']);
  const encoded = await cache.encodeQueries(['bb', 'a', 'ccc', 'bb']);
  expect(encoded.map(({ vectors }) => vectors[0])).toEqual([2, 1, 3, 2]);
  expect(puppet.asked).toEqual([['a'], ['bb', 'ccc']]);
  expect(cache.stats()).toMatchObject({ hits: 1, misses: 3, shared: 0, entries: 3 });
});

it('is not changed by what is done to its results', async () => {
  const { cache } = open();
  for (let i = 0; i < 2; i++) {
    const [encoded] = await cache.encodeQueries(['a']);
    expect(encoded?.vectors[0]).toBe(1);
    encoded?.vectors.fill(99);
  }
  const [one, other] = await cache.encodeQueries(['b', 'b']);
  expect(one?.vectors.buffer).not.toBe(other?.vectors.buffer);
});

it('the same query asked at once is encoded once, for all', async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const all = [cache.encodeQueries(['a']), cache.encodeQueries(['a']), cache.encodeQueries(['a'])];
  await sleep(1);
  expect(puppet.asked).toEqual([['a']]);
  puppet.release[0]?.();
  expect((await Promise.all(all)).map(first)).toEqual([1, 1, 1]);
  expect(cache.stats()).toMatchObject({ misses: 1, shared: 2 });
});

it('one who gives up leaves it to the others; the last one stops it', async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const controllers = [new AbortController(), new AbortController()];
  const [one, other] = controllers.map(({ signal }) => cache.encodeQueries(['a'], { signal }));
  await sleep(1);
  controllers[0]?.abort();
  await expect(one).rejects.toMatchObject({ code: 'ABORTED' });
  expect(puppet.signals[0]?.aborted).toBe(false);
  controllers[1]?.abort();
  await expect(other).rejects.toMatchObject({ code: 'ABORTED' });
  expect(puppet.signals[0]?.aborted).toBe(true);
  // Who comes then gets a new one.
  puppet.waits = false;
  expect(first(await cache.encodeQueries(['a']))).toBe(1);
});

it('remembers no failure', async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const attempt = cache.encodeQueries(['a']);
  await sleep(1);
  puppet.release[0]?.(new MaxSimError('WORKER_FAILED', 'It died.'));
  await expect(attempt).rejects.toMatchObject({ code: 'WORKER_FAILED' });
  puppet.waits = false;
  expect(first(await cache.encodeQueries(['a']))).toBe(1);
});

it("another's deadline is not one's own", async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const hasty = cache.encodeQueries(['a'], { deadlineMs: 1 });
  const patient = cache.encodeQueries(['a']);
  await sleep(1);
  puppet.waits = false;
  puppet.release[0]?.(new MaxSimError('DEADLINE_EXCEEDED', 'Too late.'));
  await expect(hasty).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  expect(first(await patient)).toBe(1);
});

it("another's list that fails is not one's own", async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const list = cache.encodeQueries(['a', ' ']);
  const single = cache.encodeQueries(['a']);
  puppet.waits = false;
  puppet.release[0]?.(new MaxSimError('EMPTY_TEXT', 'texts[1] must hold some text.'));
  await expect(list).rejects.toMatchObject({ code: 'EMPTY_TEXT' });
  expect(first(await single)).toBe(1);
  expect(puppet.asked).toEqual([['a', ' '], ['a']]);
});

it('what all gave up is encoded anew, and its late end does not disturb who waits now', async () => {
  const { puppet, cache } = open();
  puppet.waits = true;
  const controller = new AbortController();
  const dropped = cache.encodeQueries(['a'], { signal: controller.signal });
  controller.abort();
  await expect(dropped).rejects.toMatchObject({ code: 'ABORTED' });
  const next = cache.encodeQueries(['a']);
  puppet.release[0]?.(new MaxSimError('ABORTED', 'The operation was aborted by its signal.'));
  await sleep(1);
  const beside = cache.encodeQueries(['a']);
  puppet.release[1]?.();
  expect([first(await next), first(await beside)]).toEqual([1, 1]);
  expect(puppet.asked).toEqual([['a'], ['a']]);
});

it('forgets the oldest when it has too many bytes', async () => {
  const { puppet, cache } = open(2 * 300);
  for (const text of ['a', 'b', 'a', 'c']) await cache.encodeQueries([text]);
  expect(cache.stats().sizeBytes).toBeLessThanOrEqual(600);
  await cache.encodeQueries(['a']);
  await cache.encodeQueries(['b']);
  expect(puppet.asked.flat()).toEqual(['a', 'b', 'c', 'b']);
});

it('a signal that has fired: ABORTED, and nobody is asked', async () => {
  const { puppet, cache } = open();
  const attempt = cache.encodeQueries(['a'], { signal: AbortSignal.abort() });
  await expect(attempt).rejects.toMatchObject({ code: 'ABORTED' });
  expect(puppet.asked).toEqual([]);
});
