import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { trace } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Candidate,
  cascade,
  crossEncoder,
  Engine,
  fitFloor,
  Gate,
  type Judgement,
  type JudgeOptions,
  LlmReranker,
  lateInteraction,
  MaxSimError,
  RemoteReranker,
  type Reranker,
  type RerankRecord,
  reranker,
  type ShadowRecord,
} from '../../dist/maxsim.js';
import { Service, status } from '../rerank/service.js';

const PASSAGES = [
  { id: 'price', text: 'The enterprise plan costs 40 dollars per seat and month, billed yearly.' },
  { id: 'leave', text: 'Parental leave is sixteen weeks, paid in full, in one part or two.' },
  { id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
  { id: 'laptop', text: 'A stolen laptop must be reported to the security desk within two hours.' },
  { id: 'meals', text: 'Meals above 40 euros need a receipt and the approval of a manager.' },
];
const IDS = PASSAGES.map(({ id }) => id);
const QUESTION = 'can I fly business class to Tokyo?';

let root: string;
let engine: Engine;
let service: Service;
const records: (RerankRecord | ShadowRecord)[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-pipeline-'));
  const logger = { info: (record: RerankRecord | ShadowRecord) => records.push(record) };
  engine = await Engine.open(join(root, 'policies'), { threads: 1, logger });
  await engine.add([...PASSAGES, { id: 'wordless', vectors: new Float32Array(96).fill(0.1) }]);
  await engine.prepare(cascade([lateInteraction(), crossEncoder()]));
  service = await Service.start();
});

afterAll(async () => {
  service.stop();
  await engine.close();
  await rm(root, { recursive: true, force: true });
});

beforeEach(() => {
  records.length = 0;
  service.reset();
});

/** A reranker of one's own: prefers later candidates, or does as it is told. */
class Own implements Reranker {
  readonly fingerprint = 'own:1';
  asked = 0;
  act: (documents: readonly string[], options: JudgeOptions) => Promise<Judgement>;

  constructor(
    readonly name = 'own',
    act?: Own['act'],
  ) {
    this.act = act ?? ((texts) => Promise.resolve({ scores: Float32Array.from(texts.keys()) }));
  }

  judge(_: string, documents: readonly string[], options: JudgeOptions = {}): Promise<Judgement> {
    this.asked += 1;
    return this.act(documents, options);
  }
}

const silent = (): Promise<never> => new Promise(() => {});
const broken = (): Promise<never> =>
  Promise.reject(new MaxSimError('RERANKER_FAILED', 'It is broken.'));
const thrown = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'nothing',
    (error: MaxSimError) => error.code,
  );

describe('a cascade', () => {
  it('of late interaction and cross-encoder gives hits with the evidence of both', async () => {
    const pipeline = cascade([lateInteraction({ keep: 3 }), crossEncoder({ topK: 2 })]);
    const result = await engine.rerank(QUESTION, IDS, { pipeline });
    const { hits, degraded, stages, verdict, gate, timings } = result;
    expect(hits.map(({ id }) => id)[0]).toBe('travel');
    expect(hits).toHaveLength(2);
    expect(hits[0]?.scores.map(({ stage }) => stage)).toEqual([
      'late-interaction',
      'cross-encoder',
    ]);
    expect([degraded, verdict, gate]).toEqual([null, null, null]);
    expect(stages).toMatchObject([
      { stage: 'late-interaction', candidates: 5, scored: 5, outcome: 'ran', cause: null },
      { stage: 'cross-encoder', candidates: 3, scored: 3, outcome: 'ran', cause: null },
    ]);
    expect(timings.crossEncoderMs).toBe(stages[1]?.ms);
    const short = await engine.rerank(QUESTION, IDS, { crossEncoder: { keep: 3 }, topK: 2 });
    expect(short.hits).toEqual(hits);
  });

  it('takes ids, texts and vectors, and names what the index does not hold', async () => {
    const pipeline = cascade([lateInteraction({ keep: 2 }), reranker(new Own())]);
    const list = ['no-such', { id: 'new', text: 'Economy class it is.' }, 'travel', 'wordless'];
    const { hits, unknownIds, stages } = await engine.rerank(QUESTION, list, { pipeline });
    expect(unknownIds).toEqual(['no-such']);
    expect(hits.map(({ id }) => id)).toEqual(['new', 'travel', 'wordless']);
    expect(stages.map(({ candidates }) => candidates)).toEqual([3, 2]);
    const wide = cascade([lateInteraction(), reranker(new Own())]);
    const error = await thrown(engine.rerank(QUESTION, ['wordless'], { pipeline: wide }));
    expect(error).toBe('INVALID_ARGUMENT'); // vectors alone cannot be read
  });

  it('may do without late interaction', async () => {
    const pipeline = cascade([crossEncoder()], { topK: 1 });
    const { hits, unknownIds } = await engine.rerank(QUESTION, ['none', ...IDS], { pipeline });
    expect(hits.map(({ id, stage }) => [id, stage])).toEqual([['travel', 'cross-encoder']]);
    expect(unknownIds).toEqual(['none']);
  });

  it('fuses an order with the one before', async () => {
    const last = new Own('last', (texts) =>
      Promise.resolve({ scores: Float32Array.from(texts, (text) => (/leave/.test(text) ? 9 : 0)) }),
    );
    const fuse = { method: 'weighted', weights: [1, 0.1] } as const;
    const pipeline = cascade([lateInteraction(), reranker(last, { fuse })]);
    const { hits } = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(hits[0]?.id).toBe('travel');
    const alone = cascade([lateInteraction(), reranker(last)]);
    expect((await engine.rerank(QUESTION, IDS, { pipeline: alone })).hits[0]?.id).toBe('leave');
    const none = { method: 'weighted', weights: [0, 0] } as const;
    expect(() => reranker(last, { fuse: none })).toThrow(/not both 0/);
  });

  it('follows a search, whose hits are its candidates', async () => {
    const pipeline = cascade([lateInteraction({ keep: 4 }), crossEncoder()], { topK: 1 });
    const { hits, plan, stages } = await engine.search(QUESTION, { pipeline });
    expect(hits.map(({ id, stage }) => [id, stage])).toEqual([['travel', 'cross-encoder']]);
    expect(plan.documents).toBe(6);
    expect(stages.map(({ scored }) => scored)).toEqual([4, 4]);
    // What was found has its scores, however late it is.
    const late = cascade([lateInteraction({ keep: 4 }), crossEncoder()], { deadlineMs: 0.001 });
    const found = await engine.search(QUESTION, { pipeline: late });
    expect(found.hits[0]).toMatchObject({ stage: 'late-interaction', score: expect.any(Number) });
    expect(found.degraded).toMatchObject({ stage: 'cross-encoder', cause: 'deadline' });
    const without = cascade([crossEncoder()]);
    expect(await thrown(engine.search(QUESTION, { pipeline: without }))).toBe('INVALID_ARGUMENT');
  });

  it('asks services and chat models, and passes on their reasons', async () => {
    const cohere = new RemoteReranker({ provider: 'cohere', model: 'm', url: service.url });
    const { hits } = await engine.rerank(QUESTION, IDS, {
      pipeline: cascade([lateInteraction({ keep: 3 }), reranker(cohere, { topK: 1 })]),
    });
    expect(hits[0]).toMatchObject({ id: 'travel', stage: 'cohere', score: 3 });
    const grade = { content: '{"grade": 7, "reason": "It says so."}' };
    service.mishap = (response) => response.end(JSON.stringify({ choices: [{ message: grade }] }));
    const llm = new LlmReranker({ model: 'm', url: service.url, explain: true });
    const stages = [lateInteraction({ keep: 2 }), reranker(llm)];
    const explained = await engine.rerank(QUESTION, IDS, { pipeline: cascade(stages) });
    expect(explained.hits.map(({ reason }) => reason)).toEqual([
      ...['It says so.', 'It says so.'],
      ...[undefined, undefined, undefined],
    ]);
    expect(() => cascade(stages, { deadlineMs: 1000 })).toThrow(/2000 or more/);
    const late = engine.rerank(QUESTION, IDS, { pipeline: cascade(stages), deadlineMs: 1000 });
    expect(await thrown(late)).toBe('INVALID_ARGUMENT');
  });
});

describe("a first stage's scores", () => {
  const pipeline = cascade([reranker(new Own('broken', broken))]);
  const order = async (kind: 'distance' | 'similarity'): Promise<string[]> => {
    const values = [0.5, 0.1, 0.9];
    const list = values.map(
      (value, i): Candidate => ({ id: IDS[i] as string, score: { value, kind } }),
    );
    const { hits } = await engine.rerank(QUESTION, list, { pipeline });
    expect(hits[0]?.scores[0]).toMatchObject({ stage: 'first-stage', rank: 1 });
    expect(hits[0]?.scores[0]?.kind).toBe(kind === 'distance' ? 'distance' : undefined);
    return hits.map(({ id }) => id);
  };

  it('order the candidates, distances the other way round than similarities', async () => {
    expect(await order('similarity')).toEqual(['travel', 'price', 'leave']);
    expect(await order('distance')).toEqual(['leave', 'price', 'travel']);
  });

  it.each<[string, unknown[]]>([
    ['a number alone', [{ id: 'price', score: 0.5 }]],
    ['no kind', [{ id: 'price', score: { value: 0.5 } }]],
    ['NaN', [{ id: 'price', score: { value: Number.NaN, kind: 'distance' } }]],
    ['some without', [{ id: 'price', score: { value: 1, kind: 'distance' } }, 'leave']],
    [
      'two kinds',
      [
        { id: 'price', score: { value: 1, kind: 'distance' } },
        { id: 'leave', score: { value: 1, kind: 'similarity' } },
      ],
    ],
  ])('are refused: %s', async (_, list) => {
    const attempt = engine.rerank(QUESTION, list as Candidate[]);
    await expect(attempt).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('the ladder', () => {
  const late = (await_: Promise<{ hits: { id: string; stage: string }[] }>) =>
    await_.then(({ hits }) => hits.map(({ id, stage }) => `${id} ${stage}`));
  let expected: string[];

  beforeAll(async () => {
    expected = await late(engine.rerank(QUESTION, IDS));
  });

  it.each<[string, Own['act'], string]>([
    ['fails', broken, 'error'],
    ['throws something else', () => Promise.reject(new TypeError('oops')), 'error'],
    ['gives garbage', () => Promise.resolve({ scores: [1, 2] } as never), 'error'],
    [
      'gives infinities',
      () => Promise.resolve({ scores: new Float32Array(5).fill(1 / 0) }),
      'error',
    ],
    ['never answers', silent, 'deadline'],
  ])('a reranker that %s leaves the order of late interaction', async (_, act, cause) => {
    const before = engine.stats().rerank.degraded;
    const pipeline = cascade([lateInteraction(), reranker(new Own('own', act))]);
    const result = await engine.rerank(QUESTION, IDS, { pipeline, deadlineMs: 300 });
    expect(result.degraded).toMatchObject({ stage: 'own', cause });
    expect(result.stages[1]).toMatchObject({ outcome: 'failed', cause });
    expect(await late(Promise.resolve(result))).toEqual(expected);
    const key = cause as 'error';
    expect(engine.stats().rerank.degraded[key]).toBe(before[key] + 1);
    const strict = cascade([lateInteraction(), reranker(new Own('own', act))], { strict: true });
    const answer = thrown(engine.rerank(QUESTION, IDS, { pipeline: strict, deadlineMs: 300 }));
    // To run out of time is what a deadline is for, and no failure.
    expect(await answer).toBe(cause === 'deadline' ? 'nothing' : 'RERANKER_FAILED');
  });

  it('without late interaction, too, leaves the order of the candidates', async () => {
    const pipeline = cascade([lateInteraction(), crossEncoder()]);
    const list = ['no-such', ...IDS];
    const { hits, degraded, unknownIds, stages } = await engine.rerank('never asked yet', list, {
      ...{ pipeline, deadlineMs: 0.001 },
    });
    expect(hits.map(({ id, stage }) => [id, stage])).toEqual(IDS.map((id) => [id, 'first-stage']));
    expect(unknownIds).toEqual(['no-such']);
    expect(degraded).toMatchObject({ stage: 'late-interaction', cause: 'deadline' });
    expect(stages.map(({ outcome }) => outcome)).toEqual(['failed', 'failed']);
  });

  it('goes on to the cross-encoder where the encoder fails', async () => {
    const encoder = engine.encoder;
    const { encodeQueries } = encoder;
    encoder.encodeQueries = () =>
      Promise.reject(new MaxSimError('OVERLOADED', 'Too much waits already.'));
    try {
      const pipeline = cascade([lateInteraction({ keep: 4 }), crossEncoder({ topK: 1 })]);
      const { hits, degraded } = await engine.rerank(QUESTION, ['no-such', ...IDS], { pipeline });
      expect(hits.map(({ id, stage }) => [id, stage])).toEqual([['travel', 'cross-encoder']]);
      expect(degraded).toMatchObject({ stage: 'late-interaction', cause: 'unavailable' });
      expect(await thrown(engine.rerank(QUESTION, IDS))).toBe('OVERLOADED'); // no pipeline, no ladder
    } finally {
      encoder.encodeQueries = encodeQueries;
    }
  });

  it('keeps what the cross-encoder scored before its time was up', async () => {
    const text = PASSAGES.map(({ text }) => text).join(' ');
    // The first ones take no time, however busy the machine; all of them take many seconds.
    const list = Array.from({ length: 200 }, (_, i) => ({
      id: `${i}`,
      text: i < 3 ? `${i}` : `${i} ${text} ${text}`,
    }));
    const pipeline = cascade([crossEncoder()], { topK: 200, deadlineMs: 1000 });
    const { hits, stages, degraded } = await engine.rerank(QUESTION, list, { pipeline });
    const scored = stages[0]?.scored as number;
    expect(stages[0]).toMatchObject({ candidates: 200, outcome: 'partial', cause: 'deadline' });
    expect(degraded?.message).toContain(`scored ${scored} of 200`);
    expect(hits).toHaveLength(200);
    const read = hits.slice(0, scored);
    expect(new Set(read.map(({ id }) => id))).toEqual(
      new Set(Array.from({ length: scored }, (_, i) => `${i}`)),
    );
    expect(hits.slice(scored).map(({ id, stage }) => [id, stage])).toEqual(
      Array.from({ length: 200 - scored }, (_, i) => [`${scored + i}`, 'first-stage']),
    );
  });

  it('answers every request while model threads die, and recovers', async () => {
    const pipeline = cascade([
      lateInteraction(),
      crossEncoder({ resilience: { failures: 2, openMs: 50 } }),
    ]);
    const pool = (engine as unknown as { pool: { threads: { worker: Worker }[] } }).pool;
    const deaths = engine.stats().pool.deaths;
    let killing = true;
    const killer = (async () => {
      while (killing) {
        // It ends between two batches, as it must: onnxruntime aborts the process otherwise.
        for (const { worker } of pool.threads) worker.postMessage({ type: 'close' });
        await sleep(1);
      }
    })();
    const causes: (string | undefined)[] = [];
    for (let i = 0; i < 5; i++) {
      const { hits, degraded } = await engine.rerank(QUESTION, IDS, { pipeline });
      expect(hits).toHaveLength(5);
      causes.push(degraded?.cause);
    }
    killing = false;
    await killer;
    expect(engine.stats().pool.deaths).toBeGreaterThan(deaths);
    expect(causes).toContain('error');
    await sleep(60); // the breaker lets one try again
    const { hits, degraded } = await engine.rerank(QUESTION, IDS, { pipeline });
    expect([degraded, hits[0]?.stage]).toEqual([null, 'cross-encoder']);
  });

  it('stops asking what keeps failing, and asks again after a while', async () => {
    const own = new Own('flaky', broken);
    const stage = reranker(own, { resilience: { failures: 2, openMs: 40 } });
    const pipeline = cascade([lateInteraction(), stage]);
    const cause = async (): Promise<string | undefined> =>
      (await engine.rerank(QUESTION, IDS, { pipeline })).degraded?.cause;
    expect([await cause(), await cause(), await cause()]).toEqual([
      'error',
      'error',
      'unavailable',
    ]);
    expect(own.asked).toBe(2);
    expect(engine.stats().rerank.rerankers['flaky own:1']?.breaker).toBe('open');
    own.act = new Own().act;
    await sleep(60);
    expect(await cause()).toBeUndefined();
  });

  it('a service that answers 503 costs no request', async () => {
    service.mishap = status(503);
    const tei = new RemoteReranker({ provider: 'tei', url: service.url, attempts: 1 });
    const pipeline = cascade([lateInteraction(), reranker(tei)]);
    const { hits, degraded } = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(hits[0]?.id).toBe('travel');
    expect(degraded).toMatchObject({ stage: 'tei', cause: 'error' });
  });

  it("the caller's signal still ends it all", async () => {
    const controller = new AbortController();
    const pipeline = cascade([lateInteraction(), reranker(new Own('own', silent))]);
    const pending = engine.rerank(QUESTION, IDS, { pipeline, signal: controller.signal });
    await sleep(5);
    controller.abort();
    expect(await thrown(pending)).toBe('ABORTED');
    expect(records.at(-1)).toMatchObject({ event: 'rerank', error: 'ABORTED' });
  });
});

describe('gate, floor and calibrator', () => {
  const stages = [lateInteraction(), crossEncoder()] as const;
  /** Skips, or does not, whatever it sees. */
  const gateFor = async (sure: boolean): Promise<Gate> => {
    const { gate: fingerprint } = await engine.fingerprints(cascade(stages));
    return Gate.from({
      ...{ version: 1, kind: 'gate', fingerprint, weights: [0, 0, 0, 0], queries: 20 },
      ...{ intercept: sure ? 5 : -5, threshold: 0.9 },
    });
  };

  it('a sure gate skips what comes after late interaction, and a shadow says what that cost', async () => {
    const pipeline = cascade(stages, { gate: await gateFor(true), shadowShare: 1 });
    const result = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(result.gate).toEqual({ skipped: true, score: expect.closeTo(0.993, 2) });
    expect(result.degraded).toBeNull();
    expect(result.stages[1]?.outcome).toBe('skipped');
    expect(result.hits[0]?.stage).toBe('late-interaction');
    await expect.poll(() => engine.stats().rerank.shadow.reranked).toBe(1);
    const shadow = records.find(({ event }) => event === 'shadow') as ShadowRecord;
    expect(shadow).toMatchObject({ unit: 'score', bestChanged: expect.any(Boolean) });
    expect(shadow.regret).toBeGreaterThanOrEqual(0);
    expect(engine.stats().rerank).toMatchObject({ gated: 1, skipped: 1 });
  });

  it('one that is not skips nothing', async () => {
    const pipeline = cascade(stages, { gate: (await gateFor(false)).toJSON() });
    const { hits, gate } = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(gate?.skipped).toBe(false);
    expect(hits[0]?.stage).toBe('cross-encoder');
  });

  it('below its floor nothing is relevant, and says so', async () => {
    const fingerprint = (await engine.fingerprints(cascade(stages))).stages[1];
    if (fingerprint === undefined) throw new Error('two stages have two fingerprints');
    const floor = fitFloor([-4, -3, -2, -1], { alpha: 0.4, fingerprint });
    const calibrator = {
      ...({ version: 1, kind: 'platt', fingerprint, slope: 1, intercept: 0 } as const),
      ...{ relevant: 10, irrelevant: 10 },
    };
    const pipeline = cascade(stages, { floor, calibrator });
    const found = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(found.verdict).toBe('relevant');
    const { score, probability } = found.hits[0] as { score: number; probability: number };
    expect(probability).toBeCloseTo(1 / (1 + Math.exp(-score)), 6);
    const missed = await engine.rerank('how tall is the Eiffel tower?', IDS, { pipeline });
    expect([missed.verdict, missed.hits, missed.degraded]).toEqual(['nothing-relevant', [], null]);
    // A floor of logits says nothing of what late interaction alone has scored.
    const late = cascade([lateInteraction(), crossEncoder({ budgetMs: 0.001 })], { floor });
    const other = await engine.rerank('how tall is the Eiffel tower?', IDS, { pipeline: late });
    expect([other.verdict, other.hits.length]).toEqual([null, 5]);
  });

  it('made for something else are refused: CALIBRATION_MISMATCH, naming the difference', async () => {
    const gate = await gateFor(true);
    const file = gate.toJSON();
    const fingerprint = { ...file.fingerprint, corpus: 'contracts' };
    const pipeline = cascade(stages, { gate: { ...file, fingerprint } });
    const attempt = engine.rerank(QUESTION, IDS, { pipeline });
    await expect(attempt).rejects.toMatchObject({
      code: 'CALIBRATION_MISMATCH',
      message: expect.stringContaining('corpus "contracts" instead of "policies"'),
    });
    await expect(engine.prepare(pipeline)).rejects.toMatchObject({ code: 'CALIBRATION_MISMATCH' });
    const floor = fitFloor([1, 2, 3], { alpha: 0.5, fingerprint: { ...fingerprint, model: 'x' } });
    const floored = engine.rerank(QUESTION, IDS, { pipeline: cascade(stages, { floor }) });
    expect(await thrown(floored)).toBe('CALIBRATION_MISMATCH');
  });
});

describe('what is refused', () => {
  it.each<[string, () => unknown]>([
    ['no stages', () => cascade([])],
    ['late interaction in second place', () => cascade([crossEncoder(), lateInteraction()])],
    ['a misspelled option', () => cascade([crossEncoder()], { deadline: 5 } as never)],
    ['a stage of no known kind', () => cascade([{ kind: 'magic' } as never])],
    ['keep of 0', () => lateInteraction({ keep: 0 })],
    ['resilience of no known kind', () => crossEncoder({ resilience: { failure: 1 } as never })],
    ['a gate with nothing to skip', () => cascade([lateInteraction()], { gate: {} as never })],
    ['a reranker that is none', () => reranker({ name: 'x' } as never)],
    ['a pipeline that is none', () => engine.rerank('q', [], { pipeline: {} as never })],
    [
      'a pipeline and crossEncoder',
      () => engine.rerank('q', [], { pipeline: cascade([crossEncoder()]), crossEncoder: true }),
    ],
    [
      'a query without text for a stage that reads',
      () => engine.rerank(new Float32Array(96), [], { pipeline: cascade([crossEncoder()]) }),
    ],
  ])('%s: INVALID_ARGUMENT', async (_, attempt) => {
    const tried = (async () => await attempt())();
    await expect(tried).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('a cross-encoder that is nowhere: MODEL_NOT_FOUND, whatever the ladder', async () => {
    const pipeline = cascade([lateInteraction(), crossEncoder({ model: 'nobody-has-it' })]);
    expect(await thrown(engine.rerank(QUESTION, IDS, { pipeline }))).toBe('MODEL_NOT_FOUND');
  });
});

describe('the record of a call', () => {
  it('says what happened, without any text', async () => {
    const pipeline = cascade([lateInteraction({ keep: 3 }), crossEncoder({ topK: 2 })]);
    const { hits, timings, stages } = await engine.rerank(QUESTION, IDS, { pipeline });
    expect(records).toEqual([
      {
        event: 'rerank',
        queryHash: expect.stringMatching(/^[0-9a-f]{16}$/),
        candidates: 5,
        topK: 2,
        hits: hits.map(({ id, scores }) => ({ id, scores, probability: null })),
        stages,
        gate: null,
        verdict: null,
        degraded: null,
        agreement: { topOverlap: 1, tau: expect.any(Number) },
        timings,
        error: null,
      },
    ]);
    expect(JSON.stringify(records)).not.toContain('Business');
    await engine.search(QUESTION);
    expect(records[1]).toMatchObject({ event: 'search', agreement: null });
  });

  it('a logger that throws costs no request, and is counted', async () => {
    const before = engine.stats().rerank.logFailures;
    records.push = () => {
      throw new Error('disk full');
    };
    try {
      expect((await engine.rerank(QUESTION, IDS)).hits).toHaveLength(5);
    } finally {
      records.push = Array.prototype.push;
    }
    expect(engine.stats().rerank.logFailures).toBe(before + 1);
  });

  it('is a span with a child a stage, where OpenTelemetry is there', async () => {
    const exporter = new InMemorySpanExporter();
    const provider = new BasicTracerProvider({
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    });
    trace.setGlobalTracerProvider(provider);
    try {
      const pipeline = cascade([lateInteraction(), reranker(new Own('flaky', broken))]);
      const { timings } = await engine.rerank(QUESTION, IDS, { pipeline });
      const [late, own, whole] = exporter.getFinishedSpans();
      expect([late?.name, own?.name, whole?.name]).toEqual([
        'rerank late-interaction',
        'rerank flaky',
        'rerank late-interaction > flaky',
      ]);
      const parent = whole?.spanContext().spanId;
      expect([late, own].map((span) => span?.parentSpanContext?.spanId)).toEqual([parent, parent]);
      expect(own).toMatchObject({ status: { code: 2, message: 'It is broken.' } });
      expect(whole?.attributes).toMatchObject({
        'gen_ai.operation.name': 'rerank',
        'openinference.span.kind': 'RERANKER',
        'reranker.top_k': 10,
        'maxsim.degraded.cause': 'error',
      });
      const [seconds, nanoseconds] = whole?.duration ?? [0, 0];
      expect(seconds * 1e3 + nanoseconds / 1e6).toBeCloseTo(timings.totalMs, 0);
      await engine.rerank(QUESTION, [], { topK: 1.5 }).catch(() => {});
      expect(exporter.getFinishedSpans()).toHaveLength(3); // what is refused at the door is no call
    } finally {
      trace.disable();
    }
  });
});
