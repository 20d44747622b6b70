import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { DIM, plainMaxSim, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

type Stored = { vectors: Float32Array; text: string };

test('300 random operations leave the index as they leave a Map', async () => {
  const random = seeded(20);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = () => `id-${below(60)}`;
  const directory = temporaryDirectory();
  const model = new Map<string, Stored>();
  let index = await Index.open(directory, { dim: DIM, codec: 'f32' });

  const check = async () => {
    expect(index.documentCount).toBe(model.size);
    const seen = new Map<string, string | null>();
    for await (const { id, text } of index.documents()) seen.set(id, text);
    expect(Object.fromEntries(seen)).toEqual(
      Object.fromEntries([...model].map(([id, { text }]) => [id, text])),
    );
    const query = unitVectors(random, 3);
    const { hits: found } = await index.search(query, { topK: 100 });
    expect(found.map(({ id }) => id).sort()).toEqual([...model.keys()].sort());
    for (const { id, score } of found) {
      const { vectors } = model.get(id) as Stored;
      expect(score).toBeCloseTo(plainMaxSim(query, vectors), 4);
    }
  };

  for (let step = 0; step < 300; step++) {
    const kind = below(20);
    if (kind === 0) {
      await index.close();
      index = await Index.open(directory);
    } else if (kind === 1) {
      await index.compact();
    } else {
      const removed = Array.from({ length: below(3) }, pick);
      const added = Array.from({ length: below(4) }, () => ({
        id: pick(),
        vectors: unitVectors(random, 1 + below(6)),
        text: `step ${step}.${below(1000)}`,
      }));
      const gone = new Set(removed.filter((id) => !added.some((doc) => doc.id === id)));
      const expected = {
        deleted: [...gone].filter((id) => model.has(id)).length,
        unknownIds: [...gone].filter((id) => !model.has(id)),
        replaced: 0,
        added: 0,
      };
      for (const id of gone) model.delete(id);
      for (const { id, vectors, text } of added) {
        expected[model.has(id) ? 'replaced' : 'added'] += 1;
        model.set(id, { vectors, text });
      }
      expect(await index.commit({ add: added, delete: removed })).toMatchObject(expected);
    }
    if (step % 10 === 0) await check();
  }
  await check();
  await index.close();
});

test('calls that wait take effect in their order, as one generation', async () => {
  const random = seeded(5);
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const document = (id: string, text: string) => ({ id, text, vectors: unitVectors(random, 2) });
  const results = await Promise.all([
    index.add([document('a', '1'), document('b', '1')]),
    index.delete(['a']),
    index.add([document('a', '2')]),
    index.commit({ add: [document('b', '2')], delete: ['a'] }),
    index.add([{ id: 'bad', vectors: new Float32Array(3) }]).catch((error) => error.code),
    index.add([document('c', '1')]),
  ]);
  expect(results.map((result) => result.generation)).toEqual([1, 2, 2, 2, undefined, 2]);
  expect(results[4]).toBe('INVALID_VECTORS');
  expect(index.getMany(['a', 'b', 'c']).map((stored) => stored?.text)).toEqual([
    undefined,
    '2',
    '1',
  ]);
  await index.close();
});
