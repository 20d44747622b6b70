import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

test('short vectors in a small first commit keep their scores in int8', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const vectors = unitVectors(seeded(1), 4).map((x) => x * 1e-4);
  await index.add([{ id: 'short', vectors }]);
  const query = unitVectors(seeded(1), 4);
  const [score] = index.score(query, ['short']).scores;
  expect(score).toBeGreaterThan(3.9e-4);
  expect(score).toBeLessThan(4.1e-4);
  // Of a unit vector, such a range would keep next to nothing.
  const long = unitVectors(seeded(6), 1);
  expect(await refusal(() => index.add([{ id: 'long', vectors: long }]))).toMatchObject({
    code: 'VECTOR_OUT_OF_RANGE',
  });
  await index.close();
});

test('a subclass of Float32Array cannot hand over memory that its owner takes away', async () => {
  class View extends Float32Array {
    override slice(): Float32Array<ArrayBuffer> {
      return new Float32Array(this.buffer as ArrayBuffer);
    }
  }
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  const vectors = new View(unitVectors(seeded(2), 3));
  const copy = Float32Array.from(vectors);
  const adding = index.add([{ id: 'a', vectors }]);
  structuredClone(vectors.buffer, { transfer: [vectors.buffer as ArrayBuffer] });
  await adding;
  expect(index.vectors('a')).toEqual(copy);
  await index.close();
});

test('a commit that fails before its manifest leaves the index as usable as before', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add([{ id: 'a', vectors: unitVectors(seeded(3), 2) }]);
  // The next segment cannot be made where a directory has its name.
  const obstacle = join(index.directory, 'segment-00000002-0.maxsim');
  await mkdir(join(obstacle, 'occupied'), { recursive: true });
  const { code } = await refusal(() =>
    index.add([{ id: 'b', vectors: unitVectors(seeded(4), 2) }]),
  );
  expect(code).toBe('IO_ERROR');
  await rm(obstacle, { recursive: true });
  await index.add([{ id: 'b', vectors: unitVectors(seeded(4), 2) }]);
  expect(index.hasMany(['a', 'b'])).toEqual([true, true]);
  await index.close();
});

test('a sparse array of ids is refused at its first hole', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const { code } = await refusal(() => index.hasMany(new Array(2 ** 32 - 1)));
  expect(code).toBe('INVALID_ARGUMENT');
  await index.close();
});

test('a reader does not follow a directory that was made anew by another encoder', async () => {
  const directory = temporaryDirectory();
  const make = async (fingerprint: string, id: string): Promise<void> => {
    await rm(directory, { recursive: true, force: true });
    const encoder = { fingerprint, recipe: {} };
    await using writer = await Index.open(directory, { dim: DIM, encoder });
    await writer.add([{ id, vectors: unitVectors(seeded(5), 2) }]);
  };
  await make('first', 'old');
  const reader = await Index.open(directory, { mode: 'read' });
  await make('first', 'new'); // the same generation number
  expect(await reader.refresh()).toBe(true);
  expect(reader.hasMany(['old', 'new'])).toEqual([false, true]);
  await make('second', 'newer');
  expect(await refusal(() => reader.refresh())).toMatchObject({ code: 'MODEL_MISMATCH' });
  expect(reader.has('new')).toBe(true);
  await reader.close();
});

test('short lists are scored at once and long ones off the event loop, with equal scores', async () => {
  const dim = 128;
  const index = await Index.open(temporaryDirectory(), { dim });
  const next = seeded(7);
  const ids = Array.from({ length: 600 }, (_, i) => `d${i}`);
  await index.add(ids.map((id) => ({ id, vectors: unitVectors(next, 60, dim) })));
  const query = unitVectors(next, 32, dim);
  const { scores } = index.score(query, ids);
  expect((await index.scoreAsync(query, ids)).scores).toEqual(scores);
  expect((await index.scoreAsync(query, ids.slice(0, 5))).scores).toEqual(scores.slice(0, 5));
  expect((await index.scoreAsync(query, [])).scores).toHaveLength(0);
  const signal = AbortSignal.abort();
  const aborted = await refusal(() => index.scoreAsync(query, ids.slice(0, 5), { signal }));
  expect(aborted.code).toBe('ABORTED');
  await index.close();
});
