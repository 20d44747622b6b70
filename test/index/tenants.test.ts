import { expect, test } from 'vitest';
import { Index, type TenantView } from '../../dist/index/store.js';
import type { Filter, Payload } from '../../dist/types.js';
import { FIELDS, matches, randomFilter, randomPayload } from './filter-model.js';
import { DIM, plainMaxSim, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

type Stored = { vectors: Float32Array; payload: Payload; text: string };

/** Names and ids that begin like each other, hold separators of all kinds, or are hard to write. */
const TENANTS = [
  'a',
  'ab',
  'a\u0001',
  'a/b',
  'é',
  'e\u0301',
  '😀',
  '$tenant',
  ' ',
  'x'.repeat(128),
];
const IDS = [
  'a',
  'b',
  'ab',
  'b\0a',
  '\0',
  'a\0a',
  '😀',
  '/',
  ' ',
  'a/b',
  '$tenant',
  'é',
  'z'.repeat(383),
];

const vectors = (text = 'v') => ({ vectors: unitVectors(seeded(9), 2), text });

test('thousands of random operations: each tenant sees what a model of its own says, and no more', async () => {
  const random = seeded(30);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  const directory = temporaryDirectory();
  const options = { dim: DIM, codec: 'f32', fields: FIELDS, tenants: true } as const;
  let index = await Index.open(directory, options);
  await using reader = await Index.open(directory, { mode: 'read' });
  const model = new Map(TENANTS.map((tenant) => [tenant, new Map<string, Stored>()]));
  const of = (tenant: string) => model.get(tenant) as Map<string, Stored>;

  /** One question of a random kind to one tenant's view. */
  const ask = async (view: TenantView): Promise<void> => {
    const own = of(view.tenant);
    const filter = below(4) === 0 ? undefined : randomFilter(below);
    const kept = [...own].filter(([, { payload }]) => !filter || matches(payload, filter));
    const limited = filter === undefined ? {} : { filter };
    const ids = Array.from({ length: 1 + below(8) }, () => pick(IDS));
    const query = unitVectors(random, 2);
    const isKept = (id: string) => kept.some(([one]) => one === id);
    const about = { tenant: view.tenant, filter, ids };
    const message = JSON.stringify(about);
    const check = (hits: readonly { id: string; score: number }[]): void => {
      for (const { id, score } of hits) {
        const stored = own.get(id);
        expect(stored, message).toBeDefined();
        expect(score).toBeCloseTo(plainMaxSim(query, (stored as Stored).vectors), 4);
      }
    };
    const kind = below(6);
    if (kind === 0) {
      const { hits } = await view.search(query, { topK: 100, ...limited });
      check(hits);
      expect(hits.map(({ id }) => id).sort(), message).toEqual(kept.map(([id]) => id).sort());
    } else if (kind === 1) {
      const { hits, unknownIds, excludedIds } = await view.rank(query, ids, {
        topK: 100,
        ...limited,
      });
      check(hits);
      expect(hits.map(({ id }) => id).sort(), message).toEqual(ids.filter(isKept).sort());
      expect(unknownIds, message).toEqual(ids.filter((id) => !own.has(id)));
      expect(excludedIds, message).toEqual(ids.filter((id) => own.has(id) && !isKept(id)));
    } else if (kind === 2) {
      const { scores } = view.score(query, ids, limited);
      expect(
        Array.from(scores, (score) => !Number.isNaN(score)),
        message,
      ).toEqual(ids.map(isKept));
    } else if (kind === 3) {
      expect(await view.count(filter), message).toBe(kept.length);
      expect(view.documentCount).toBe(own.size);
      expect(view.tokenCount).toBe(
        [...own.values()].reduce((sum, { vectors: { length } }) => sum + length / DIM, 0),
      );
    } else if (kind === 4) {
      const seen = new Map<string, string | null>();
      for await (const { id, text } of view.documents(limited)) seen.set(id, text);
      expect(Object.fromEntries(seen), message).toEqual(
        Object.fromEntries(kept.map(([id, { text }]) => [id, text])),
      );
    } else {
      expect(
        view.getMany(ids, limited).map((found) => found?.text),
        message,
      ).toEqual(ids.map((id) => (isKept(id) ? own.get(id)?.text : undefined)));
      expect(view.hasMany(ids)).toEqual(ids.map((id) => own.has(id)));
      for (const id of ids) {
        if (own.has(id)) expect(view.vectors(id)).toEqual(own.get(id)?.vectors);
        else expect((await refusal(() => view.vectors(id))).code).toBe('UNKNOWN_ID');
      }
    }
  };

  for (let step = 0; step < 250; step++) {
    const tenant = pick(TENANTS);
    const own = of(tenant);
    const kind = below(40);
    if (kind === 0) await index.compact();
    else if (kind === 1) {
      await index.close();
      index = await Index.open(directory, options);
    } else if (kind === 2) {
      expect((await index.tenant(tenant).clear()).deleted).toBe(own.size);
      own.clear();
    } else {
      const add = Array.from({ length: below(4) }, (_, i) => ({
        id: pick(IDS),
        vectors: unitVectors(random, 1 + below(3)),
        payload: randomPayload(below) ?? null,
        text: `${tenant} ${step}.${i}`,
      }));
      const remove = Array.from({ length: below(3) }, () => pick(IDS));
      const gone = [...new Set(remove)].filter((id) => !add.some((one) => one.id === id));
      const result = await index.tenant(tenant).commit({ add, delete: remove });
      expect(result.unknownIds).toEqual(gone.filter((id) => !own.has(id)));
      expect(result.deleted).toBe(gone.filter((id) => own.has(id)).length);
      for (const id of gone) own.delete(id);
      for (const { id, ...stored } of add) own.set(id, stored);
    }
    for (let n = 0; n < 8; n++) await ask(index.tenant(pick(TENANTS)));
    await reader.refresh();
    for (let n = 0; n < 3; n++) await ask(reader.tenant(pick(TENANTS)));
    if (step % 20 === 0) {
      expect(
        new Map(index.tenants().map(({ tenant: name, documents }) => [name, documents])),
      ).toEqual(
        new Map(
          [...model].filter(([, { size }]) => size > 0).map(([name, { size }]) => [name, size]),
        ),
      );
    }
  }
  await index.close();
}, 120_000);

test('an index with tenants answers nobody who names none, and the others have no tenants', async () => {
  await using index = await Index.open(temporaryDirectory(), {
    dim: DIM,
    fields: FIELDS,
    tenants: true,
  });
  await index.tenant('acme').add([{ id: 'a', ...vectors() }]);
  const query = unitVectors(seeded(1), 2);
  const plain: (() => unknown)[] = [
    () => index.has('a'),
    () => index.hasMany(['a']),
    () => index.get('a'),
    () => index.getMany([]),
    () => index.vectors('a'),
    () => index.contentHashes(['a']),
    () => index.score(query, ['a']),
    () => index.scoreAsync(query, ['a']),
    () => index.scoreMany([{ query, ids: ['a'] }]),
    () => index.rank(query, ['a']),
    () => index.rankMany([{ query, ids: ['a'] }]),
    () => index.search(query),
    () => index.search(query, { filter: { lang: 'en' } }),
    () => index.count(),
    () => index.count({ lang: 'en' }),
    () => index.explain(query, 'a'),
    () => index.documents().next(),
    () => index.add([{ id: 'b', ...vectors() }]),
    () => index.delete(['a']),
    () => index.commit({}),
    () => index.view(undefined),
    // A stored id is no way in, nor is an id that looks like one.
    () => index.get('acme\0a'),
    () => index.score(query, ['acme\0a']),
  ];
  for (const ask of plain) {
    const { code, message } = await refusal(ask);
    expect(code, String(ask)).toBe('TENANT_REQUIRED');
    expect(message).not.toContain('acme');
  }
  expect(index.tenants()).toEqual([{ tenant: 'acme', documents: 1, tokens: 2 }]);
  expect(index.hasTenants).toBe(true);

  await using other = await Index.open(temporaryDirectory(), { dim: DIM });
  expect(other.hasTenants).toBe(false);
  for (const ask of [() => other.tenant('acme'), () => other.tenants(), () => other.view('acme')]) {
    const { code, message } = await refusal(ask);
    expect(code).toBe('INVALID_ARGUMENT');
    expect(message).toContain('tenants');
  }
});

test('names of tenants and ids are checked, and share the room of one id', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, tenants: true });
  for (const name of ['', 'a\0b', '\ud800', 'x'.repeat(129), '😀'.repeat(33), 7, null, undefined]) {
    expect((await refusal(() => index.tenant(name as string))).code).toBe('INVALID_ARGUMENT');
  }
  const long = index.tenant('x'.repeat(128));
  await long.add([{ id: 'y'.repeat(383), ...vectors() }]);
  expect(long.has('y'.repeat(383))).toBe(true);
  const { code, message } = await refusal(() => long.add([{ id: 'y'.repeat(384), ...vectors() }]));
  expect(code).toBe('INVALID_ARGUMENT');
  expect(message).toContain('documents[0].id must be at most 383 bytes');
  for (const id of [1, null, undefined, {}]) {
    expect((await refusal(() => long.get(id as string))).code).toBe('INVALID_ARGUMENT');
  }
  expect([long.has(''), long.has('\ud800'), long.has('y'.repeat(600))]).toEqual([
    false,
    false,
    false,
  ]);
});

test('messages of a tenant show its own ids, and none of another', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, tenants: true });
  await index.tenant('secret').add([{ id: 'hidden', ...vectors() }]);
  const view = index.tenant('acme');
  const bad = { id: 'mine', vectors: new Float32Array(DIM).fill(Number.NaN) };
  const messages = await Promise.all(
    [
      () => view.add([bad]),
      () => view.vectors('hidden'),
      () => view.explain(unitVectors(seeded(1), 1), 'hidden'),
      () => view.search(unitVectors(seeded(1), 1), { filter: { $tenant: 'secret' } as Filter }),
      () =>
        view.search(unitVectors(seeded(1), 1), { filter: { not: { $tenant: 'acme' } } as Filter }),
    ].map(async (ask) => (await refusal(ask)).message),
  );
  expect(messages[0]).toContain('mine');
  expect(messages[1]).toContain('"hidden"');
  for (const message of messages) expect(message).not.toMatch(/secret/);
  expect((await view.delete(['hidden'])).unknownIds).toEqual(['hidden']);
  expect(index.tenant('secret').has('hidden')).toBe(true);
});

test('a tenant is cleared in its turn: what was committed before goes, what comes after stays', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, tenants: true });
  const [a, b] = [index.tenant('a'), index.tenant('b')];
  const document = (id: string) => ({ id, ...vectors() });
  const [, , cleared] = await Promise.all([
    a.add([document('1'), document('2')]),
    b.add([document('1')]),
    a.clear(),
    a.add([document('3')]),
  ]);
  expect(cleared).toMatchObject({ deleted: 2, unknownIds: [] });
  expect([a.hasMany(['1', '2', '3']), b.has('1')]).toEqual([[false, false, true], true]);
  expect(await a.clear()).toMatchObject({ deleted: 1 });
  expect(await a.clear()).toMatchObject({ deleted: 0 });
  expect(index.tenants()).toEqual([{ tenant: 'b', documents: 1, tokens: 2 }]);
});

test('tenants are chosen at creation, and a reader can change nothing', async () => {
  const directory = temporaryDirectory();
  await (await Index.open(directory, { dim: DIM, tenants: true })).close();
  const { code, message } = await refusal(() => Index.open(directory, { tenants: false }));
  expect(code).toBe('MODEL_MISMATCH');
  expect(message).toContain('tenants');
  await using reader = await Index.open(directory, { mode: 'read' });
  const view = reader.tenant('a');
  for (const change of [() => view.add([]), () => view.delete(['a']), () => view.clear()]) {
    expect((await refusal(change)).code).toBe('READ_ONLY');
  }
  await reader.close();
  expect((await refusal(() => view.get('a'))).code).toBe('CLOSED');
});

test('a snapshot of a tenant holds on to its documents, and to no others', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, tenants: true });
  const [a, b] = [index.tenant('a'), index.tenant('b')];
  const document = (id: string) => ({ id, ...vectors() });
  await a.add([document('1'), document('2')]);
  await b.add([document('1'), document('only b')]);
  using held = a.snapshot();
  await a.delete(['1']);
  await index.compact();
  expect((await refusal(() => index.snapshot())).code).toBe('TENANT_REQUIRED');
  await index.close();
  expect([held.documentCount, held.tokenCount]).toEqual([2, 4]);
  expect(held.hasMany(['1', '2', 'only b'])).toEqual([true, true, false]);
  const { vectors: query } = vectors();
  const { hits: found } = await held.search(query, { topK: 10 });
  expect(found.map(({ id }) => id).sort()).toEqual(['1', '2']);
  expect(await held.count({ not: { and: [] } })).toBe(0);
});
