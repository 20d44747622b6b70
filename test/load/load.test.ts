import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  arrivals,
  findCapacity,
  httpTarget,
  Latencies,
  type LoadTarget,
  type Outcome,
  openLoop,
  runLab,
  workload,
} from '../../dist/load/load.js';

const request = () => ({ query: 'q', ids: ['a'] });
const common = { request, arrivals: 'constant', seed: 1, warmUpSeconds: 0.2 } as const;

function targetOf(send: (i: number) => Promise<Outcome>): LoadTarget {
  let i = 0;
  return { name: 'target', send: () => send(i++), async close() {} };
}

/** Answers one after the other, each after so many milliseconds of its own. */
function serial(ms: number): LoadTarget {
  let last = Promise.resolve();
  return targetOf(async () => {
    const mine = last.then(() => new Promise<void>((resolve) => setTimeout(resolve, ms)));
    last = mine;
    await mine;
    return 'ok';
  });
}

describe('arrivals', () => {
  it('are even, or as of people who know nothing of each other', () => {
    expect([...arrivals('constant', 4, 1, 1)]).toEqual([250, 500, 750]);
    const poisson = [...arrivals('poisson', 100, 100, 1)];
    expect(Math.abs(poisson.length - 10_000)).toBeLessThan(500); // five deviations
    expect([...poisson].sort((a, b) => a - b)).toEqual(poisson);
    const gaps = poisson.map((at, i) => at - (poisson[i - 1] ?? 0));
    // Of an exponential law the share above the mean is 1/e.
    const above = gaps.filter((gap) => gap > 10).length / gaps.length;
    expect(above).toBeGreaterThan(0.33);
    expect(above).toBeLessThan(0.41);
    expect([...arrivals('poisson', 100, 100, 1)]).toEqual(poisson);
    expect([...arrivals('poisson', 100, 100, 2)]).not.toEqual(poisson);
  });
});

it('percentiles that few requests lie above are not given', () => {
  const latencies = new Latencies();
  for (let i = 1; i <= 2000; i++) latencies.record(i);
  expect(latencies.percentileMs(50)).toBeCloseTo(1000, -1);
  expect(latencies.percentileMs(99)).toBeCloseTo(1980, -1);
  expect(latencies.percentileMs(99.9)).toBeNull();
  expect(latencies.hgrm()).toContain('#[Mean');
  expect(new Latencies().percentileMs(50)).toBeNull();
});

describe('a workload', () => {
  const queries = ['a', 'b', 'c', 'd'].map((id) => ({ id, text: `text of ${id}` }));
  const ids = Array.from({ length: 50 }, (_, i) => `d${i}`);
  const options = { queries, ids, candidateCount: 5, seed: 3 };

  it('asks some queries more often, by Zipf', () => {
    const next = workload({ ...options, zipf: 1 });
    const counts = new Map<string, number>();
    for (let i = 0; i < 5000; i++) {
      const { query } = next(i);
      counts.set(query, (counts.get(query) ?? 0) + 1);
    }
    const [first = 0, second = 0, , fourth = 0] = queries.map(({ text }) => counts.get(text) ?? 0);
    expect(first / second).toBeGreaterThan(1.7);
    expect(first / second).toBeLessThan(2.3);
    expect(first / fourth).toBeGreaterThan(3.4);
    expect(next(17)).toEqual(workload({ ...options, zipf: 1 })(17));
  });

  it('takes candidates of a run, or draws them', () => {
    const candidates = new Map([['a', ['x', 'y', 'z']]]);
    const only = queries.slice(0, 1);
    const given = workload({ ...options, queries: only, candidates, candidateCount: 2, zipf: 0 });
    expect(given(0).ids).toEqual(['x', 'y']);
    const drawn = workload({ ...options, zipf: 0 })(0).ids;
    expect(new Set(drawn).size).toBe(5);
    expect(() => workload({ ...options, ids: [], zipf: 0 })).toThrow('no candidates');
    expect(() => workload({ ...options, queries: [], zipf: 0 })).toThrow('needs a query');
  });
});

describe('an open loop', () => {
  it('counts outcomes, and times answers only', async () => {
    const outcomes: Outcome[] = ['ok', 'degraded', 'shed', 'failed'];
    const target = targetOf(async (i) => outcomes[i % 4] as Outcome);
    const { report, latencies } = await openLoop({
      ...common,
      target,
      ratePerSecond: 200,
      seconds: 1,
    });
    const { ok, degraded, shed, failed } = report.outcomes;
    expect(ok + degraded + shed + failed).toBe(report.sent);
    expect(
      Math.max(ok, degraded, shed, failed) - Math.min(ok, degraded, shed, failed),
    ).toBeLessThanOrEqual(1);
    expect(latencies.count).toBe(ok + degraded);
    expect(report.unstable).toBeNull();
  });

  it('times from when a request was due, and refuses percentiles of a queue that grows', async () => {
    const { report, latencies } = await openLoop({
      ...common,
      target: serial(10),
      ratePerSecond: 300,
      seconds: 0.5,
    });
    expect(report.unstable).toContain('the queue grew');
    expect(report.waiting.atEnd).toBeGreaterThan(60);
    // The last of some 210 waited for those before it: 10 ms each, less what arriving took.
    expect(latencies.maxMs).toBeGreaterThan(1000);
  }, 20_000);

  it('ends where a target gives up nothing', async () => {
    let release = (): void => {};
    const open = new Promise<void>((resolve) => {
      release = resolve;
    });
    const target = targetOf(async (i) => {
      if (i === 19) setTimeout(release, 50);
      await open;
      return 'ok';
    });
    const options = { ...common, target, ratePerSecond: 200, seconds: 5, mostUnderWay: 20 };
    const { report } = await openLoop(options);
    expect(report.unstable).toContain('20 requests were under way');
  });

  it('stops when it is told to', async () => {
    const signal = AbortSignal.timeout(100);
    const target = targetOf(async () => 'ok');
    await expect(
      openLoop({ ...common, target, ratePerSecond: 50, seconds: 60, signal }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

it('capacity is a rate that is kept, below one that is not', async () => {
  const options = { ...common, target: serial(10), seconds: 0.3, warmUpSeconds: 0.1, sloMs: 100 };
  const { ratePerSecond, probes } = await findCapacity(options);
  // At most one in ten milliseconds, whatever the machine is at.
  expect(ratePerSecond).toBeGreaterThan(0);
  expect(ratePerSecond).toBeLessThan(130);
  expect(probes.some(({ kept }) => kept)).toBe(true);
  const broken = probes.filter(({ kept }) => !kept);
  expect(broken.length).toBeGreaterThan(0);
  for (const { why, ratePerSecond: rate } of broken) {
    expect(why).not.toBeNull();
    expect(rate).toBeGreaterThan(ratePerSecond);
  }
}, 60_000);

it('a lab lets targets take turns, and says what it saw of each', async () => {
  const turns: string[] = [];
  const named = (name: string, outcome: Outcome): LoadTarget => ({
    ...targetOf(async () => outcome),
    name,
  });
  const { report, histograms } = await runLab({
    ...common,
    targets: [named('one', 'ok'), named('two', 'degraded')],
    sloMs: 100,
    utilisations: [],
    rates: [100],
    seconds: 0.3,
    repeats: 2,
    onRun: (target, _, repeat) => turns.push(`${target} ${repeat}`),
  });
  expect(turns).toEqual(['one 0', 'two 0', 'one 1', 'two 1']);
  expect(histograms.map(({ target }) => target)).toEqual(['one', 'two']);
  const [one, two] = report.targets;
  expect(one?.steps[0]).toMatchObject({ ratePerSecond: 100, okShare: 1, unstable: null });
  expect(one?.steps[0]?.latencyMs.p50).not.toBeNull();
  expect(one?.steps[0]?.latencyMs['p99.9']).toBeNull();
  expect(two?.steps[0]?.okShare).toBe(0);
});

describe('a URL', () => {
  let server: Server;
  let url: string;
  const seen: unknown[] = [];
  beforeAll(async () => {
    server = createServer((incoming, response) => {
      let body = '';
      incoming.on('data', (piece) => {
        body += piece;
      });
      incoming.on('end', () => {
        seen.push({ body: JSON.parse(body), key: incoming.headers.authorization });
        const path = incoming.url ?? '';
        response.statusCode = Number(path.slice(1)) || 200;
        if (path === '/cut') incoming.socket.destroy();
        else response.end(JSON.stringify({ degraded: path === '/degraded' ? 'late' : null }));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => server.close());

  it.each([
    ['ok', 'ok'],
    ['degraded', 'degraded'],
    ['429', 'shed'],
    ['503', 'shed'],
    ['500', 'failed'],
    ['404', 'failed'],
    ['cut', 'failed'],
  ])('that answers %s is %s', async (path, outcome) => {
    const target = httpTarget(`${url}/${path}`, { headers: { authorization: 'Bearer key' } });
    expect(await target.send({ query: 'q', ids: ['a', 'b'] })).toBe(outcome);
    expect(seen.at(-1)).toEqual({ body: { query: 'q', doc_ids: ['a', 'b'] }, key: 'Bearer key' });
    await target.close();
  });

  it('where nobody listens is failed', async () => {
    const target = httpTarget('http://127.0.0.1:9/');
    expect(await target.send({ query: 'q', ids: [] })).toBe('failed');
    await target.close();
  });
});
