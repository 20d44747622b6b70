import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { MaxSimError } from '../../dist/errors.js';
import { type ResilienceOptions, ResilientReranker } from '../../dist/rerank/resilient-reranker.js';
import type { Judgement, JudgeOptions, Reranker } from '../../dist/types.js';

/** Does what it is told next, and counts. */
class Puppet implements Reranker {
  readonly name = 'puppet';
  readonly fingerprint = 'puppet';
  asked = 0;
  signals: (AbortSignal | undefined)[] = [];
  act: (call: number, options?: JudgeOptions) => Promise<Judgement> = () => Promise.resolve(GOOD);

  judge(_: string, __: readonly string[], options?: JudgeOptions): Promise<Judgement> {
    this.signals.push(options?.signal);
    return this.act(this.asked++, options);
  }
}

const GOOD: Judgement = { scores: Float32Array.of(1) };
const bad = (): Promise<never> =>
  Promise.reject(new MaxSimError('RERANKER_FAILED', 'It is broken.'));
const silent = (): Promise<never> => new Promise(() => {});

function open(options?: ResilienceOptions): { puppet: Puppet; reranker: ResilientReranker } {
  const puppet = new Puppet();
  return { puppet, reranker: new ResilientReranker(puppet, options) };
}

async function code(attempt: Promise<unknown>): Promise<string> {
  return await attempt.then(
    () => 'ok',
    (error: MaxSimError) => error.code,
  );
}

const ask = (reranker: Reranker, options?: JudgeOptions): Promise<string> =>
  code(reranker.judge('q', ['d'], options));

it('stops asking after failures in a row, tries again after a while, and recovers', async () => {
  const { puppet, reranker } = open({ failures: 3, openMs: 60 });
  puppet.act = bad;
  for (let i = 0; i < 3; i++) expect(await ask(reranker)).toBe('RERANKER_FAILED');
  expect(reranker.stats().breaker).toBe('open');
  expect(await ask(reranker)).toBe('RERANKER_UNAVAILABLE');
  expect(puppet.asked).toBe(3);
  await sleep(80);
  expect(await ask(reranker)).toBe('RERANKER_FAILED'); // the trial fails: open again at once
  expect(await ask(reranker)).toBe('RERANKER_UNAVAILABLE');
  expect(puppet.asked).toBe(4);
  await sleep(80);
  puppet.act = () => Promise.resolve(GOOD);
  expect(await ask(reranker)).toBe('ok');
  expect(reranker.stats()).toMatchObject({
    breaker: 'closed',
    calls: { succeeded: 1, failed: 4, notAsked: 2 },
  });
});

it('a success between failures keeps the breaker closed', async () => {
  const { puppet, reranker } = open({ failures: 2 });
  puppet.act = (call) => (call % 2 === 0 ? bad() : Promise.resolve(GOOD));
  for (let i = 0; i < 6; i++) await ask(reranker);
  expect(reranker.stats().breaker).toBe('closed');
});

it('is not waited for beyond the budget, is told so, and being late counts as a failure', async () => {
  const { puppet, reranker } = open({ failures: 2 });
  puppet.act = silent;
  expect(await ask(reranker, { budgetMs: 15 })).toBe('DEADLINE_EXCEEDED');
  expect(puppet.signals[0]?.aborted).toBe(true);
  expect(await ask(reranker, { budgetMs: 15 })).toBe('DEADLINE_EXCEEDED');
  expect(await ask(reranker, { budgetMs: 15 })).toBe('RERANKER_UNAVAILABLE');
  expect(reranker.stats().calls).toMatchObject({ late: 2, notAsked: 1 });
});

it('what it hands over when it is told that time is up counts', async () => {
  const { puppet, reranker } = open();
  const partial = { scores: Float32Array.of(Number.NaN) };
  puppet.act = (_, options) =>
    new Promise((resolve) => {
      options?.signal?.addEventListener('abort', () => resolve(partial));
    });
  expect(await reranker.judge('q', ['d'], { budgetMs: 15 })).toBe(partial);
  expect(puppet.signals[0]?.reason).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  expect(reranker.stats().calls).toMatchObject({ succeeded: 1, late: 0 });
});

it('one that says it was aborted when its time is up was late all the same', async () => {
  const { puppet, reranker } = open({ failures: 1 });
  puppet.act = (_, options) =>
    new Promise((_resolve, reject) => {
      options?.signal?.addEventListener('abort', () =>
        reject(new MaxSimError('ABORTED', 'It was aborted.')),
      );
    });
  expect(await ask(reranker, { budgetMs: 15 })).toBe('DEADLINE_EXCEEDED');
  expect(reranker.stats()).toMatchObject({ breaker: 'open', calls: { late: 1, aborted: 0 } });
});

it('garbage for scores, or a throw instead of a promise, is a failure like any other', async () => {
  const { puppet, reranker } = open({ failures: 4 });
  const answers = [null, { scores: [1] }, { scores: Float32Array.of(1, 2) }, undefined];
  puppet.act = (call) => {
    if (call === 3) throw new TypeError('not even a promise');
    return answers[call] as never;
  };
  for (let i = 0; i < 4; i++) expect(await ask(reranker)).toBe('RERANKER_FAILED');
  expect(reranker.stats()).toMatchObject({ breaker: 'open', calls: { failed: 4 } });
});

it('a call that never had enough time does not count against it', async () => {
  const { puppet, reranker } = open({ failures: 1 });
  puppet.act = silent;
  expect(await ask(reranker, { budgetMs: 5 })).toBe('DEADLINE_EXCEEDED');
  expect(reranker.stats().breaker).toBe('closed');
  Object.assign(puppet, { leastBudgetMs: 2000 });
  const picky = new ResilientReranker(puppet, { failures: 1 });
  expect(await ask(picky, { budgetMs: 1500 })).toBe('DEADLINE_EXCEEDED');
  expect([puppet.asked, picky.stats().breaker]).toEqual([1, 'closed']);
});

it('a call with no time left is late without being asked', async () => {
  const { puppet, reranker } = open();
  expect(await ask(reranker, { budgetMs: 0 })).toBe('DEADLINE_EXCEEDED');
  expect(puppet.asked).toBe(0);
});

it("the caller's own doing opens nothing: aborts and bad arguments", async () => {
  const { puppet, reranker } = open({ failures: 1 });
  puppet.act = silent;
  const controller = new AbortController();
  const pending = ask(reranker, { signal: controller.signal });
  controller.abort();
  expect(await pending).toBe('ABORTED');
  puppet.act = () => Promise.reject(new MaxSimError('EMPTY_TEXT', 'There is no query.'));
  expect(await ask(reranker)).toBe('EMPTY_TEXT');
  expect(reranker.stats().breaker).toBe('closed');
});

it('errors of other kinds become RERANKER_FAILED, with their cause', async () => {
  const { puppet, reranker } = open();
  puppet.act = () => Promise.reject(new TypeError('x is undefined'));
  await expect(reranker.judge('q', ['d'])).rejects.toMatchObject({
    code: 'RERANKER_FAILED',
    message: expect.stringContaining('x is undefined'),
  });
});

it('bounds the calls at the same time and those that wait', async () => {
  const { puppet, reranker } = open({ concurrency: 2, waiting: 1 });
  const release: (() => void)[] = [];
  puppet.act = () => new Promise((resolve) => release.push(() => resolve(GOOD)));
  const calls = [1, 2, 3].map(() => ask(reranker));
  await sleep(5);
  expect(puppet.asked).toBe(2);
  expect(await ask(reranker)).toBe('RERANKER_UNAVAILABLE');
  release[0]?.();
  await sleep(5);
  expect(puppet.asked).toBe(3);
  for (const end of release) end();
  expect(await Promise.all(calls)).toEqual(['ok', 'ok', 'ok']);
});

it('a call that waits too long for its turn is late, and keeps its deadline', async () => {
  const { puppet, reranker } = open({ concurrency: 1, failures: 1 });
  puppet.act = silent;
  const first = ask(reranker, { budgetMs: 120 });
  expect(await ask(reranker, { budgetMs: 20 })).toBe('DEADLINE_EXCEEDED');
  expect(reranker.stats().calls.succeeded).toBe(0);
  expect(await first).toBe('DEADLINE_EXCEEDED');
});

it('asks a second time beside a slow call, within its share, and aborts the loser', async () => {
  const { puppet, reranker } = open({ hedge: { share: 0.05, leastMs: 5 } });
  for (let i = 0; i < 40; i++) await ask(reranker); // two tokens, and an idea of what is slow
  expect(reranker.stats().hedged).toBe(0);
  puppet.act = (call) => (call % 2 === 0 ? silent() : Promise.resolve(GOOD));
  expect(await ask(reranker, { budgetMs: 2000 })).toBe('ok');
  expect(reranker.stats().hedged).toBe(1);
  expect(puppet.signals.at(-2)?.aborted).toBe(true);
  // A service that is slow as a whole spends the bucket, and no more.
  puppet.act = silent;
  for (let i = 0; i < 4; i++) await ask(reranker, { budgetMs: 15 });
  expect(reranker.stats().hedged).toBeLessThanOrEqual(2);
});

it('a hedged call fails only when neither request is left', async () => {
  const { puppet, reranker } = open({ hedge: { share: 1, leastMs: 1 } });
  for (let i = 0; i < 20; i++) await ask(reranker);
  puppet.act = async (call) => {
    if (call % 2 === 1) return bad();
    await sleep(30);
    return GOOD;
  };
  expect(await ask(reranker)).toBe('ok');
  puppet.act = bad;
  expect(await ask(reranker)).toBe('RERANKER_FAILED');
});

it.each([
  { failures: 0 },
  { openMs: -1 },
  { concurrency: 0 },
  { hedge: { share: 2 } },
  { hedge: { percentile: 10 } },
  { breaker: true } as never,
])('%o: INVALID_ARGUMENT', (options) => {
  expect(() => open(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
});
