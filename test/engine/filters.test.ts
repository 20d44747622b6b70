import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, type Filter, MaxSimError } from '../../dist/maxsim.js';

const DOCUMENTS = [
  {
    id: 'de',
    text: 'Flights in business class need approval.',
    payload: { lang: 'de', year: 2019 },
  },
  {
    id: 'en',
    text: 'Business class is for long flights only.',
    payload: { lang: 'en', year: 2021 },
  },
  { id: 'old', text: 'Nobody may fly business class.', payload: { lang: 'en', year: 1999 } },
  { id: 'none', text: 'The canteen opens at noon.' },
];
const question = 'who may fly in business class?';
const english = { filter: { lang: 'en' } } as const;

let root: string;
let engine: Engine;
let shared: Engine;

const codeOf = async (run: () => unknown): Promise<string> => {
  try {
    await run();
  } catch (error) {
    if (error instanceof MaxSimError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-engine-filters-'));
  const fields = { lang: 'keyword', year: 'number' } as const;
  engine = await Engine.open(join(root, 'index'), { threads: 2, fields });
  await engine.add(DOCUMENTS);
  shared = await Engine.open(join(root, 'shared'), {
    model: engine.encoder,
    fields,
    tenants: true,
  });
  await shared.add(DOCUMENTS, { tenant: 'acme' });
  const [first] = DOCUMENTS;
  await shared.add([{ ...first, id: 'de', text: 'The password is swordfish.' }], {
    tenant: 'rival',
  });
});

afterAll(async () => {
  await shared.close();
  await engine.close();
  await rm(root, { recursive: true, force: true });
});

describe('filters', () => {
  it('limit a search', async () => {
    const { hits } = await engine.search(question, english);
    expect(hits.map(({ id }) => id).sort()).toEqual(['en', 'old']);
    const recent = await engine.search(question, { filter: { lang: 'en', year: { gte: 2000 } } });
    expect(recent.hits.map(({ id }) => id)).toEqual(['en']);
    expect((await engine.search(question, { filter: { or: [] } })).hits).toEqual([]);
  });

  it('limit a rerank, which says what it left out', async () => {
    const candidates = ['none', 'ghost', 'old', 'de', 'en'];
    const { hits, unknownIds, excludedIds } = await engine.rerank(question, candidates, english);
    expect(hits.map(({ id }) => id).sort()).toEqual(['en', 'old']);
    expect(unknownIds).toEqual(['ghost']);
    expect(excludedIds).toEqual(['none', 'de']);
    expect((await engine.rerank(question, candidates)).excludedIds).toEqual([]);
  });

  it('hold when there is no time to score', async () => {
    const { hits, unknownIds, excludedIds, degraded } = await engine.rerank(
      'a question without an answer',
      ['de', 'ghost', 'old', 'en'],
      { ...english, deadlineMs: 0.001 },
    );
    expect(degraded).toMatchObject({ stage: 'late-interaction' });
    expect(hits.map(({ id, stage }) => [id, stage])).toEqual([
      ['old', 'first-stage'],
      ['en', 'first-stage'],
    ]);
    expect([unknownIds, excludedIds]).toEqual([['ghost'], ['de']]);
  });

  it('hold for a document that was replaced while the query was encoded', async () => {
    await engine.add([{ id: 'moving', text: 'Fly business class.', payload: { lang: 'en' } }]);
    const pending = engine.rerank(question, ['moving', 'en'], english);
    await engine.add([{ id: 'moving', text: 'Fly business class.', payload: { lang: 'de' } }]);
    const { hits } = await pending;
    for (const { payload } of hits) expect(payload).toMatchObject({ lang: 'en' });
    await engine.delete(['moving']);
  });

  it('need candidates that are stored, and fields that are declared', async () => {
    const text = [{ id: 'en', text: 'Fly business class.' }];
    expect(await codeOf(() => engine.rerank(question, text, english))).toBe('INVALID_ARGUMENT');
    for (const filter of [{ language: 'en' }, { year: 'x' }, {}] as Filter[]) {
      expect(await codeOf(() => engine.search(question, { filter }))).toBe('INVALID_ARGUMENT');
      expect(await codeOf(() => engine.rerank(question, ['en'], { filter }))).toBe(
        'INVALID_ARGUMENT',
      );
    }
  });

  it('a payload that does not fit is refused before anything is encoded', async () => {
    const before = engine.index.generation;
    const document = { id: 'bad', text: 'A text.', payload: { year: 'last' } };
    await expect(engine.add([document])).rejects.toThrow('documents[0].payload.year');
    expect(engine.index.generation).toBe(before);
  });
});

describe('tenants', () => {
  it('see their own documents, whatever they ask', async () => {
    const ids = ['de', 'en', 'old', 'none'];
    const rival = await shared.search('what is the password?', { tenant: 'rival' });
    expect(rival.hits.map(({ id, text }) => [id, text])).toEqual([
      ['de', 'The password is swordfish.'],
    ]);
    for (const filter of [
      { lang: 'de' },
      { not: { lang: 'x' } },
      { or: [{ and: [] }] },
    ] as Filter[]) {
      const options = { tenant: 'acme', filter, crossEncoder: true, explain: true };
      for (const { hits } of [
        await shared.search('what is the password?', options),
        await shared.rerank('what is the password?', ids, options),
      ]) {
        expect(hits.length).toBeGreaterThan(0);
        expect(hits.every(({ text }) => !text?.includes('swordfish'))).toBe(true);
      }
    }
    expect(shared.get('de', { tenant: 'rival' })?.text).toBe('The password is swordfish.');
    expect(shared.get('de', { tenant: 'acme' })?.text).toBe(DOCUMENTS[0]?.text);
    expect(shared.get('en', { tenant: 'rival' })).toBeUndefined();
    expect(shared.get('en', { tenant: 'nobody' })).toBeUndefined();
  });

  it('skip what they have stored themselves, and delete what is theirs', async () => {
    const options = { tenant: 'third', skipUnchanged: true };
    expect(await shared.add(DOCUMENTS, options)).toMatchObject({ added: 4, unchanged: 0 });
    expect(await shared.add(DOCUMENTS, options)).toMatchObject({ added: 0, unchanged: 4 });
    expect(await shared.delete(['de', 'ghost'], { tenant: 'third' })).toEqual({
      deleted: 1,
      unknownIds: ['ghost'],
    });
    expect(shared.get('de', { tenant: 'acme' })).toBeDefined();
    await shared.index.tenant('third').clear();
  });

  it('must be named where there are tenants, and cannot be where there are none', async () => {
    for (const ask of [
      () => shared.add(DOCUMENTS),
      () => shared.delete(['de']),
      () => shared.get('de'),
      () => shared.search(question),
      () => shared.rerank(question, ['de']),
    ]) {
      expect(await codeOf(ask)).toBe('TENANT_REQUIRED');
    }
    expect(await codeOf(() => engine.search(question, { tenant: 'acme' }))).toBe(
      'INVALID_ARGUMENT',
    );
    expect(await codeOf(() => engine.get('de', { tenant: 'acme' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(() => shared.search(question, { tenant: '' }))).toBe('INVALID_ARGUMENT');
  });
});
