import { describe, expect, it, test } from 'vitest';
import { curveFor, depthFor, tableOf } from '../../dist/index/depths.js';
import { Index } from '../../dist/maxsim.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

type Next = () => number;

/** Vectors of `count` topics with something of their own: what documents and questions about them have. */
function aboutTopics(next: Next, topics: Float32Array, picks: readonly number[], own: number) {
  const vectors = new Float32Array(picks.length * DIM);
  for (const [token, topic] of picks.entries()) {
    const noise = unitVectors(next, 1);
    const row = vectors.subarray(token * DIM, (token + 1) * DIM);
    for (let d = 0; d < DIM; d++) {
      row[d] = (topics[topic * DIM + d] as number) + own * (noise[d] as number);
    }
    const length = Math.hypot(...row);
    for (let d = 0; d < DIM; d++) row[d] = (row[d] as number) / length;
  }
  return vectors;
}

const TOPICS = 200;

/** Each document is about a few topics that are near each other; questions are about some of these. */
function collection(seed: number, count: number) {
  const next = seeded(seed);
  const topics = unitVectors(next, TOPICS);
  const near = (around: number): number => (around + Math.floor(next() ** 2 * 12)) % TOPICS;
  const about = (size: number): number[] => {
    const around = Math.floor(next() * TOPICS);
    return Array.from({ length: size }, () => near(around));
  };
  const documents = Array.from({ length: count }, (_, i) => ({
    id: `d${i}`,
    vectors: aboutTopics(next, topics, about(16 + Math.floor(next() * 16)), 0.8),
  }));
  const questions = (how: number): Float32Array[] =>
    Array.from({ length: how }, () => aboutTopics(next, topics, about(16), 0.8));
  return { documents, questions };
}

async function recallOf(index: Index, queries: readonly Float32Array[], recall: number) {
  let found = 0;
  let scored = 0;
  for (const query of queries) {
    const exact = await index.search(query, { topK: 10, method: 'exhaustive' });
    const { hits, plan } = await index.search(query, { topK: 10, recall, method: 'scan' });
    const ids = new Set(hits.map(({ id }) => id));
    found += exact.hits.filter(({ id }) => ids.has(id)).length;
    scored += plan.scored;
  }
  return { share: found / (10 * queries.length), scored: scored / queries.length };
}

test('depths measured on parts of documents keep the promise to questions, and to more documents', async () => {
  const { documents, questions } = collection(3, 4000);
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  await index.add(documents.slice(0, 2000));
  const built = await index.buildSearch({ centroids: 128 });
  expect(built.queries).toBe(128);
  const asked = questions(150);
  const shallow = await recallOf(index, asked, 0.9);
  const deep = await recallOf(index, asked, 0.99);
  expect(shallow.share).toBeGreaterThanOrEqual(0.9);
  expect(deep.share).toBeGreaterThanOrEqual(0.99);
  expect(deep.scored).toBeGreaterThan(shallow.scored);
  expect(deep.scored).toBeLessThan(800);
  // Twice the documents, with codes but nothing learned or measured again.
  await index.add(documents.slice(2000));
  await index.compact();
  const grown = await recallOf(index, asked, 0.99);
  expect(grown.share).toBeGreaterThanOrEqual(0.99);
  expect(grown.scored).toBeGreaterThan(deep.scored);
  expect(grown.scored).toBeLessThan(1600);
  // Given queries are measured instead.
  const own = await index.buildSearch({ queries: asked.slice(0, 64) });
  expect(own.queries).toBe(64);
  expect((await recallOf(index, asked.slice(64), 0.98)).share).toBeGreaterThanOrEqual(0.98);
  await index.close();
});

it('says what is wrong with what is asked', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add([{ id: 'a', vectors: unitVectors(seeded(1), 20) }]);
  expect(await refusal(() => index.buildSearch())).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/4,?096/),
  });
  const query = unitVectors(seeded(2), 3);
  for (const options of [{ recall: 1 }, { recall: 0 }, { depth: 0 }, { method: 'best' }]) {
    expect((await refusal(() => index.search(query, options as never))).code).toBe(
      'INVALID_ARGUMENT',
    );
  }
  expect((await index.search(query, { exact: true })).plan).toMatchObject({
    method: 'exhaustive',
    certified: true,
  });
  await index.close();
});

describe('a depth', () => {
  const rows = (count: number, rank: (query: number, place: number) => number): number[][] =>
    Array.from({ length: count }, (_, query) =>
      Array.from({ length: 10 }, (_, place) => rank(query, place)),
    );

  it('is deeper than what the measured queries need, by a margin that more queries make smaller', () => {
    // One hit of ten at rank 100 + query, the others at once: to find .95 needs half of those.
    const few = rows(32, (query, place) => (place === 9 ? 100 + query : place + 1));
    const many = rows(1024, (query, place) => (place === 9 ? 100 + (query % 32) : place + 1));
    const [wide, narrow] = [few, many].map((one) => depthFor(one, 10, 0.95, 1000));
    expect(narrow).toBeGreaterThanOrEqual(116);
    expect(wide).toBeGreaterThan(narrow as number);
    expect(wide).toBeLessThanOrEqual(131);
  });

  it('is not proven by queries that all find everything, when more is promised than they can show', () => {
    const easy = rows(32, () => 5);
    expect(depthFor(easy, 10, 0.99, 1000)).toBe(5);
    expect(depthFor(easy, 10, 0.999, 1000)).toBe(10);
    expect(depthFor(easy, 10, 0.999, 7)).toBe(7);
    // Ten times the hits of one query each prove ten times as much.
    expect(depthFor(easy, 1, 0.99, 1000)).toBe(10);
    expect(tableOf(easy, [1, 10], 1000).map(([one]) => one)).toContain(5);
  });

  it('never falls with k or recall, and lies between those that were measured', () => {
    const next = seeded(9);
    const table = tableOf(
      rows(64, (_, place) => 1 + Math.floor(next() ** 4 * 50 * (place + 1))),
      [1, 10],
      5000,
    );
    for (const [r, row] of table.entries()) {
      expect(row[1]).toBeGreaterThanOrEqual(row[0] as number);
      expect(row[0]).toBeGreaterThanOrEqual(table[r - 1]?.[0] ?? 1);
    }
    const depths = {
      documents: 5000,
      queries: 64,
      ks: [1, 10],
      recalls: [0.9, 0.99],
      scan: {
        depths: [
          [10, 100],
          [40, 400],
        ],
        margins: [
          [0.01, null],
          [0.03, 0.5],
        ],
      },
      lists: null,
    };
    const at = (recall: number): number[] => [...curveFor(depths, depths.scan, recall)];
    const all = Number.POSITIVE_INFINITY;
    expect(at(0.9)).toEqual([5000, 1, 10, 0.01, 10, 100, all]);
    expect(at(0.99)).toEqual([5000, 1, 40, 0.03, 10, 400, 0.5]);
    // A tenth of .1 missed is as far from it as from .01.
    const between = at(1 - Math.sqrt(0.1 * 0.01));
    expect(between[2]).toBe(20);
    expect(between[3]).toBeCloseTo(0.02);
    expect(between[5]).toBe(200);
    expect(at(0.999)[5]).toBeGreaterThan(400);
    expect(at(0.999)[6]).toBe(all);
  });
});
