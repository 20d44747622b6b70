import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { prepareQuery } from '../../dist/maxsim/query.js';
import {
  compacted,
  DIM,
  plainMaxSim,
  refusal,
  seeded,
  temporaryDirectory,
  unitVectors,
} from './fixtures.js';

const STORE = new URL('../../dist/index/store.js', import.meta.url).href;

function documents(count: number, seed = 1, prefix = 'doc') {
  const random = seeded(seed);
  return Array.from({ length: count }, (_, i) => ({
    id: `${prefix}-${i}`,
    vectors: unitVectors(random, 1 + (i % 7)),
    text: `passage ${i}`,
    payload: { i, nested: { list: [1, 'two', null, true] } },
    contentHash: `hash-${i}`,
  }));
}

test('documents come back as they were added, also after reopening', async () => {
  const directory = temporaryDirectory();
  const docs = documents(30);
  const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  const result = await index.add(docs);
  expect(result).toEqual({
    generation: 1,
    added: 30,
    replaced: 0,
    deleted: 0,
    unknownIds: [],
    clippedComponents: 0,
  });
  await index.close();
  for (const mode of ['write', 'read'] as const) {
    await using again = await Index.open(directory, { mode });
    expect(again.dim).toBe(DIM);
    expect(again.codec).toEqual({ name: 'f32', scale: 1 });
    expect(again.documentCount).toBe(30);
    expect(again.generation).toBe(1);
    for (const doc of docs) {
      expect(again.get(doc.id)).toEqual({
        id: doc.id,
        text: doc.text,
        payload: doc.payload,
        contentHash: doc.contentHash,
        tokenCount: doc.vectors.length / DIM,
      });
      expect(again.vectors(doc.id)).toEqual(doc.vectors);
    }
    expect(again.tokenCount).toBe(docs.reduce((sum, doc) => sum + doc.vectors.length / DIM, 0));
    expect(again.contentHashes(['doc-3', 'absent'])).toEqual(['hash-3', undefined]);
  }
});

test('vectors of an int8 index are within half a step a dim of what was added', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  expect(index.codec).toEqual({ name: 'int8', scale: null });
  const docs = documents(10);
  await index.add(docs);
  const scale = index.codec.scale as number;
  expect(scale).toBe(Math.fround(1 / 127));
  for (const doc of docs) {
    const stored = index.vectors(doc.id);
    // The codec rotates before it rounds, so the bound holds for the length of the error.
    for (let token = 0; token < doc.vectors.length; token += DIM) {
      const errors = Array.from(
        { length: DIM },
        (_, i) => (stored[token + i] as number) - (doc.vectors[token + i] as number),
      );
      expect(Math.hypot(...errors)).toBeLessThanOrEqual(scale * 0.501 * Math.sqrt(DIM));
    }
  }
  await index.close();
});

test('the first commit of many tokens narrows the int8 range to what it holds', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const vectors = new Float32Array(5000 * DIM).fill(0.25);
  vectors[77] = -0.5;
  expect(await index.add([{ id: 'a', vectors }])).toMatchObject({ clippedComponents: 0 });
  // The largest component of a unit vector is at least 1 / sqrt(DIM), however it is rotated.
  expect((index.codec.scale as number) * 127).toBeLessThan(0.9);
  expect((index.codec.scale as number) * 127).toBeGreaterThan(0.25);
  await index.close();
});

test('scores equal a plain MaxSim within the tolerance of the codec', async () => {
  for (const codec of ['f32', 'int8'] as const) {
    const index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
    const docs = documents(60);
    await index.add(docs);
    const query = unitVectors(seeded(9), 5);
    const ids = docs.map((doc) => doc.id);
    const { scores, unknownIds } = index.score(query, ids);
    expect(unknownIds).toEqual([]);
    // int8: each of 5 query tokens and the document are off by half a step of 1/127 per value.
    const tolerance = codec === 'f32' ? 1e-5 : 5 * DIM * (1 / 127) * 0.6;
    for (const [i, doc] of docs.entries()) {
      const expected = plainMaxSim(query, doc.vectors);
      expect(Math.abs((scores[i] as number) - expected)).toBeLessThan(tolerance);
    }
    const prepared = prepareQuery(query, DIM);
    expect(index.score(prepared, ids).scores).toEqual(scores);
    expect((await index.scoreAsync(query, ids)).scores).toEqual(scores);
    expect(
      await index.scoreVectors(
        query,
        docs.map((doc) => doc.vectors),
      ),
    ).toEqual(scores);
    const { hits: found } = await index.search(query, { topK: 7 });
    const best = ids
      .map((id, i) => ({ id, score: scores[i] as number }))
      .sort((a, b) => b.score - a.score);
    expect(found).toEqual(best.slice(0, 7));
    const matches = index.explain(query, 'doc-5');
    expect(matches).toHaveLength(5);
    const total = matches.reduce((sum, match) => sum + match.contribution, 0);
    expect(total).toBeCloseTo(scores[5] as number, 5);
    expect(index.explainVectors(query, (docs[5] as { vectors: Float32Array }).vectors)).toEqual(
      matches,
    );
    await index.close();
  }
});

test('unknown ids score NaN and are named, in the order they came', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const query = unitVectors(seeded(9), 2);
  expect(index.score(query, ['x'])).toEqual({
    scores: Float32Array.of(Number.NaN),
    unknownIds: ['x'],
    excludedIds: [],
  });
  await index.add(documents(3));
  const { scores, unknownIds } = index.score(query, ['nope', 'doc-1', 'x'.repeat(600), 'doc-2']);
  expect(unknownIds).toEqual(['nope', 'x'.repeat(600)]);
  expect(Array.from(scores, Number.isNaN)).toEqual([true, false, true, false]);
  expect(index.score(query, []).scores).toHaveLength(0);
  expect((await refusal(() => index.vectors('nope'))).code).toBe('UNKNOWN_ID');
  expect((await refusal(() => index.explain(query, 'nope'))).code).toBe('UNKNOWN_ID');
  expect(index.has('nope')).toBe(false);
  await index.close();
});

test('an id added again replaces the document, and the last of a batch wins', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const [a, b] = documents(2);
  await index.add([a, b] as never);
  const twice = [
    { ...a, text: 'second' },
    { ...a, text: 'third' },
  ] as never;
  expect(await index.add(twice)).toMatchObject({ added: 0, replaced: 2 });
  expect(index.get('doc-0')?.text).toBe('third');
  expect(index.documentCount).toBe(2);
  await index.close();
});

test('deletes are counted, unknown ones are named, and a no-op makes no generation', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add(documents(10));
  expect(await index.delete(['doc-1', 'gone', 'doc-1'])).toMatchObject({
    generation: 2,
    deleted: 1,
    unknownIds: ['gone'],
  });
  expect(await index.delete(['doc-1'])).toMatchObject({ generation: 2, unknownIds: ['doc-1'] });
  expect(await index.add([])).toMatchObject({ generation: 2, added: 0 });
  expect(index.get('doc-1')).toBeUndefined();
  expect((await index.search(unitVectors(seeded(1), 1), { topK: 50 })).hits).toHaveLength(9);
  await index.delete(Array.from({ length: 10 }, (_, i) => `doc-${i}`));
  expect(index.documentCount).toBe(0);
  expect((await index.search(unitVectors(seeded(1), 1))).hits).toEqual([]);
  expect(readdirSync(directory).sort()).toEqual(['manifest.json', 'writer.lock']);
  await index.close();
  await using again = await Index.open(directory);
  expect(again.documentCount).toBe(0);
  expect(again.codec.scale).toBe(Math.fround(1 / 127));
});

test('one commit deletes and adds, and an id in both is a replacement', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add(documents(4));
  const [first] = documents(1, 5);
  const result = await index.commit({
    add: [first as never, { id: 'new', vectors: unitVectors(seeded(3), 2) }],
    delete: ['doc-0', 'doc-3', 'zzz'],
  });
  expect(result).toMatchObject({ added: 1, replaced: 1, deleted: 1, unknownIds: ['zzz'] });
  expect(index.hasMany(['doc-0', 'doc-1', 'doc-3', 'new'])).toEqual([true, true, false, true]);
  expect(index.get('new')).toEqual({
    id: 'new',
    text: null,
    payload: null,
    contentHash: null,
    tokenCount: 2,
  });
  await index.close();
});

test('ids may be any text of 1 to 512 bytes', async () => {
  const directory = temporaryDirectory();
  const ids = [
    'a',
    ' ',
    'é',
    '日本語',
    '🎉'.repeat(128),
    '\u0000',
    'a\u0000b',
    '../x',
    '\uFFFD',
    'x'.repeat(512),
  ];
  const index = await Index.open(directory, { dim: DIM });
  const random = seeded(4);
  await index.add(ids.map((id) => ({ id, vectors: unitVectors(random, 2), text: id })));
  await index.close();
  await using again = await Index.open(directory);
  for (const id of ids) expect(again.get(id)?.text).toBe(id);
  // A lone surrogate is U+FFFD in UTF-8, but no other id's document.
  expect(again.has('\uD800')).toBe(false);
  for (const id of ['', 'x'.repeat(513), '\uD800', 7, null, undefined]) {
    const { code } = await refusal(() =>
      again.add([{ id, vectors: unitVectors(random, 1) } as never]),
    );
    expect(code).toBe('INVALID_ARGUMENT');
  }
});

test('merges keep every id and every score bit for bit', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  const docs = documents(70);
  const query = unitVectors(seeded(2), 4);
  const alone = new Map<string, number>();
  for (const doc of docs) {
    await index.add([doc]);
    alone.set(doc.id, index.score(query, [doc.id]).scores[0] as number);
  }
  await compacted(index);
  expect(index.stats().segments.length).toBeLessThan(16);
  await index.delete(['doc-7', 'doc-8']);
  const check = () => {
    for (const doc of docs) {
      const [score] = index.score(query, [doc.id]).scores;
      if (doc.id === 'doc-7' || doc.id === 'doc-8') expect(score).toBeNaN();
      else expect(score).toBe(alone.get(doc.id));
    }
  };
  check();
  await index.compact();
  expect(index.stats().segments).toHaveLength(1);
  expect(index.stats().deadDocuments).toBe(0);
  check();
  const { generation } = index;
  await index.compact();
  expect(index.generation).toBe(generation);
  expect(readdirSync(directory)).toHaveLength(3);
  await index.close();
});

test('a segment of which most documents are dead is rewritten', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add(documents(10));
  await index.delete(['doc-0', 'doc-1', 'doc-2', 'doc-3', 'doc-4']);
  expect(index.stats().deadDocuments).toBe(5);
  await index.delete(['doc-5']);
  await compacted(index);
  expect(index.stats()).toMatchObject({ deadDocuments: 0, documents: 4 });
  await index.close();
});

test('sizes add up to what the directory holds', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add(documents(20));
  await index.delete(['doc-2']);
  const { statSync } = await import('node:fs');
  const files = readdirSync(directory).filter((name) => name !== 'writer.lock');
  const size = files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  const { bytes, sizeBytes } = index.stats();
  expect(sizeBytes).toBe(size);
  expect(index.sizeBytes).toBe(size);
  expect(Object.values(bytes).reduce((a, b) => a + b, 0)).toBe(size);
  await index.close();
});

test('documents() goes through one generation, whatever is committed meanwhile', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add(documents(600));
  const seen: string[] = [];
  for await (const document of index.documents()) {
    seen.push(document.id);
    if (seen.length === 10) await index.delete(['doc-1', 'doc-599', 'doc-300']);
  }
  expect(seen).toEqual(documents(600).map((doc) => doc.id));
  for await (const _ of index.documents()) break;
  await index.close();
});

test('a second writer is refused with the pid of the first, also from another process', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await expect(Index.open(directory)).rejects.toMatchObject({
    code: 'INDEX_LOCKED',
    details: { pid: process.pid },
  });
  const script = `import { Index } from ${JSON.stringify(STORE)};
    try { await Index.open(${JSON.stringify(directory)}); console.log('opened'); }
    catch (error) { console.log(error.code, error.details.pid); }`;
  const run = () =>
    spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stdout;
  expect(run().trim()).toBe(`INDEX_LOCKED ${process.pid}`);
  await using reader = await Index.open(directory, { mode: 'read' });
  expect(reader.documentCount).toBe(0);
  await index.close();
  expect(run().trim()).toBe('opened');
});

test('a reader keeps its generation until it refreshes, while a writer commits and merges', async () => {
  const directory = temporaryDirectory();
  const writer = await Index.open(directory, { dim: DIM });
  await writer.add(documents(5));
  const reader = await Index.open(directory, { mode: 'read' });
  const query = unitVectors(seeded(2), 3);
  const before = reader.score(query, ['doc-1']).scores[0];
  for (let i = 0; i < 20; i++) await writer.add(documents(1, i, `more-${i}`));
  await writer.delete(['doc-1']);
  await writer.compact();
  expect(reader.documentCount).toBe(5);
  expect(reader.score(query, ['doc-1']).scores[0]).toBe(before);
  expect(await reader.refresh()).toBe(true);
  expect(reader.documentCount).toBe(24);
  expect(reader.has('doc-1')).toBe(false);
  expect(reader.generation).toBe(writer.generation);
  expect(await reader.refresh()).toBe(false);
  expect(await writer.refresh()).toBe(false);
  expect((await refusal(() => reader.add(documents(1)))).code).toBe('READ_ONLY');
  expect((await refusal(() => reader.compact())).code).toBe('READ_ONLY');
  await reader.close();
  await writer.close();
});

test('readers that open and refresh during commits never meet a missing file', async () => {
  const directory = temporaryDirectory();
  const writer = await Index.open(directory, { dim: DIM });
  await writer.add(documents(3));
  let writing = true;
  const reading = (async () => {
    let opened = 0;
    while (writing) {
      await using reader = await Index.open(directory, { mode: 'read' });
      await reader.refresh();
      expect(reader.documentCount).toBeGreaterThan(2);
      opened += 1;
    }
    return opened;
  })();
  for (let i = 0; i < 60; i++) {
    await writer.add(documents(1, i, `n${i}`));
    if (i % 10 === 0) await writer.compact();
  }
  writing = false;
  expect(await reading).toBeGreaterThan(0);
  await writer.close();
});

test('a directory that is no index is refused and not touched', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'notes.txt'), 'mine');
  expect((await refusal(() => Index.open(directory, { dim: DIM }))).code).toBe('NOT_AN_INDEX');
  expect(readdirSync(directory)).toEqual(['notes.txt']);
  writeFileSync(join(directory, 'manifest.json'), '{\n  "name": "a web app"\n}\n');
  expect((await refusal(() => Index.open(directory, { dim: DIM }))).code).toBe('NOT_AN_INDEX');
  const file = join(directory, 'notes.txt');
  expect((await refusal(() => Index.open(file, { dim: DIM }))).code).toBe('NOT_AN_INDEX');
  const absent = join(directory, 'absent');
  expect((await refusal(() => Index.open(absent, { mode: 'read' }))).code).toBe('NOT_AN_INDEX');
  expect((await refusal(() => Index.open(absent, { create: false }))).code).toBe('NOT_AN_INDEX');
  expect((await refusal(() => Index.open(absent))).code).toBe('INVALID_ARGUMENT');
  expect(existsSync(absent)).toBe(false);
});

test('files of others in the directory of an index are left alone', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add(documents(2));
  await index.close();
  writeFileSync(join(directory, 'README'), 'mine');
  mkdirSync(join(directory, 'backup'));
  writeFileSync(join(directory, 'segment-00000009-0.maxsim.tmp-77'), 'left by a crash');
  writeFileSync(join(directory, 'segment-00000009-0.maxsim'), 'left by a crash');
  await (await Index.open(directory)).close();
  const names = readdirSync(directory);
  expect(names).toContain('README');
  expect(names).toContain('backup');
  expect(names.filter((name) => name.includes('00000009'))).toEqual([]);
});

test('an index made with another dim, codec, range or encoder is refused, naming what differs', async () => {
  const directory = temporaryDirectory();
  const encoder = { fingerprint: 'model-a', recipe: { model: 'a' } };
  const index = await Index.open(directory, {
    dim: DIM,
    codec: { name: 'int8', range: 2 },
    encoder,
  });
  expect(index.codec.scale).toBe(Math.fround(2 / 127));
  expect(index.encoder).toEqual(encoder);
  await index.close();
  const asked = { dim: 32, codec: 'f32', encoder: { fingerprint: 'model-b', recipe: {} } } as const;
  const { code, message } = await refusal(() => Index.open(directory, asked));
  expect(code).toBe('MODEL_MISMATCH');
  expect(message).toContain('dim 16, not 32');
  expect(message).toContain('codec int8, not f32');
  expect(message).toContain('encoder model-a, not model-b');
  const range = await refusal(() => Index.open(directory, { codec: { name: 'int8', range: 1 } }));
  expect(range).toMatchObject({ code: 'MODEL_MISMATCH' });
  await (await Index.open(directory, { dim: DIM, codec: 'int8', encoder })).close();
});

test('components beyond the int8 range are clamped and counted in unit-length tokens only', async () => {
  const index = await Index.open(temporaryDirectory(), {
    dim: DIM,
    codec: { name: 'int8', range: 0.5 },
  });
  const unit = new Float32Array(DIM);
  unit.set([0.8, 0.6]);
  const { clippedComponents } = await index.add([{ id: 'unit', vectors: unit }]);
  expect(clippedComponents).toBeGreaterThan(0);
  const long = new Float32Array(2 * DIM).fill(0.05, 0, DIM).fill(0.3, DIM);
  long[DIM + 3] = -0.9;
  const { code, message } = await refusal(() =>
    index.add([
      { id: 'fine', vectors: unit },
      { id: 'long', vectors: long },
    ]),
  );
  expect(code).toBe('VECTOR_OUT_OF_RANGE');
  expect(message).toMatch(/"long": token 1 has length 1\.46.*-0\.5 to 0\.5/);
  expect(index.generation).toBe(1);
  expect(index.has('fine')).toBe(false);
  expect(readdirSync(index.directory)).toHaveLength(3);
  await index.close();
});

test('vectors that are not usable are refused and nothing is written', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const detached = new Float32Array(DIM);
  structuredClone(detached, { transfer: [detached.buffer] });
  const nan = new Float32Array(DIM);
  nan[3] = Number.NaN;
  const infinite = new Float32Array(DIM).fill(Number.POSITIVE_INFINITY);
  for (const vectors of [
    detached,
    nan,
    infinite,
    new Float32Array(0),
    new Float32Array(DIM + 1),
    new Float32Array(65_536 * DIM),
    new Float64Array(DIM),
    new Uint8Array(DIM * 4),
    Array(DIM).fill(0),
    null,
    undefined,
  ]) {
    const { code } = await refusal(() => index.add([{ id: 'a', vectors: vectors as never }]));
    expect(code).toBe('INVALID_VECTORS');
  }
  await index.add([{ id: 'a', vectors: new Float32Array(DIM).fill(0.1) }]);
  for (const query of [detached, nan, new Float32Array(0), new Float32Array(1025 * DIM), [1, 2]]) {
    expect((await refusal(() => index.score(query as never, ['a']))).code).toBe('INVALID_VECTORS');
    expect((await refusal(() => index.search(query as never))).code).toBe('INVALID_VECTORS');
  }
  for (const vectors of [detached, nan, new Float32Array(0), [1, 2]]) {
    const scoring = () => index.scoreVectors(new Float32Array(DIM), [vectors as never]);
    expect((await refusal(scoring)).code).toBe('INVALID_VECTORS');
  }
  const other = prepareQuery(new Float32Array(32).fill(0.1), 32);
  expect((await refusal(() => index.score(other, ['a']))).code).toBe('MODEL_MISMATCH');
  await index.close();
});

test('a document is not changed by what happens to its array afterwards', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  const vectors = new Float32Array(DIM).fill(0.25);
  const adding = index.add([{ id: 'a', vectors }]);
  vectors.fill(Number.NaN);
  structuredClone(vectors, { transfer: [vectors.buffer] });
  await adding;
  expect(index.vectors('a')).toEqual(new Float32Array(DIM).fill(0.25));
  await index.close();
});

test('a payload must be plain JSON', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  const vectors = unitVectors(seeded(1), 1);
  const cycle: Record<string, unknown> = {};
  cycle['self'] = [cycle];
  let deep: unknown = 1;
  for (let i = 0; i < 65; i++) deep = [deep];
  for (const payload of [
    Number.NaN,
    { a: Number.POSITIVE_INFINITY },
    () => 1,
    { a: undefined },
    [1n],
    new Date(),
    new Map(),
    new Uint8Array(2),
    Symbol('s'),
    cycle,
    deep,
    JSON.parse('{"__proto__": 1}'),
  ]) {
    const { code } = await refusal(() =>
      index.add([{ id: 'a', vectors, payload: payload as never }]),
    );
    expect(code).toBe('INVALID_ARGUMENT');
  }
  const payload = {
    numbers: [0, -1, 1.5, 2 ** 31, 2 ** 53, -(2 ** 40), 1e300, 5e-324],
    text: ['', 'é', '\u0000', '🎉', 'x'.repeat(70_000)],
    empty: [{}, []],
    '': null,
    constructor: true,
  };
  await index.add([{ id: 'a', vectors, payload: payload as never }]);
  expect(index.get('a')?.payload).toEqual(payload);
  for (const value of [0, false, '', [], null, 'text']) {
    await index.add([{ id: 'a', vectors, payload: value }]);
    expect(index.get('a')?.payload).toEqual(value);
  }
  await index.close();
});

test('options and fields that do not exist are refused by name', async () => {
  const directory = temporaryDirectory();
  expect(await refusal(() => Index.open(directory, { dims: 8 } as never))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('"dims"'),
  });
  for (const options of [
    { dim: 7 },
    { dim: 1025 },
    { dim: '8' },
    { dim: 8, codec: 'pq' },
    { dim: 8, codec: { name: 'f32', range: 1 } },
    { dim: 8, codec: { name: 'r4', range: 1 } },
    { dim: 8, codec: { name: 'r4', centroids: 1 } },
    { dim: 8, codec: { name: 'r2', seed: -1 } },
    { dim: 8, codec: { name: 'r3' } },
    { dim: 8, codec: { name: 'int8', range: 0 } },
    { dim: 8, codec: { name: 'int8', range: 1e-44 } },
    { dim: 8, mode: 'append' },
    { dim: 8, compaction: 'now' },
    { dim: 8, encoder: { fingerprint: '', recipe: {} } },
    { mode: 'read', create: true },
  ]) {
    expect((await refusal(() => Index.open(directory, options as never))).code).toBe(
      'INVALID_ARGUMENT',
    );
  }
  await using index = await Index.open(directory, { dim: DIM });
  const query = unitVectors(seeded(1), 1);
  for (const run of [
    () => index.add([{ id: 'a', vectors: query, vector: query } as never]),
    () => index.add('a' as never),
    () => index.delete('a' as never),
    () => index.delete([1] as never),
    () => index.commit({ remove: [] } as never),
    () => index.search(query, { k: 3 } as never),
    () => index.search(query, { topK: 0 }),
    () => index.search(query, { deadlineMs: -1 }),
    () => index.search(query, { signal: 1 as never }),
    () => index.score(query, 'a' as never),
    () => index.score(query, [1] as never),
    () => index.add([{ id: 'a', vectors: query, contentHash: 'x'.repeat(257) }]),
  ]) {
    expect((await refusal(run)).code).toBe('INVALID_ARGUMENT');
  }
});

test('an abort or a deadline ends a search and a long scoring', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  await index.add(documents(2000));
  const query = unitVectors(seeded(2), 64);
  const ids = documents(2000).map((doc) => doc.id);
  const controller = new AbortController();
  const running = index.search(query, { signal: controller.signal }).then(
    () => 'finished',
    (error) => error.code,
  );
  controller.abort();
  const late = await refusal(() => index.search(query, { signal: AbortSignal.abort() }));
  expect(late.code).toBe('ABORTED');
  expect((await refusal(() => index.search(query, { deadlineMs: 1e-9 }))).code).toBe('ABORTED');
  const scoring = await refusal(() =>
    index.scoreAsync(query, ids, { signal: AbortSignal.abort() }),
  );
  expect(scoring.code).toBe('ABORTED');
  expect(['finished', 'ABORTED']).toContain(await running);
  expect((await index.search(query, { deadlineMs: 60_000, topK: 1 })).hits).toHaveLength(1);
  await index.close();
});

test('after close everything is CLOSED, and what was under way is done', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add(documents(50));
  const query = unitVectors(seeded(2), 4);
  const searching = index.search(query);
  const adding = index.add(documents(3, 1, 'late'));
  const closing = index.close();
  for (const run of [
    () => index.add([]),
    () => index.delete([]),
    () => index.compact(),
    () => index.refresh(),
    () => index.get('doc-1'),
    () => index.getMany([]),
    () => index.has('doc-1'),
    () => index.vectors('doc-1'),
    () => index.contentHashes([]),
    () => index.score(query, []),
    () => index.scoreAsync(query, []),
    () => index.scoreVectors(query, []),
    () => index.search(query),
    () => index.explain(query, 'doc-1'),
    () => index.stats(),
    () => index.documentCount,
    () => index.documents().next(),
  ]) {
    expect((await refusal(run)).code).toBe('CLOSED');
  }
  expect((await searching).hits).toHaveLength(10);
  expect(await adding).toMatchObject({ added: 3 });
  await closing;
  await index.close();
  await using again = await Index.open(directory);
  expect(again.documentCount).toBe(53);
});
