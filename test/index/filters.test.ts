import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import type { Filter, Payload } from '../../dist/types.js';
import { FIELDS, matches, randomFilter, randomPayload } from './filter-model.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const query = unitVectors(seeded(1), 3);

/** An index in which document i has the i-th payload. */
async function indexOf(payloads: readonly (Payload | undefined)[], fields = FIELDS) {
  const random = seeded(2);
  const index = await Index.open(temporaryDirectory(), { dim: DIM, fields });
  await index.add(
    payloads.map((payload, i) => ({
      id: `d${i}`,
      vectors: unitVectors(random, 1 + (i % 3)),
      ...(payload === undefined ? {} : { payload }),
    })),
  );
  return index;
}

async function idsOf(index: Index, filter: Filter): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of index.documents({ filter })) ids.push(id);
  return ids;
}

test('every way of asking gives what a plain evaluator says, for 800 random filters', async () => {
  const random = seeded(3);
  const below = (limit: number) => Math.floor(random() * limit);
  const payloads = Array.from({ length: 300 }, () => randomPayload(below));
  await using index = await indexOf(payloads);
  const all = payloads.map((_, i) => `d${i}`);
  const { hits: ranking } = await index.rank(query, all, { topK: 300 });
  let selective = 0;
  for (let round = 0; round < 800; round++) {
    const filter = randomFilter(below);
    const expected = all.filter((_, i) => matches(payloads[i], filter));
    if (expected.length > 0 && expected.length < 300) selective += 1;
    const message = JSON.stringify(filter);
    expect(await idsOf(index, filter), message).toEqual(expected);
    expect(await index.count(filter), message).toBe(expected.length);
    const kept = new Set(expected);
    const wanted = ranking.filter(({ id }) => kept.has(id));
    expect((await index.search(query, { filter, topK: 300 })).hits, message).toEqual(wanted);
    expect((await index.search(query, { filter, topK: 3 })).hits.length).toBe(
      Math.min(3, expected.length),
    );

    const candidates = Array.from({ length: 20 }, () => `d${below(310)}`);
    const unknown = candidates.filter((id) => !all.includes(id));
    const excluded = candidates.filter((id) => all.includes(id) && !kept.has(id));
    const scored = index.score(query, candidates, { filter });
    expect([scored.unknownIds, scored.excludedIds], message).toEqual([unknown, excluded]);
    const plain = index.score(query, candidates).scores;
    expect([...scored.scores], message).toEqual(
      candidates.map((id, i) => (kept.has(id) ? plain[i] : Number.NaN)),
    );
    const ranked = await index.rank(query, candidates, { filter, topK: 20 });
    expect([ranked.unknownIds, ranked.excludedIds], message).toEqual([unknown, excluded]);
    expect(ranked.hits.map(({ id }) => id).sort(), message).toEqual(
      candidates.filter((id) => kept.has(id)).sort(),
    );
    expect(index.hasMany(candidates, { filter })).toEqual(candidates.map((id) => kept.has(id)));
    expect(index.getMany(candidates, { filter }).map((found) => found !== undefined)).toEqual(
      candidates.map((id) => kept.has(id)),
    );
  }
  expect(selective).toBeGreaterThan(250);
});

test('fields survive upserts, deletes, merges, recode and another process', async () => {
  const random = seeded(4);
  const below = (limit: number) => Math.floor(random() * limit);
  const directory = temporaryDirectory();
  let index = await Index.open(directory, { dim: DIM, codec: 'f32', fields: FIELDS });
  await using reader = await Index.open(directory, { mode: 'read' });
  const model = new Map<string, Payload | undefined>();
  for (let step = 0; step < 150; step++) {
    const add = Array.from({ length: below(6) }, () => ({
      id: `d${below(80)}`,
      vectors: unitVectors(random, 1),
      payload: randomPayload(below) ?? null,
    }));
    const remove = Array.from({ length: below(3) }, () => `d${below(80)}`);
    await index.commit({ add, delete: remove });
    for (const id of remove) model.delete(id);
    for (const { id, payload } of add) model.set(id, payload);
    if (below(10) === 0) await index.compact();
    if (step === 75) await index.recode('int8-token');
    if (below(15) === 0) {
      await index.close();
      index = await Index.open(directory);
    }
    await reader.refresh();
    for (const view of [index, reader]) {
      const filter = randomFilter(below);
      const expected = [...model].filter(([, payload]) => matches(payload, filter));
      expect((await idsOf(view, filter)).sort(), JSON.stringify(filter)).toEqual(
        expected.map(([id]) => id).sort(),
      );
    }
  }
  await index.close();
});

test('a range holds for one value, and what negates also holds where there is none', async () => {
  await using index = await indexOf([
    { prices: [1, 9], lang: 'en' },
    { prices: 5, lang: 'de' },
    { prices: [], lang: null },
    {},
  ]);
  const cases: [Filter, string[]][] = [
    [{ prices: { gte: 4, lte: 6 } }, ['d1']],
    [{ prices: { gt: 5 } }, ['d0']],
    [{ prices: { exists: false } }, ['d2', 'd3']],
    [{ lang: { ne: 'en' } }, ['d1', 'd2', 'd3']],
    [{ lang: { nin: ['en', 'de'] } }, ['d2', 'd3']],
    [{ not: { lang: 'en' } }, ['d1', 'd2', 'd3']],
    [{ lang: { in: [] } }, []],
    [{ lang: { nin: [] } }, ['d0', 'd1', 'd2', 'd3']],
    [{ and: [] }, ['d0', 'd1', 'd2', 'd3']],
    [{ or: [] }, []],
    [{ lang: { gte: 'd', lt: 'e' } }, ['d1']],
    [{ lang: 'en', prices: 9 }, ['d0']],
    [{ lang: 'en', or: [{ prices: 7 }, { draft: true }] }, []],
  ];
  for (const [filter, ids] of cases) {
    expect(await idsOf(index, filter), JSON.stringify(filter)).toEqual(ids);
  }
});

test('what is no filter is refused, in words that name what there is', async () => {
  await using index = await indexOf([{ lang: 'en' }]);
  const deep = (levels: number): Filter =>
    levels === 0 ? { lang: 'en' } : { not: deep(levels - 1) };
  expect(await index.count(deep(32))).toBe(1);
  const wrong: [unknown, string][] = [
    [{}, 'one condition or more'],
    ['lang', 'one condition or more'],
    [[], 'one condition or more'],
    [null, 'one condition or more'],
    [{ language: 'en' }, 'draft (boolean), lang (keyword), meta.year (number)'],
    [{ $tenant: 'x' }, 'but the index declares'],
    [{ constructor: 'x' }, 'but the index declares'],
    [{ lang: 3 }, 'filter.lang must be a string'],
    [{ lang: null }, 'filter.lang must be a string'],
    [{ lang: undefined }, 'filter.lang must be a string'],
    [{ lang: ['en'] }, 'filter.lang must be a string'],
    [{ lang: {} }, 'eq, ne, in'],
    [{ lang: { like: 'e' } }, 'has no operator "like"'],
    [{ lang: { toString: 'e' } }, 'has no operator "toString"'],
    [{ lang: { in: 'en' } }, 'filter.lang.in must be an array'],
    [{ lang: { in: ['en', 4] } }, 'filter.lang.in[1] must be a string'],
    [{ lang: { gt: 4 } }, 'filter.lang.gt must be a string'],
    [{ lang: { exists: 1 } }, 'filter.lang.exists must be a boolean'],
    [{ lang: '\ud800' }, 'well-formed'],
    [{ lang: 'x'.repeat(513) }, '512 bytes'],
    [{ prices: '4' }, 'filter.prices must be a number'],
    [{ prices: Number.NaN }, 'finite'],
    [{ prices: { lt: Number.POSITIVE_INFINITY } }, 'finite'],
    [{ prices: { gt: 1, gte: 1 } }, 'both'],
    [{ draft: { gt: false } }, 'does not order'],
    [{ and: { lang: 'en' } }, 'filter.and must be an array'],
    [{ or: [{ lang: 'en' }, {}] }, 'filter.or[1]'],
    [{ not: [] }, 'filter.not'],
    [deep(33), '32 levels'],
    [{ lang: { in: Array.from({ length: 10_001 }, () => 'a') } }, '10000'],
  ];
  for (const [filter, words] of wrong) {
    const { code, message } = await refusal(() => index.count(filter as Filter));
    expect(code, JSON.stringify(filter)).toBe('INVALID_ARGUMENT');
    expect(message).toContain(words);
    const options = { filter: filter as Filter };
    if (filter !== undefined) {
      expect((await refusal(() => index.search(query, options))).code).toBe('INVALID_ARGUMENT');
      expect((await refusal(() => index.rank(query, ['d0'], options))).code).toBe(
        'INVALID_ARGUMENT',
      );
    }
  }
  expect(await index.count({ lang: { in: Array.from({ length: 9998 }, () => 'en') } })).toBe(1);
  expect(
    (await refusal(() => index.count({ lang: 'en' }, { signal: AbortSignal.abort() }))).code,
  ).toBe('ABORTED');
  await using plain = await Index.open(temporaryDirectory(), { dim: DIM });
  expect((await refusal(() => plain.count({ lang: 'en' }))).message).toContain('(none)');
});

test('a value that a field cannot hold is refused by document and field, and nothing is stored', async () => {
  await using index = await indexOf([{ lang: 'en' }]);
  const wrong: [Payload, string][] = [
    [{ lang: 1 }, 'documents[1].payload.lang must be a string'],
    [{ lang: ['a', true] }, 'documents[1].payload.lang must be a string'],
    [{ lang: { code: 'en' } }, 'documents[1].payload.lang must be a string'],
    [{ lang: 'x'.repeat(513) }, '512 bytes'],
    [{ lang: '\udc00' }, 'well-formed'],
    [{ meta: 1999 }, 'documents[1].payload.meta must be an object'],
    [{ meta: [{ year: 1 }] }, 'documents[1].payload.meta must be an object'],
    [{ meta: { year: '1999' } }, 'documents[1].payload.meta.year must be a number'],
    [{ draft: 'yes' }, 'documents[1].payload.draft must be a boolean'],
    [['lang'], 'documents[1].payload must be an object'],
    ['en', 'documents[1].payload must be an object'],
  ];
  for (const [payload, words] of wrong) {
    const vectors = unitVectors(seeded(5), 1);
    const add = [
      { id: 'good', vectors },
      { id: 'bad', vectors, payload },
    ];
    const { code, message } = await refusal(() => index.add(add));
    expect(code, JSON.stringify(payload)).toBe('INVALID_ARGUMENT');
    expect(message).toContain(words);
  }
  expect(index.documentCount).toBe(1);
});

test('fields are declared once: opened without, with the same, or refused', async () => {
  const directory = join(temporaryDirectory(), 'index');
  const fields = { year: 'number', lang: 'keyword' } as const;
  await (await Index.open(directory, { dim: DIM, fields })).close();
  await using index = await Index.open(directory, { fields: { lang: 'keyword', year: 'number' } });
  expect(index.fields).toEqual(fields);
  for (const other of [{}, { lang: 'keyword' }, { ...fields, lang: 'number' }] as const) {
    const { code, message } = await refusal(() =>
      Index.open(directory, { mode: 'read', fields: other }),
    );
    expect(code).toBe('MODEL_MISMATCH');
    expect(message).toContain('lang (keyword), year (number)');
  }
  const wrong = [
    null,
    ['lang'],
    { lang: 'text' },
    { and: 'keyword' },
    { $lang: 'keyword' },
    { '': 'keyword' },
    { 'a\0b': 'keyword' },
    { ['x'.repeat(65)]: 'keyword' },
    Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`f${i}`, 'number'])),
  ];
  for (const value of wrong) {
    const options = { dim: DIM, fields: value as never };
    const { code } = await refusal(() => Index.open(temporaryDirectory(), options));
    expect(code, JSON.stringify(value)).toBe('INVALID_ARGUMENT');
  }
});

test('a search that is filtered and shared by threads ranks as scoring document by document does', async () => {
  const random = seeded(6);
  await using index = await Index.open(temporaryDirectory(), {
    dim: 128,
    codec: 'f32',
    fields: { group: 'number' },
  });
  await index.add(
    Array.from({ length: 3000 }, (_, i) => ({
      id: `d${i}`,
      vectors: unitVectors(random, 10, 128),
      payload: { group: i % 3 },
    })),
  );
  const vectors = unitVectors(random, 8, 128);
  const ids = Array.from({ length: 3000 }, (_, i) => `d${i}`);
  const filter = { group: { in: [0, 2] } };
  const { hits } = await index.rank(vectors, ids, { topK: 25, filter });
  expect((await index.search(vectors, { topK: 25, filter })).hits).toEqual(hits);
  expect(hits.every(({ id }) => Number(id.slice(1)) % 3 !== 1)).toBe(true);
  const [one, two] = await index.rankMany(
    [
      { query: vectors, ids },
      { query: vectors, ids: ['d0', 'd1'] },
    ],
    { topK: 25, filter },
  );
  expect(one?.hits).toEqual(hits);
  expect(two?.excludedIds).toEqual(['d1']);
});
