import { expect, test } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { seeded, temporaryDirectory, unitVectors } from './fixtures.js';

test('a search that several threads share ranks as scoring document by document does', async () => {
  const dim = 128;
  const next = seeded(5);
  const index = await Index.open(temporaryDirectory(), { dim });
  const same = unitVectors(next, 90, dim);
  for (let segment = 0; segment < 3; segment++) {
    await index.add(
      Array.from({ length: 100 }, (_, i) => ({
        id: `${segment}-${i}`,
        // Every tenth document is the same: ties, across ranges and segments.
        vectors: i % 10 === 0 ? same : unitVectors(next, 60 + (i % 50), dim),
      })),
    );
  }
  await index.delete(['0-3', '1-10', '2-99']);
  const ids: string[] = [];
  for await (const document of index.documents()) ids.push(document.id);
  expect(ids).toHaveLength(297);
  // Enough for the scan to be split: see kParallelBytes in native/index/snapshot.cpp.
  expect(index.tokenCount * dim).toBeGreaterThan(2 << 20);
  const searches = Array.from({ length: 12 }, async (_, i) => {
    const query = i === 0 ? same.slice(0, 32 * dim) : unitVectors(seeded(i), 32, dim);
    const { scores } = index.score(query, ids);
    const expected = ids
      .map((id, place) => ({ id, score: scores[place] as number, place }))
      .sort((a, b) => b.score - a.score || a.place - b.place)
      .map(({ id, score }) => ({ id, score }));
    expect((await index.scoreAsync(query, ids)).scores).toEqual(scores);
    expect((await index.search(query, { topK: 50 })).hits).toEqual(expected.slice(0, 50));
    expect((await index.search(query, { topK: 1000 })).hits).toEqual(expected);
  });
  await Promise.all(searches);
  await index.close();
});
