import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { compacted, DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const STORE = new URL('../../dist/index/store.js', import.meta.url).href;

type Call = { add: { id: string; vectors: Float32Array; text: string }[]; delete: string[] };

/** What a call leaves of `model`, and what it reports. */
function apply(model: Map<string, string>, call: Call) {
  const ids = new Set(call.add.map(({ id }) => id));
  const gone = [...new Set(call.delete)].filter((id) => !ids.has(id));
  const counts = {
    added: 0,
    replaced: 0,
    deleted: gone.filter((id) => model.has(id)).length,
    unknownIds: gone.filter((id) => !model.has(id)),
  };
  for (const id of gone) model.delete(id);
  for (const { id, text } of call.add) {
    counts[model.has(id) ? 'replaced' : 'added'] += 1;
    model.set(id, text);
  }
  return counts;
}

test('calls at the same time report and leave what they would one after the other', async () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const random = seeded(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const pick = () => `id-${below(25)}`;
    const directory = temporaryDirectory();
    const index = await Index.open(directory, { dim: DIM, codec: 'f16' });
    const model = new Map<string, string>();
    let generation = 0;
    for (let round = 0; round < 15; round++) {
      const running: Promise<unknown>[] = [];
      for (let i = below(20); i >= 0; i--) {
        const call: Call = {
          add: Array.from({ length: below(4) }, () => ({
            id: pick(),
            vectors: unitVectors(random, 1 + below(3)),
            text: `${round}.${i}.${below(1000)}`,
          })),
          delete: Array.from({ length: below(4) }, pick),
        };
        const kind = below(10);
        if (kind === 0) {
          // Found only when the group is written: too long for f16.
          const bad = { id: pick(), vectors: new Float32Array(DIM).fill(1e30), text: '' };
          const failing = index.commit({ ...call, add: [...call.add, bad] });
          running.push(
            refusal(() => failing).then(({ code }) =>
              expect(code, `seed ${seed}`).toMatch(/INVALID_VECTORS|VECTOR_OUT_OF_RANGE/),
            ),
          );
        } else if (kind === 1) {
          const failing = index.add([{ id: pick(), vectors: new Float32Array(3) }]);
          running.push(
            refusal(() => failing).then(({ code }) => expect(code).toBe('INVALID_VECTORS')),
          );
        } else {
          const expected = apply(model, call);
          running.push(
            index.commit(call).then((result) => {
              expect(result, `seed ${seed}`).toMatchObject(expected);
              expect(result.generation).toBeGreaterThanOrEqual(generation);
              generation = result.generation;
            }),
          );
        }
        if (below(6) === 0) running.push(index.compact());
      }
      if (below(3) > 0) await Promise.all(running);
      else await Promise.allSettled(running.slice(0, 1));
      await Promise.all(running);
      const stored = new Map<string, string | null>();
      for await (const { id, text } of index.documents()) stored.set(id, text);
      expect(Object.fromEntries(stored), `seed ${seed}`).toEqual(Object.fromEntries(model));
    }
    await index.close();
    await using again = await Index.open(directory, { mode: 'read' });
    expect(again.documentCount).toBe(model.size);
    for (const [id, text] of model) expect(again.get(id)?.text).toBe(text);
  }
});

test('a document that no codec holds fails its own call, and no call beside it', async () => {
  const index = await Index.open(temporaryDirectory(), {
    dim: DIM,
    codec: { name: 'int8', range: 0.5 },
  });
  const random = seeded(1);
  const fine = (id: string) => index.add([{ id, vectors: unitVectors(random, 2) }]);
  const long = index.add([
    { id: 'half', vectors: unitVectors(random, 1) },
    { id: 'long', vectors: new Float32Array(DIM).fill(3) },
  ]);
  const calls = [fine('a'), fine('b'), long, fine('c'), fine('d')];
  const results = await Promise.allSettled(calls);
  expect(results.map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
  ]);
  expect((await refusal(() => long)).code).toBe('VECTOR_OUT_OF_RANGE');
  expect(index.hasMany(['a', 'b', 'half', 'long', 'c', 'd'])).toEqual([
    true,
    true,
    false,
    false,
    true,
    true,
  ]);
  await index.close();
});

test('each call of a group counts the components that were clamped in its own documents', async () => {
  const unit = new Float32Array(DIM);
  unit.set([0.8, 0.6]);
  const flat = new Float32Array(DIM).fill(0.01);
  const codec = { name: 'int8', range: 0.5 } as const;
  const alone = await Index.open(temporaryDirectory(), { dim: DIM, codec });
  const { clippedComponents } = await alone.add([{ id: 'a', vectors: unit }]);
  expect(clippedComponents).toBeGreaterThan(0);
  await alone.close();
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
  const results = await Promise.all([
    index.add([{ id: 'a', vectors: unit }]),
    index.add([{ id: 'b', vectors: flat }]),
    index.add([
      { id: 'c', vectors: unit },
      { id: 'd', vectors: unit },
    ]),
  ]);
  expect(results.map((result) => result.generation)).toEqual([1, 1, 1]);
  expect(results.map((result) => result.clippedComponents)).toEqual([
    clippedComponents,
    0,
    2 * clippedComponents,
  ]);
  await index.close();
});

test('a document that comes and goes within one group leaves nothing behind', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  const vectors = unitVectors(seeded(1), 2);
  const results = await Promise.all([
    index.add([{ id: 'a', vectors, text: 'first' }]),
    index.delete(['a']),
  ]);
  expect(results).toMatchObject([
    { added: 1, generation: 0 },
    { deleted: 1, unknownIds: [], generation: 0 },
  ]);
  expect(readdirSync(directory).sort()).toEqual(['manifest.json', 'writer.lock']);
  await index.add([{ id: 'a', vectors, text: 'stored' }]);
  const again = await Promise.all([
    index.delete(['a', 'b']),
    index.add([{ id: 'a', vectors, text: 'new' }]),
    index.delete(['b']),
  ]);
  expect(again).toMatchObject([
    { deleted: 1, unknownIds: ['b'], generation: 2 },
    { added: 1, replaced: 0, generation: 2 },
    { deleted: 0, unknownIds: ['b'], generation: 2 },
  ]);
  expect(index.get('a')?.text).toBe('new');
  expect(index.documentCount).toBe(1);
  await index.close();
});

test('many waiting calls are bounded to a group, and all of them are committed', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  const vectors = unitVectors(seeded(1), 1);
  const results = await Promise.all(
    Array.from({ length: 20_000 }, (_, i) => index.add([{ id: `d${i}`, vectors }])),
  );
  const generations = results.map((result) => result.generation);
  expect(generations).toEqual([...generations].sort((a, b) => a - b));
  expect(new Set(generations).size).toBeGreaterThan(2);
  expect(new Set(generations).size).toBeLessThan(200);
  await compacted(index);
  expect(index.documentCount).toBe(20_000);
  await index.close();
});

test('a snapshot reads the same until it is closed, and after the index is', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  const random = seeded(1);
  const docs = Array.from({ length: 20 }, (_, i) => ({
    id: `d${i}`,
    vectors: unitVectors(random, 2),
    text: `text ${i}`,
  }));
  await index.add(docs);
  const snapshot = index.snapshot();
  const query = unitVectors(random, 3);
  const ids = docs.map(({ id }) => id);
  const { scores } = index.score(query, ids);
  await index.add([{ id: 'd0', vectors: unitVectors(random, 1), text: 'other' }]);
  await index.delete(ids.slice(1));
  await index.compact();
  await index.close();
  expect(snapshot.generation).toBe(1);
  expect(snapshot.documentCount).toBe(20);
  expect(snapshot.stats()).toMatchObject({ generation: 1, documents: 20, compaction: null });
  expect(snapshot.score(query, ids).scores).toEqual(scores);
  expect(snapshot.get('d0')?.text).toBe('text 0');
  expect((await snapshot.search(query, { topK: 20 })).hits.length).toBe(20);
  const listing = snapshot.documents();
  expect((await listing.next()).value?.id).toBe('d0');
  snapshot.close();
  snapshot.close();
  for (const run of [
    () => snapshot.get('d0'),
    () => snapshot.documentCount,
    () => snapshot.search(query),
    () => snapshot.stats(),
    () => index.snapshot(),
  ]) {
    expect((await refusal(run)).code).toBe('CLOSED');
  }
  // What was begun goes on.
  expect((await listing.next()).value?.id).toBe('d1');
  await listing.return();
});

test('the lock is not inherited by processes that are started meanwhile, and sees through links', async () => {
  const directory = join(temporaryDirectory(), 'index');
  mkdirSync(directory);
  const index = await Index.open(directory, { dim: DIM });
  const link = `${directory}-link`;
  symlinkSync(directory, link);
  expect((await refusal(() => Index.open(link))).code).toBe('INDEX_LOCKED');
  // Ends only when its standard input does, after the index is closed.
  const { spawn } = await import('node:child_process');
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await index.close();
  await (await Index.open(directory)).close();
  child.stdin.end();
});

/** Whether this user may mount a small disk in a namespace of its own. */
function mayMount(): boolean {
  const { status } = spawnSync('unshare', ['-rm', 'sh', '-c', 'mount -t tmpfs none /mnt']);
  return status === 0;
}

test.skipIf(!mayMount())(
  'a disk that is too small refuses a write in numbers, and keeps what was there',
  () => {
    const script = `
    import { readdirSync, writeFileSync, rmSync } from 'node:fs';
    import { Index } from ${JSON.stringify(STORE)};
    const index = await Index.open('/mnt/index', { dim: 128, codec: 'f32' });
    const document = (id, tokens) => ({ id, vectors: new Float32Array(128 * tokens).fill(0.1) });
    await index.add([document('a', 1000)]);
    const results = await Promise.allSettled([
      index.add([document('b', 10)]),
      index.add([document('large', 20000)]),
      index.add([document('c', 10)]),
    ]);
    const { reason } = results[1];
    console.log(JSON.stringify({
      states: results.map(({ status }) => status),
      code: reason.code,
      details: reason.details,
      ids: index.hasMany(['a', 'b', 'c', 'large']),
      left: readdirSync('/mnt/index').filter((name) => name.includes('.tmp-')),
    }));
    writeFileSync('/mnt/filler', Buffer.alloc(6.6 * 2 ** 20));
    const full = await index.compact().catch((error) => error);
    const stats = index.stats().compaction;
    rmSync('/mnt/filler');
    await index.compact();
    console.log(JSON.stringify({ code: full.code, segments: index.stats().segments.length, stats }));
    await index.close();`;
    const output = execFileSync(
      'unshare',
      [
        '-rm',
        'sh',
        '-c',
        'mount -t tmpfs -o size=8m none /mnt && exec "$0" --input-type=module -e "$1"',
        process.execPath,
        script,
      ],
      { encoding: 'utf8' },
    );
    const [adding, merging] = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(adding.states).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(adding.code).toBe('DISK_FULL');
    expect(adding.details.needed).toBeGreaterThan(20_000 * 512);
    expect(adding.details.needed).toBeLessThan(1.3 * 20_000 * 512);
    expect(adding.details.available).toBeLessThan(8 * 2 ** 20);
    expect(adding.ids).toEqual([true, true, true, false]);
    expect(adding.left).toEqual([]);
    expect(merging).toMatchObject({ code: 'DISK_FULL', segments: 1 });
  },
);
