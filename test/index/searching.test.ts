/** Searches of a whole index against a model: an exhaustive search, and documents in a Map. */
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { CODECS } from '../../dist/maxsim.js';
import { compacted, DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

type Next = () => number;

/** Tokens around a few of some directions: what centroids are good for. */
function clustered(next: Next, topics: Float32Array, tokens: number, spread: number): Float32Array {
  const count = topics.length / DIM;
  const around = Math.floor(next() * count);
  const noise = unitVectors(next, tokens);
  for (let token = 0; token < tokens; token++) {
    const topic = (around + Math.floor(next() ** 2 * 6)) % count;
    const row = noise.subarray(token * DIM, (token + 1) * DIM);
    for (let d = 0; d < DIM; d++) {
      row[d] = (topics[topic * DIM + d] as number) + spread * (row[d] as number);
    }
    const length = Math.hypot(...row);
    for (let d = 0; d < DIM; d++) row[d] = (row[d] as number) / length;
  }
  return noise;
}

test('1,000 certified searches of changing indexes in every codec are exhaustive searches', async () => {
  let cases = 0;
  let excluded = 0;
  let fast = 0;
  for (const [number, codec] of CODECS.entries()) {
    const next = seeded(100 + number);
    const topics = unitVectors(next, 60);
    // From tokens that are nearly their centroids to tokens that are nowhere near.
    const spreads = [0.02, 0.15, 0.6];
    const document = (i: number) => ({
      id: `d${i}`,
      vectors: clustered(next, topics, 1 + Math.floor(next() * 16), spreads[i % 3] as number),
    });
    const index = await Index.open(temporaryDirectory(), {
      dim: DIM,
      codec: codec.startsWith('r') ? { name: codec as 'r4', centroids: 64 } : codec,
    });
    await index.add(Array.from({ length: 620 }, (_, i) => document(i)));
    const queries = Array.from({ length: 12 }, () => clustered(next, topics, 8, 0.1));
    for (let round = 0; round < 5; round++) {
      if (round === 1) {
        await index.buildSearch({ centroids: 64, lists: number % 2 === 0, queries });
      }
      if (round === 2) {
        // Replaced, dead, and without codes.
        const added = Array.from({ length: 60 }, (_, i) => document(Math.floor(next() * 700) + i));
        await index.commit({
          add: [...new Map(added.map((one) => [one.id, one])).values()],
          delete: Array.from({ length: 40 }, (_, i) => `d${i * 7}`),
        });
      }
      if (round === 3) await index.compact();
      if (round === 4) await index.buildSearch({ retrain: true, centroids: 100, queries });
      for (let i = 0; i < 25; i++, cases++) {
        const query = clustered(next, topics, 1 + Math.floor(next() * 40), 0.1);
        const topK = [1, 3, 10, 700][i % 4] as number;
        const plain = (await index.search(query, { topK, method: 'exhaustive' })).hits;
        const certified = await index.search(query, { topK, exact: true });
        expect(certified.hits).toEqual(plain);
        expect(certified.plan.certified).toBe(true);
        excluded += certified.plan.excluded;
        for (const method of ['scan', 'lists'] as const) {
          const deep = await index.search(query, { topK, method, depth: 5000 });
          expect(deep.hits).toEqual(plain);
          const shallow = await index.search(query, { topK, method });
          const alone = await index.search(query, { topK, method, parallel: false });
          expect(alone.hits).toEqual(shallow.hits);
          const narrow = await index.search(query, { topK, method, depth: 1 });
          expect(narrow.hits).toHaveLength(plain.length);
          fast += shallow.plan.scored < shallow.plan.documents ? 1 : 0;
        }
      }
    }
    await index.close();
  }
  expect(cases).toBe(1000);
  // The bounds and the depths do something.
  expect(excluded).toBeGreaterThan(10_000);
  expect(fast).toBeGreaterThan(200);
});

test('adds, deletes, upserts, merges and codes between searches leave what a Map would', async () => {
  const next = seeded(7);
  const below = (limit: number): number => Math.floor(next() * limit);
  const topics = unitVectors(next, 40);
  const model = new Map<string, Float32Array>();
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  const make = (): { id: string; vectors: Float32Array } => ({
    id: `d${below(900)}`,
    vectors: clustered(next, topics, 4 + below(12), 0.2),
  });
  const put = async (count: number): Promise<void> => {
    const added = [...new Map(Array.from({ length: count }, make).map((d) => [d.id, d])).values()];
    const gone = Array.from({ length: below(20) }, () => `d${below(900)}`);
    await index.commit({ add: added, delete: gone });
    const kept = new Set(added.map(({ id }) => id));
    for (const id of gone) if (!kept.has(id)) model.delete(id);
    for (const { id, vectors } of added) model.set(id, vectors);
  };
  await put(900);
  await index.buildSearch({ centroids: 64, lists: true });
  for (let step = 0; step < 40; step++) {
    const kind = below(12);
    if (kind === 0) await index.compact();
    else if (kind === 1) {
      const queries = Array.from({ length: 8 }, () => clustered(next, topics, 8, 0.1));
      await index.buildSearch({ retrain: below(2) === 0, lists: below(2) === 0, queries });
    } else await put(1 + below(30));
    if (step % 8 === 0) await compacted(index);
    const query = clustered(next, topics, 1 + below(20), 0.1);
    const { hits, plan } = await index.search(query, { topK: 20, exact: true });
    expect(plan.documents).toBe(model.size);
    const { scores } = index.score(query, [...model.keys()]);
    const expected = [...scores].sort((a, b) => b - a).slice(0, 20);
    expect(hits.map(({ score }) => score)).toEqual(expected);
    for (const { id } of hits) expect(model.has(id)).toBe(true);
    // A guess finds nothing that is not there, and says what it did.
    for (const found of (await index.search(query, { topK: 20, method: 'lists' })).hits) {
      expect(model.has(found.id)).toBe(true);
    }
  }
  await index.close();
});

test('filters keep results right and work small, whatever share of the documents they keep', async () => {
  const next = seeded(8);
  const topics = unitVectors(next, 60);
  const index = await Index.open(temporaryDirectory(), {
    dim: DIM,
    fields: { place: 'number' },
  });
  const count = 4000;
  await index.add(
    Array.from({ length: count }, (_, i) => ({
      id: `d${i}`,
      vectors: clustered(next, topics, 12, 0.3),
      payload: { place: (i * 7919) % count },
    })),
  );
  await index.buildSearch({ centroids: 128, lists: true });
  const queries = Array.from({ length: 20 }, () => clustered(next, topics, 16, 0.1));
  let before = Number.POSITIVE_INFINITY;
  for (const share of [1, 0.5, 0.05, 0.005, 0]) {
    const filter = { place: { lt: share * count } };
    let looked = 0;
    let [found, wanted] = [0, 0];
    for (const query of queries) {
      const plain = (await index.search(query, { filter, method: 'exhaustive' })).hits;
      expect(plain).toHaveLength(Math.min(10, share * count));
      for (const method of ['auto', 'scan', 'lists'] as const) {
        const { hits, plan } = await index.search(query, { filter, method });
        expect(plan.documents).toBe(share * count);
        expect(hits).toHaveLength(plain.length);
        const ids = new Set(hits.map(({ id }) => id));
        found += plain.filter(({ id }) => ids.has(id)).length;
        wanted += plain.length;
        if (method === 'scan') looked += plan.codes + 12 * plan.scored;
      }
      expect((await index.search(query, { filter, exact: true })).hits).toEqual(plain);
    }
    expect(found).toBeGreaterThanOrEqual(0.97 * wanted);
    expect(looked).toBeLessThan(before);
    before = looked;
  }
  const many = await index.searchMany(queries, { filter: { place: { lt: 200 } } });
  for (const [i, query] of queries.entries()) {
    const alone = await index.search(query, { filter: { place: { lt: 200 } } });
    expect(many[i]?.hits).toEqual(alone.hits);
  }
  await index.close();
});

test('a search ends where it is told to, and what cannot be is refused', async () => {
  const next = seeded(9);
  const topics = unitVectors(next, 30);
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add(
    Array.from({ length: 500 }, (_, i) => ({
      id: `d${i}`,
      vectors: clustered(next, topics, 10, 0.2),
    })),
  );
  await index.buildSearch({ centroids: 32 });
  const query = clustered(next, topics, 8, 0.1);
  const aborted = AbortSignal.abort();
  for (const options of [{ deadlineMs: 1e-6 }, { signal: aborted }]) {
    for (const method of ['exhaustive', 'scan', 'lists'] as const) {
      expect(
        (await refusal(() => index.searchMany([query, query], { ...options, method }))).code,
      ).toBe('ABORTED');
    }
  }
  expect((await refusal(() => index.buildSearch({ signal: aborted }))).code).toBe('ABORTED');
  for (const options of [{ recall: 0.9, depth: 5 }, { exact: 1 }, { parallel: 'no' }]) {
    expect((await refusal(() => index.search(query, options as never))).code).toBe(
      'INVALID_ARGUMENT',
    );
  }
  for (const options of [
    { centroids: 1 },
    { lists: 'some' },
    { queries: [new Float32Array(DIM)], queryDocuments: [] },
    { queries: [new Float32Array(3)] },
  ]) {
    expect((await refusal(() => index.buildSearch(options as never))).code).toMatch(/^INVALID_/);
  }
  expect(await index.searchMany([])).toEqual([]);
  await index.close();
});
