import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Encoder, Engine, MaxSimError } from '../../dist/maxsim.js';
import { maxSim } from '../maxsim/reference.js';

const PASSAGES = [
  {
    id: 'remote',
    text: 'Employees may work remotely from another country for at most 30 days a year.',
  },
  {
    id: 'expense',
    text: 'Meals above 40 euros need an itemised receipt and the approval of a manager.',
  },
  { id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
  { id: 'laptop', text: 'A stolen laptop must be reported to the security desk within two hours.' },
  {
    id: 'leave',
    text: 'Parental leave is sixteen weeks, paid in full, and may be split in two parts.',
  },
  { id: 'price', text: 'The enterprise plan costs 40 dollars per seat and month, billed yearly.' },
];

let root: string;
let engine: Engine;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-engine-'));
  engine = await Engine.open(join(root, 'index'), { threads: 2 });
  const added = await engine.add(
    PASSAGES.map((passage) => ({
      ...passage,
      payload: { kind: 'policy', words: passage.text.length },
    })),
  );
  expect(added).toEqual({ added: 6, replaced: 0, unchanged: 0, truncated: 0 });
});

afterAll(async () => {
  await engine.close();
  await rm(root, { recursive: true, force: true });
});

describe('search', () => {
  it('finds the passage that answers a question in other words', async () => {
    const { hits, degraded, timings } = await engine.search(
      'how soon do I have to tell someone my computer was taken?',
    );
    expect(hits[0]?.id).toBe('laptop');
    expect(hits[0]?.text).toBe(PASSAGES[3]?.text);
    expect(hits[0]?.payload).toEqual({ kind: 'policy', words: PASSAGES[3]?.text.length });
    expect(hits).toHaveLength(6);
    expect(degraded).toBeNull();
    expect(timings.totalMs).toBeGreaterThan(0);
    const scores = hits.map((hit) => hit.score as number);
    expect([...scores].sort((a, b) => b - a)).toEqual(scores);
  });

  it('returns as many hits as asked for', async () => {
    expect((await engine.search('flights', { topK: 2 })).hits.map((hit) => hit.id)).toHaveLength(2);
  });

  it('orders like MaxSim over the stored vectors', async () => {
    const [query] = await engine.encoder.encodeQueries(['what does a seat cost?']);
    const { hits } = await engine.search('what does a seat cost?');
    for (const hit of hits) {
      const exact = maxSim(
        (query as { vectors: Float32Array }).vectors,
        engine.index.vectors(hit.id),
        96,
      );
      expect(Math.abs((hit.score as number) - exact)).toBeLessThan(0.05);
    }
  });
});

describe('rerank', () => {
  const question = 'can I fly business class to Tokyo?';

  it('orders stored ids, texts and vectors in one list, and names unknown ids', async () => {
    const vectors = engine.index.vectors('leave');
    const { hits, unknownIds } = await engine.rerank(question, [
      'price',
      'no-such-document',
      'travel',
      { id: 'given-text', text: 'Flights shorter than seven hours are booked in economy class.' },
      { id: 'given-vectors', vectors },
    ]);
    expect(unknownIds).toEqual(['no-such-document']);
    expect(hits[0]?.id).toBe('travel');
    expect(hits[1]?.id).toBe('given-text');
    expect(hits.map((hit) => hit.id).sort()).toEqual([
      'given-text',
      'given-vectors',
      'price',
      'travel',
    ]);
    expect(hits.find((hit) => hit.id === 'given-vectors')?.text).toBeNull();
  });

  it('scores a text as it would score once stored, to the bit', async () => {
    const text = PASSAGES[2]?.text as string;
    const { hits } = await engine.rerank(question, ['travel', { id: 'again', text }]);
    expect(hits.map((hit) => hit.id)).toEqual(['travel', 'again']); // a tie keeps the given order
    expect(hits[0]?.score).toBe(hits[1]?.score);
  });

  it('takes the query as vectors, with the same scores', async () => {
    const [query] = await engine.encoder.encodeQueries([question]);
    const ids = PASSAGES.map((passage) => passage.id);
    const byText = await engine.rerank(question, ids);
    const byVectors = await engine.rerank((query as { vectors: Float32Array }).vectors, ids);
    expect(byVectors.hits).toEqual(byText.hits);
  });

  it('lets the cross-encoder reorder the best, and keeps both scores', async () => {
    const ids = PASSAGES.map((passage) => passage.id);
    const { hits, timings } = await engine.rerank(question, ids, { crossEncoder: { keep: 3 } });
    expect(hits.map((hit) => hit.stage)).toEqual([
      'cross-encoder',
      'cross-encoder',
      'cross-encoder',
      'late-interaction',
      'late-interaction',
      'late-interaction',
    ]);
    expect(hits[0]?.id).toBe('travel');
    expect(hits[0]?.scores.map((score) => score.stage)).toEqual([
      'late-interaction',
      'cross-encoder',
    ]);
    expect(timings.crossEncoderMs).toBeGreaterThan(0);
  });

  it('explains a score token by token, with places in both texts', async () => {
    const { hits } = await engine.rerank(question, ['travel'], { explain: true });
    const [hit] = hits;
    const explanation = hit?.explanation ?? [];
    const total = explanation.reduce((sum, match) => sum + match.contribution, 0);
    expect(total).toBeCloseTo(hit?.score as number, 3);
    const business = explanation.find((match) => match.queryToken === 'business');
    expect(business?.documentToken).toBe('business');
    const [start, end] = business?.documentSpan ?? [0, 0];
    expect(hit?.text?.slice(start, end)).toBe('Business');
    expect(explanation[0]).toMatchObject({ queryToken: '[CLS]', querySpan: null });
  });

  it('falls back to the order of the candidates when there is no time at all', async () => {
    const { hits, degraded } = await engine.rerank(
      'a question nobody asked before',
      ['price', 'travel'],
      {
        deadlineMs: 0.001,
      },
    );
    expect(degraded).toMatchObject({ stage: 'late-interaction', cause: 'deadline' });
    expect(hits.map((hit) => [hit.id, hit.stage, hit.score])).toEqual([
      ['price', 'first-stage', null],
      ['travel', 'first-stage', null],
    ]);
  });

  it('keeps its deadline even when the encoder does not heed it', async () => {
    const slow: Encoder = {
      dim: 96,
      fingerprint: 'slow',
      recipe: {},
      encodeQueries: () => new Promise(() => {}),
      encodeDocuments: (texts) =>
        Promise.resolve(
          texts.map(() => ({
            vectors: new Float32Array(96).fill(0.1),
            tokenCount: 1,
            truncatedTokens: 0,
          })),
        ),
      explainTokens: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    };
    await using slowEngine = await Engine.open(join(root, 'slow'), { model: slow });
    await slowEngine.add([{ id: 'a', text: 'a' }]);
    const { hits, unknownIds, degraded } = await slowEngine.rerank('q', ['b', 'a'], {
      deadlineMs: 20,
    });
    expect(degraded).toMatchObject({ stage: 'late-interaction', cause: 'deadline' });
    expect(hits.map((hit) => [hit.id, hit.stage])).toEqual([['a', 'first-stage']]);
    expect(unknownIds).toEqual(['b']);
  });

  it('does not return what was deleted while the query was encoded', async () => {
    await engine.add([{ id: 'doomed', text: 'Business class for everybody on every flight.' }]);
    const pending = engine.rerank(question, ['doomed', 'travel']);
    await engine.delete(['doomed']);
    const { hits, unknownIds } = await pending;
    expect(hits.every((hit) => typeof hit.score === 'number' && Number.isFinite(hit.score))).toBe(
      true,
    );
    expect([...hits.map((hit) => hit.id), ...unknownIds].sort()).toEqual(['doomed', 'travel']);
  });

  it('takes an empty list of candidates', async () => {
    expect((await engine.rerank(question, [])).hits).toEqual([]);
  });

  it('stops when its signal fires', async () => {
    const controller = new AbortController();
    const pending = engine.rerank(question, ['travel'], {
      signal: controller.signal,
      crossEncoder: true,
    });
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('add and delete', () => {
  it('replaces by id, skips what did not change, and forgets what was deleted', async () => {
    const first = { id: 'temporary', text: 'The canteen opens at noon.' };
    expect(await engine.add([first])).toMatchObject({ added: 1, replaced: 0 });
    expect(await engine.add([first], { skipUnchanged: true })).toMatchObject({
      added: 0,
      unchanged: 1,
    });
    const second = { id: 'temporary', text: 'The canteen opens at eleven.' };
    expect(await engine.add([second], { skipUnchanged: true })).toMatchObject({
      added: 0,
      replaced: 1,
    });
    expect(engine.get('temporary')?.text).toBe(second.text);
    expect(await engine.delete(['temporary', 'never-there'])).toMatchObject({
      deleted: 1,
      unknownIds: ['never-there'],
    });
    expect(engine.get('temporary')).toBeUndefined();
    expect((await engine.search('canteen')).hits.map((hit) => hit.id)).not.toContain('temporary');
  });

  it('keeps the last of several documents with one id, also when an earlier one is stored', async () => {
    const stored = { id: 'twice', text: 'The first text.' };
    await engine.add([stored]);
    const changed = { id: 'twice', text: 'The second text.' };
    expect(await engine.add([changed, stored], { skipUnchanged: true })).toMatchObject({
      unchanged: 1,
    });
    expect(engine.get('twice')?.text).toBe(stored.text);
    expect(await engine.add([stored, changed])).toMatchObject({ added: 0, replaced: 2 });
    expect(engine.get('twice')?.text).toBe(changed.text);
    await engine.delete(['twice']);
  });

  it('counts texts that were longer than the model reads', async () => {
    const long = 'a long story about nothing at all '.repeat(100);
    expect(await engine.add([{ id: 'long', text: long }])).toMatchObject({ truncated: 1 });
    expect(engine.get('long')?.text).toBe(long);
    await engine.delete(['long']);
  });

  it('keeps everything over a reopening', async () => {
    const directory = join(root, 'reopened');
    const query = 'what is the capital of France?';
    const one = await Engine.open(directory);
    await one.add([
      { id: 'paris', text: 'Paris is the capital of France.' },
      { id: 'rome', text: 'Rome is old.' },
    ]);
    const before = await one.search(query);
    await one.close();
    await using two = await Engine.open(directory, { mode: 'read' });
    expect((await two.search(query)).hits).toEqual(before.hits);
  });
});

describe('bad input gets a code and a sentence', () => {
  const code = async (attempt: () => unknown): Promise<string> => {
    try {
      await attempt();
    } catch (error) {
      expect(error).toBeInstanceOf(MaxSimError);
      expect((error as Error).message).toMatch(/[.)?]$/);
      return (error as MaxSimError).code;
    }
    return 'no error';
  };
  const vectors = (length: number, fill = 0.1): Float32Array => new Float32Array(length).fill(fill);
  const detached = (): Float32Array => {
    const array = vectors(96);
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    return array;
  };

  it.each<[string, string, () => unknown]>([
    ['an empty query', 'EMPTY_TEXT', () => engine.search(' \n')],
    ['a query that is no text', 'INVALID_VECTORS', () => engine.search(7 as never)],
    ['query vectors of another dim', 'INVALID_VECTORS', () => engine.search(vectors(95))],
    ['a query with NaN', 'INVALID_VECTORS', () => engine.search(vectors(96, Number.NaN))],
    [
      'a query with infinity',
      'INVALID_VECTORS',
      () => engine.search(vectors(96, Number.POSITIVE_INFINITY)),
    ],
    ['a detached query', 'INVALID_VECTORS', () => engine.search(detached())],
    ['a Float64Array', 'INVALID_VECTORS', () => engine.search(new Float64Array(96) as never)],
    ['too many query tokens', 'INVALID_VECTORS', () => engine.search(vectors(96 * 1025))],
    ['an empty document', 'EMPTY_TEXT', () => engine.add([{ id: 'x', text: '' }])],
    ['a document without text', 'INVALID_ARGUMENT', () => engine.add([{ id: 'x' }])],
    ['a document without id', 'INVALID_ARGUMENT', () => engine.add([{ text: 'x' } as never])],
    ['an empty id', 'INVALID_ARGUMENT', () => engine.add([{ id: '', text: 'x' }])],
    [
      'an id with a lone surrogate',
      'INVALID_ARGUMENT',
      () => engine.add([{ id: '\ud800', text: 'x' }]),
    ],
    [
      'an id of 600 bytes',
      'INVALID_ARGUMENT',
      () => engine.add([{ id: 'x'.repeat(600), text: 'x' }]),
    ],
    [
      'vectors of another dim',
      'INVALID_VECTORS',
      () => engine.add([{ id: 'x', vectors: vectors(97) }]),
    ],
    [
      'vectors with NaN',
      'INVALID_VECTORS',
      () => engine.add([{ id: 'x', vectors: vectors(96, Number.NaN) }]),
    ],
    ['detached vectors', 'INVALID_VECTORS', () => engine.add([{ id: 'x', vectors: detached() }])],
    ['no vectors at all', 'INVALID_VECTORS', () => engine.add([{ id: 'x', vectors: vectors(0) }])],
    [
      '65,536 tokens',
      'INVALID_VECTORS',
      () => engine.add([{ id: 'x', vectors: vectors(96 * 65_536) }]),
    ],
    ['a misspelled field', 'INVALID_ARGUMENT', () => engine.add([{ id: 'x', txt: 'x' } as never])],
    ['documents that are no array', 'INVALID_ARGUMENT', () => engine.add('x' as never)],
    [
      'a payload that is no JSON',
      'INVALID_ARGUMENT',
      () => engine.add([{ id: 'x', text: 'x', payload: Number.NaN }]),
    ],
    [
      'candidates that are no array',
      'INVALID_ARGUMENT',
      () => engine.rerank('q', 'remote' as never),
    ],
    [
      'a candidate of no known shape',
      'INVALID_ARGUMENT',
      () => engine.rerank('q', [{ id: 'x' } as never]),
    ],
    ['an unknown option', 'INVALID_ARGUMENT', () => engine.search('q', { topk: 3 } as never)],
    ['topK of 0', 'INVALID_ARGUMENT', () => engine.search('q', { topK: 0 })],
    ['a negative deadline', 'INVALID_ARGUMENT', () => engine.rerank('q', [], { deadlineMs: -1 })],
    [
      'a cross-encoder over vectors',
      'INVALID_ARGUMENT',
      () => engine.rerank('q', [{ id: 'x', vectors: vectors(96) }], { crossEncoder: true }),
    ],
    [
      'explaining a query given as vectors',
      'INVALID_ARGUMENT',
      () => engine.search(vectors(96), { explain: true }),
    ],
    ['the vectors of an unknown id', 'UNKNOWN_ID', () => engine.index.vectors('no-such-document')],
    ['a second writer', 'INDEX_LOCKED', () => Engine.open(join(root, 'index'))],
    [
      'an unknown model',
      'MODEL_NOT_FOUND',
      () => Engine.open(join(root, 'other'), { model: 'colbert-v9' }),
    ],
    [
      'a cross-encoder where a late-interaction model is needed',
      'INVALID_MODEL',
      () => Engine.open(join(root, 'other'), { model: 'ms-marco-MiniLM-L-12-v2-int8' }),
    ],
    [
      'a reader where nothing is',
      'NOT_AN_INDEX',
      () => Engine.open(join(root, 'nowhere'), { mode: 'read' }),
    ],
    ['0 threads', 'INVALID_ARGUMENT', () => Engine.open(join(root, 'other'), { threads: 0 })],
  ])('%s: %s', async (_, expected, attempt) => {
    expect(await code(attempt)).toBe(expected);
  });

  it('an index made by another model: MODEL_MISMATCH, naming the difference', async () => {
    const other: Encoder = {
      dim: 96,
      fingerprint: 'another',
      recipe: { model: 'another' },
      encodeQueries: () => Promise.resolve([]),
      encodeDocuments: () => Promise.resolve([]),
      explainTokens: () => Promise.resolve([]),
      close: () => Promise.resolve(),
    };
    const attempt = Engine.open(join(root, 'index'), { model: other, mode: 'read' });
    await expect(attempt).rejects.toMatchObject({ code: 'MODEL_MISMATCH' });
    await expect(
      Engine.open(join(root, 'index'), { codec: 'f32', mode: 'read' }),
    ).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
    });
  });

  it('a directory with other things in it: NOT_AN_INDEX, and nothing is touched', async () => {
    const directory = await mkdtemp(join(root, 'holiday-'));
    await writeFile(join(directory, 'photo.txt'), 'me at the beach');
    expect(await code(() => Engine.open(directory))).toBe('NOT_AN_INDEX');
  });

  it('a write through a reader: READ_ONLY', async () => {
    await using reader = await Engine.open(join(root, 'index'), { mode: 'read' });
    expect(await code(() => reader.add([{ id: 'x', text: 'x' }]))).toBe('READ_ONLY');
    expect(await code(() => reader.delete(['remote']))).toBe('READ_ONLY');
  });

  it('a closed engine: CLOSED', async () => {
    const closed = await Engine.open(join(root, 'closed'));
    await closed.close();
    await closed.close(); // twice does no harm
    expect(await code(() => closed.search('q'))).toBe('CLOSED');
    expect(await code(() => closed.rerank('q', []))).toBe('CLOSED');
    expect(await code(() => closed.add([]))).toBe('CLOSED');
    expect(await code(() => closed.delete([]))).toBe('CLOSED');
    expect(await code(() => closed.get('x'))).toBe('CLOSED');
  });
});
