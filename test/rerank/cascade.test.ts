import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { MaxSimError, type MaxSimErrorCode } from '../../dist/errors.js';
import { type CascadeRun, type RunnableStage, runCascade } from '../../dist/rerank/cascade.js';

/** A stage whose score of candidate p is `scores[p]`. */
function stage(
  name: string,
  scores: readonly number[],
  rest: Partial<RunnableStage> = {},
): RunnableStage & { read: number[][] } {
  const read: number[][] = [];
  return {
    name,
    keep: null,
    budgetMs: null,
    fuse: null,
    gated: false,
    known: null,
    strict: false,
    read,
    judge: (positions) => {
      read.push([...positions]);
      return Promise.resolve({
        scores: Float32Array.from(positions, (position) => scores[position] as number),
      });
    },
    ...rest,
  };
}

const broken = (code: MaxSimErrorCode) => () =>
  Promise.reject(new MaxSimError(code, 'It does not work.'));

function run(stages: readonly RunnableStage[], rest: Partial<CascadeRun> = {}) {
  const time = { since: performance.now(), until: Number.POSITIVE_INFINITY };
  return runCascade({ count: 5, stages, ...time, ...rest });
}

describe('the order', () => {
  it('is that of the last stage, on what the one before kept, then that of the one before', async () => {
    const late = stage('late', [1, 5, 4, 3, 2], { keep: 3 });
    const cross = stage('cross', [9, 0, 1, 2, 9]);
    const { order, scores, reports, degraded } = await run([late, cross]);
    expect(late.read).toEqual([[0, 1, 2, 3, 4]]);
    expect(cross.read).toEqual([[1, 2, 3]]);
    expect(order).toEqual([3, 2, 1, 4, 0]);
    expect(scores[3]).toEqual([
      { stage: 'late', score: 3, rank: 3 },
      { stage: 'cross', score: 2, rank: 1 },
    ]);
    expect(scores[0]).toEqual([{ stage: 'late', score: 1, rank: 5 }]);
    expect(
      reports.map(({ stage, candidates, scored, outcome }) => [stage, candidates, scored, outcome]),
    ).toEqual([
      ['late', 5, 5, 'ran'],
      ['cross', 3, 3, 'ran'],
    ]);
    expect(degraded).toBeNull();
  });

  it('keeps the previous rank where scores are equal', async () => {
    const { order } = await run([stage('late', [1, 2, 1, 2, 1]), stage('cross', [7, 7, 7, 7, 7])]);
    expect(order).toEqual([1, 3, 0, 2, 4]);
  });

  it('follows the fused scores, and reports the own ones', async () => {
    const sum = (previous: readonly (number | null)[], own: readonly number[]) =>
      own.map((score, i) => score + (previous[i] ?? 0));
    const { order, scores } = await run([
      stage('late', [10, 0, 0, 0, 0]),
      stage('cross', [0, 1, 2, 3, 4], { fuse: sum }),
    ]);
    expect(order).toEqual([0, 4, 3, 2, 1]);
    expect(scores[0]?.at(-1)).toEqual({ stage: 'cross', score: 0, rank: 1 });
  });

  it('is that which came in when there is nothing to do', async () => {
    expect((await run([])).order).toEqual([0, 1, 2, 3, 4]);
    expect((await run([stage('late', [])], { count: 0 })).order).toEqual([]);
  });
});

describe('a stage that scores only the first ones', () => {
  it('orders those, before the others', async () => {
    const { order, reports, degraded } = await run([
      stage('late', [5, 4, 3, 2, 1]),
      stage('cross', [1, 2, 3, Number.NaN, Number.NaN]),
    ]);
    expect(order).toEqual([2, 1, 0, 3, 4]);
    expect(reports[1]).toMatchObject({ scored: 3, outcome: 'partial', cause: 'deadline' });
    expect(degraded).toMatchObject({ stage: 'cross', cause: 'deadline' });
    expect(degraded?.message).toContain('3 of 5');
  });
});

describe('a stage that fails', () => {
  it.each<[MaxSimErrorCode, string]>([
    ['RERANKER_FAILED', 'error'],
    ['WORKER_FAILED', 'error'],
    ['INVALID_MODEL', 'error'],
    ['RERANKER_UNAVAILABLE', 'unavailable'],
    ['OVERLOADED', 'unavailable'],
    ['DEADLINE_EXCEEDED', 'deadline'],
  ])('%s leaves the order as it was, and says so', async (code, cause) => {
    const last = stage('last', [0, 0, 0, 0, 9], { keep: 5 });
    const { order, reports, degraded } = await run([
      stage('late', [1, 2, 3, 4, 5], { keep: 3 }),
      stage('cross', [], { keep: 2, judge: broken(code) }),
      last,
    ]);
    expect(last.read).toEqual([[4, 3]]); // what the failed one was to keep
    expect(order).toEqual([4, 3, 2, 1, 0]);
    expect(reports[1]).toMatchObject({ outcome: 'failed', cause, scored: 0 });
    expect(degraded).toMatchObject({ stage: 'cross', cause });
  });

  it.each<MaxSimErrorCode>(['INVALID_ARGUMENT', 'EMPTY_TEXT', 'CLOSED', 'CORRUPT_INDEX'])(
    '%s is thrown: no order can stand in',
    async (code) => {
      await expect(run([stage('cross', [], { judge: broken(code) })])).rejects.toMatchObject({
        code,
      });
    },
  );

  it('throws what it raises when told to be strict', async () => {
    const stages = [stage('cross', [], { strict: true, judge: broken('RERANKER_FAILED') })];
    await expect(run(stages)).rejects.toMatchObject({ code: 'RERANKER_FAILED' });
  });

  it('is one that gives a score that is not finite', async () => {
    const { order, reports } = await run([stage('cross', [1, 2, Number.POSITIVE_INFINITY, 4, 5])]);
    expect(order).toEqual([0, 1, 2, 3, 4]);
    expect(reports[0]).toMatchObject({ outcome: 'failed', cause: 'error' });
  });

  it('for want of time is no failure, however strict', async () => {
    const stages = [stage('cross', [], { strict: true, judge: broken('DEADLINE_EXCEEDED') })];
    expect(await run(stages)).toMatchObject({ degraded: { cause: 'deadline' } });
  });

  it('is one that gives another number of scores', async () => {
    const judge = () => Promise.resolve({ scores: Float32Array.of(1, 2) });
    const { reports } = await run([stage('cross', [], { judge })]);
    expect(reports[0]).toMatchObject({ outcome: 'failed', cause: 'error' });
  });
});

describe('candidates that are none', () => {
  it('leave the order, and no later stage reads them', async () => {
    const late = stage('late', [1, Number.NaN, 3, Number.NaN, 5], { keep: 2 });
    const judge: RunnableStage['judge'] = async (positions, options) => ({
      ...(await late.judge(positions, options)),
      absent: new Set([1, 3]),
    });
    const cross = stage('cross', [9, 9, 2, 9, 1]);
    const { order, reports, degraded } = await run([{ ...late, judge }, cross]);
    expect(cross.read).toEqual([[4, 2]]);
    expect(order).toEqual([2, 4, 0]);
    expect(reports[0]).toMatchObject({ candidates: 3, scored: 3, outcome: 'ran' });
    expect(degraded).toBeNull();
  });
});

it('a stage whose scores are known is not run, and needs no time', async () => {
  const late = stage('late', [], { known: Float32Array.of(1, 2, 3, 4, 5) });
  const { order, reports } = await run([late, stage('cross', [9, 0, 0, 0, 0])], { until: 0 });
  expect(late.read).toEqual([]);
  expect(order).toEqual([4, 3, 2, 1, 0]);
  expect(reports.map(({ outcome }) => outcome)).toEqual(['ran', 'failed']);
});

describe('time', () => {
  const never = () => new Promise<never>(() => {});

  it('that a stage may take ends it, and leaves the rest to the others', async () => {
    const last = stage('last', [0, 0, 9, 0, 0]);
    const { order, degraded } = await run([
      stage('slow', [], { budgetMs: 10, judge: never }),
      last,
    ]);
    expect(order[0]).toBe(2);
    expect(degraded).toMatchObject({ stage: 'slow', cause: 'deadline' });
  });

  it('that is up is up for all: later stages are not asked', async () => {
    const last = stage('last', [0, 0, 9, 0, 0]);
    const { order, reports } = await run([stage('slow', [], { judge: never }), last], {
      until: performance.now() + 10,
    });
    expect(order).toEqual([0, 1, 2, 3, 4]);
    expect(last.read).toEqual([]);
    expect(reports.map(({ outcome, cause }) => [outcome, cause])).toEqual([
      ['failed', 'deadline'],
      ['failed', 'deadline'],
    ]);
  });

  it('ends with the signal: ABORTED, and the stage is told', async () => {
    const controller = new AbortController();
    let told: AbortSignal | undefined;
    const judge: RunnableStage['judge'] = (_, { signal }) => {
      told = signal;
      return never();
    };
    const pending = run([stage('slow', [], { judge })], { signal: controller.signal });
    await sleep(1);
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'ABORTED' });
    expect(told?.aborted).toBe(true);
  });
});

describe('the gate', () => {
  it('is asked once, with the order so far, and skips what is gated', async () => {
    const cross = stage('cross', [9, 0, 0, 0, 0], { gated: true });
    const llm = stage('llm', [9, 0, 0, 0, 0], { gated: true });
    const asked: number[][] = [];
    const { order, reports, degraded } = await run([stage('late', [1, 2, 3, 4, 5]), cross, llm], {
      gate: ({ order }) => asked.push([...order]) > 0,
    });
    expect(asked).toEqual([[4, 3, 2, 1, 0]]);
    expect(order).toEqual([4, 3, 2, 1, 0]);
    expect(cross.read).toEqual([]);
    expect(reports.map(({ outcome }) => outcome)).toEqual(['ran', 'skipped', 'skipped']);
    expect(degraded).toBeNull();
  });

  it('that is not sure skips nothing', async () => {
    const cross = stage('cross', [9, 0, 0, 0, 0], { gated: true });
    const { order } = await run([stage('late', [1, 2, 3, 4, 5]), cross], { gate: () => false });
    expect(order[0]).toBe(0);
  });
});

it('passes on what a stage says of its scores', async () => {
  const judge: RunnableStage['judge'] = (positions) =>
    Promise.resolve({
      scores: Float32Array.from(positions, (position) => position),
      explanations: positions.map((position) => (position === 1 ? null : `because ${position}`)),
    });
  const { explanations } = await run([stage('llm', [], { judge })]);
  expect([...explanations]).toEqual([
    [0, 'because 0'],
    [2, 'because 2'],
    [3, 'because 3'],
    [4, 'because 4'],
  ]);
});
