/** The codec ladder, through the index: what is stored comes back, scores, moves down, and is checked. */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CODECS, type CodecName, Index, prepareQuery } from '../../dist/maxsim.js';
import { plainMaxSim, refusal, seeded, temporaryDirectory } from './fixtures.js';

const DIM = 48;
const RESIDUAL = ['r4', 'r2', 'r1'] as const;

/** Unit vectors around a few hundred directions, as the tokens of a corpus lie. */
function clustered(seed: number) {
  const next = seeded(seed);
  const normal = () => next() + next() + next() + next() - 2;
  const centers = Array.from({ length: 200 }, () => Float32Array.from({ length: DIM }, normal));
  return (tokens: number): Float32Array => {
    const vectors = new Float32Array(tokens * DIM);
    for (let token = 0; token < tokens; token++) {
      const center = centers[Math.floor(next() * centers.length)] as Float32Array;
      const row = vectors.subarray(token * DIM, (token + 1) * DIM);
      for (let d = 0; d < DIM; d++) row[d] = (center[d] as number) + 0.4 * normal();
      const norm = Math.hypot(...row);
      for (let d = 0; d < DIM; d++) row[d] = (row[d] as number) / norm;
    }
    return vectors;
  };
}

const vectorsOf = clustered(1);
const documents = Array.from({ length: 120 }, (_, i) => ({
  id: `d${i}`,
  vectors: vectorsOf(20 + (i % 40)),
  text: `document ${i}`,
}));
const ids = documents.map(({ id }) => id);
const query = vectorsOf(33);
const exact = documents.map(({ vectors }) => plainMaxSim(query, vectors, DIM));

/** Mean distance of a codec's score to the exact one, per query token. */
const LOSS: Record<CodecName, number> = {
  f32: 1e-6,
  f16: 2e-4,
  bf16: 2e-3,
  'int8-token': 1e-3,
  int8: 2e-3,
  r4: 0.01,
  r2: 0.03,
  r1: 0.06,
};

const meanLoss = (scores: ArrayLike<number>): number =>
  exact.reduce((sum, score, i) => sum + Math.abs(score - (scores[i] as number)), 0) /
  exact.length /
  33;

test.each(CODECS)('%s tokens score like the exact ones, within the codec', async (codec) => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, codec });
  await index.add(documents);
  const { scores } = index.score(query, ids);
  expect(meanLoss(scores)).toBeLessThan(LOSS[codec]);
  // A candidate that is not stored scores as if it were.
  const given = documents.slice(0, 3).map(({ vectors }) => vectors);
  expect([...(await index.scoreVectors(query, given))]).toEqual([...scores.slice(0, 3)]);
  // Contributions add up, also of a query of several passes.
  const sum = index.explain(query, 'd5').reduce((total, match) => total + match.contribution, 0);
  expect(sum).toBeCloseTo(scores[5] as number, 3);
  const decoded = index.vectors('d5');
  expect(decoded).toHaveLength(25 * DIM);
  expect(Math.hypot(...decoded.subarray(0, DIM))).toBeCloseTo(1, 1);
  await index.close();

  const reopened = await Index.open(directory);
  expect(reopened.codec.name).toBe(codec);
  expect([...reopened.score(query, ids).scores]).toEqual([...scores]);
  // Later commits and merges keep the bytes.
  await reopened.add([{ id: 'late', vectors: vectorsOf(30) }]);
  await reopened.delete(['d3']);
  await reopened.compact();
  expect(reopened.score(query, ['d9']).scores[0]).toBe(scores[9]);
  await reopened.close();
});

test('fewer bytes a token, rung by rung, and the sizes that are promised', async () => {
  const bytes: number[] = [];
  for (const codec of CODECS) {
    await using index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
    await index.add(documents);
    const { bytes: sizes, tokens } = index.stats();
    bytes.push(Math.floor(sizes.tokens / tokens));
  }
  // Blocks begin at multiples of 64: less than a byte a token here, rounded down.
  expect(bytes).toEqual([192, 96, 96, 52, 48, 28, 16, 10]);
});

test.each(RESIDUAL)('%s learns the same codebook from the same documents', async (codec) => {
  const files: Buffer[] = [];
  for (let run = 0; run < 2; run++) {
    const directory = temporaryDirectory();
    await using index = await Index.open(directory, {
      dim: DIM,
      codec: { name: codec, centroids: 128, seed: 3 },
    });
    await index.add(documents);
    expect(index.codec).toMatchObject({ name: codec, centroids: 128 });
    files.push(readFileSync(join(directory, codebookOf(directory))));
  }
  expect(files[0]).toEqual(files[1]);
});

test('a residual codec refuses to learn from too little, and says what to do', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'r4' });
  const { code, message } = await refusal(() => index.add(documents.slice(0, 5)));
  expect(code).toBe('INVALID_ARGUMENT');
  expect(message).toContain('4096 tokens');
  expect(message).toContain('recode');
  expect(index.documentCount).toBe(0);
  expect((await index.search(query)).hits).toEqual([]);
  // Nothing is stored yet: given vectors score as they are.
  const [score] = await index.scoreVectors(query, [documents[0]?.vectors as Float32Array]);
  expect(score).toBeCloseTo(exact[0] as number, 3);
  await index.add(documents);
  expect(index.documentCount).toBe(documents.length);
});

test('recode goes down the ladder, keeps documents, and readers follow', async () => {
  const directory = temporaryDirectory();
  await using index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  for (const document of documents) await index.add([document]);
  await index.delete(['d7']);
  await using reader = await Index.open(directory, { mode: 'read' });
  for (const codec of ['f16', 'bf16', 'int8-token', 'int8', 'r4'] as const) {
    const shares: number[] = [];
    await index.recode(codec, { onProgress: (share) => shares.push(share) });
    expect(index.codec.name).toBe(codec);
    expect(shares.every((share) => share >= 0 && share <= 1)).toBe(true);
    expect(index.documentCount).toBe(documents.length - 1);
    expect(index.get('d8')?.text).toBe('document 8');
    const { scores, unknownIds } = index.score(query, ids);
    expect(unknownIds).toEqual(['d7']);
    expect(Math.abs((scores[8] as number) - (exact[8] as number)) / 33).toBeLessThan(0.05);
    expect(await reader.refresh()).toBe(true);
    expect([...reader.score(query, ids).scores]).toEqual([...scores]);
  }
  expect(index.codec.trainedTokens).toBeGreaterThan(2000);
  // A residual codec is where it ends.
  for (const codec of ['r2', 'int8', 'r4'] as const) {
    expect((await refusal(() => index.recode(codec))).code).toBe('INVALID_ARGUMENT');
  }
  // One codebook, one segment; what the other codecs wrote is gone.
  expect(readdirSync(directory).filter((name) => name.startsWith('codebook-'))).toHaveLength(1);
  expect(readdirSync(directory).filter((name) => name.endsWith('.maxsim'))).toHaveLength(2);
});

test('recode up the ladder, or aborted, leaves everything as it was', async () => {
  const directory = temporaryDirectory();
  await using index = await Index.open(directory, { dim: DIM });
  await index.add(documents);
  const before = [...index.score(query, ids).scores];
  expect((await refusal(() => index.recode('f32'))).message).toContain('int8');
  const controller = new AbortController();
  const running = index.recode('r4', { signal: controller.signal });
  controller.abort();
  await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
  expect(index.codec.name).toBe('int8');
  expect([...index.score(query, ids).scores]).toEqual(before);
  expect(readdirSync(directory).filter((name) => name.startsWith('codebook-'))).toEqual([]);
});

test('a codebook that is damaged, missing or of another index is named', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, codec: 'r4' });
  await index.add(documents);
  await index.close();
  const path = join(directory, codebookOf(directory));
  const bytes = readFileSync(path);
  for (const position of [0, 16, 40, 70, 124, 128, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged[position] = (damaged[position] as number) ^ 1;
    writeFileSync(path, damaged);
    const { code, message } = await refusal(() => Index.open(directory, { mode: 'read' }));
    expect(code).toBe('CORRUPT_INDEX');
    expect(message).toContain('codebook-');
  }
  writeFileSync(path, bytes.subarray(0, 500));
  expect((await refusal(() => Index.open(directory))).code).toBe('CORRUPT_INDEX');

  const other = temporaryDirectory();
  const another = await Index.open(other, { dim: DIM, codec: { name: 'r4', seed: 9 } });
  await another.add(documents);
  await another.close();
  copyFileSync(join(other, codebookOf(other)), path);
  expect((await refusal(() => Index.open(directory))).code).toBe('CORRUPT_INDEX');
  writeFileSync(path, bytes);
  await (await Index.open(directory)).close();
});

test.each(['f16', ...RESIDUAL] as const)('%s refuses tokens that it cannot hold', async (codec) => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
  await index.add(documents);
  for (const length of [1e-5, 1e5]) {
    const vectors = (documents[0] as { vectors: Float32Array }).vectors.map((x) => x * length);
    const { code, message } = await refusal(() => index.add([{ id: 'x', vectors }]));
    expect(code).toBe('VECTOR_OUT_OF_RANGE');
    expect(message).toContain(codec);
  }
  // Zeros have a place.
  await index.add([{ id: 'zero', vectors: new Float32Array(2 * DIM) }]);
  expect(index.score(query, ['zero']).scores[0]).toBe(0);
});

test.each(CODECS)(
  '%s: the best k are those of all scores, with and without early exit',
  async (codec) => {
    await using index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
    await index.add(documents);
    // Every document twice among the candidates, and an unknown one: equal scores keep their order.
    const candidates = [...ids, 'nobody', ...ids];
    for (const tokens of [1, 16, 33, 100]) {
      const long = prepareQuery(clustered(tokens)(tokens), DIM);
      const { scores } = index.score(long, candidates);
      const order = [...candidates.keys()]
        .filter((i) => candidates[i] !== 'nobody')
        .sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b)
        .slice(0, 15)
        .map((i) => ({ id: candidates[i] as string, score: scores[i] as number }));
      for (const earlyExit of [true, false]) {
        const ranked = await index.rank(long, candidates, { topK: 15, earlyExit });
        expect(ranked.hits).toEqual(order);
        expect(ranked.unknownIds).toEqual(['nobody']);
        if (!earlyExit) expect(ranked.skipped).toBe(0);
      }
    }
  },
);

test('a document that cannot be among the best is given up, and counted', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM });
  const near = clustered(1)(64);
  const opposite = near.map((x) => -x);
  await index.add([
    { id: 'near', vectors: near },
    ...Array.from({ length: 200 }, (_, i) => ({ id: `far${i}`, vectors: opposite })),
  ]);
  const all = ['near', ...Array.from({ length: 200 }, (_, i) => `far${i}`)];
  const { hits, skipped } = await index.rank(near, all, { topK: 1 });
  expect(hits[0]?.id).toBe('near');
  expect(skipped).toBeGreaterThan(100);
  const { hits: found } = await index.search(near, { topK: 1 });
  expect(found[0]?.id).toBe('near');
  expect(index.skippedDocuments).toBeGreaterThan(skipped);
});

test('many queries in one call answer like one by one, and bad ones are refused', async () => {
  await using index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'r4' });
  await index.add(documents);
  const requests = Array.from({ length: 9 }, (_, i) => ({
    query: clustered(i)(5 + 7 * i),
    ids: i === 4 ? [] : [...ids.slice(i), 'nobody'],
  }));
  const together = await index.scoreMany(requests);
  const ranked = await index.rankMany(requests, { topK: 3 });
  for (const [i, request] of requests.entries()) {
    expect(together[i]).toEqual(index.score(request.query, request.ids));
    expect(ranked[i]).toMatchObject({
      hits: (await index.rank(request.query, request.ids, { topK: 3 })).hits,
    });
  }
  expect(await index.scoreMany([])).toEqual([]);
  expect(await index.rankMany([])).toEqual([]);
  for (const run of [
    () => index.scoreMany([{ query, ids: 'd1' } as never]),
    () => index.rankMany([{ query }] as never),
    () => index.rankMany('x' as never),
    () => index.rank(query, ids, { topK: 0 }),
    () => index.rank(query, ids, { earlyExit: 1 as never }),
  ]) {
    expect((await refusal(run)).code).toBe('INVALID_ARGUMENT');
  }
  const narrow = prepareQuery(new Float32Array(16).fill(0.1), 16);
  expect((await refusal(() => index.rank(narrow, ids))).code).toBe('MODEL_MISMATCH');
});

function codebookOf(directory: string): string {
  return readdirSync(directory).find((name) => name.startsWith('codebook-')) as string;
}
