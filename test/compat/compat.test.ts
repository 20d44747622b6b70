/** Every index of a released format can be read, and says what it said then. */
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { temporaryDirectory } from '../index/fixtures.js';

type Expected = {
  query: number[];
  documents: { id: string; values: number[] }[];
  scores: number[];
  search: { id: string; score: number }[];
  filtered: { id: string; score: number }[] | null;
};

const here = new URL('./frozen/', import.meta.url).pathname;
const formats = readdirSync(here).filter((name) => /^v\d+$/.test(name));
const indexes = formats.flatMap((format) =>
  readdirSync(join(here, format))
    .filter((name) => name.endsWith('.json'))
    .map((name) => `${format}/${name.slice(0, -'.json'.length)}`),
);

test('there are frozen indexes of every format', () => {
  expect(formats).toContain('v1');
  expect(indexes.length).toBeGreaterThanOrEqual(6);
});

test.each(indexes)('%s is read, searched and written on', async (name) => {
  const expected = JSON.parse(readFileSync(join(here, `${name}.json`), 'utf8')) as Expected;
  const directory = join(temporaryDirectory(), 'index');
  cpSync(join(here, name), directory, { recursive: true });
  const query = Float32Array.from(expected.query);
  const check = async (index: Index): Promise<void> => {
    const view = index.hasTenants ? index.tenant('acme') : index;
    const documents = [];
    for await (const stored of view.documents()) {
      const values = [...view.vectors(stored.id)].slice(0, 4 * 16).map((value) => value + 0);
      documents.push({ ...stored, values });
    }
    expect(documents).toEqual(expected.documents);
    const ids = documents.map(({ id }) => id);
    // Products of floats may differ in their last bits from one CPU to another.
    const floats = index.codec.name === 'f32' || index.codec.name === 'f16';
    const scores = [...view.score(query, ids).scores];
    if (floats) {
      scores.forEach((score, i) => {
        expect(score).toBeCloseTo(expected.scores[i] as number, 4);
      });
    } else {
      expect(scores).toEqual(expected.scores);
      expect((await view.search(query, { topK: 5 })).hits).toEqual(expected.search);
    }
    if (expected.filtered !== null) {
      const filter = { lang: 'de', year: { gte: 1995 } };
      expect((await index.search(query, { topK: 5, filter })).hits).toEqual(expected.filtered);
    }
  };
  await using reader = await Index.open(directory, { mode: 'read', verify: 'at-open' });
  await check(reader);
  {
    await using writer = await Index.open(directory, { dim: 16, compaction: 'off' });
    await writer.compact();
    await check(writer);
  }
  expect(await reader.refresh()).toBe(true);
  await check(reader);
});
