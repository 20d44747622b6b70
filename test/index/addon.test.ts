/** The addon itself, called as no room of ours would: every wrong value is an error, never a crash. */
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { loadAddon, type SegmentEntry, UNKNOWN_REF } from '../../dist/runtime/addon.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const addon = loadAddon();
const format = { codec: 'int8', scale: 1 / 127, dim: DIM } as const;
const searching = {
  k: 2,
  earlyExit: true,
  method: 'auto',
  exact: false,
  depth: 0,
  shared: true,
  scanDepths: new Float64Array(),
  listsDepths: new Float64Array(),
} as const;
const wrong: unknown[] = [
  undefined,
  null,
  true,
  7,
  -1,
  1.5,
  Number.NaN,
  2 ** 40,
  join(tmpdir(), 'maxsim-test-no-such', 'file'), // a text, and a path that cannot be made
  Symbol('s'),
  10n,
  () => 1,
  {},
  [],
  [1],
  new Uint8Array(4),
  new Uint8Array(0),
  new Float32Array(0),
  new Float64Array(DIM),
  new Uint32Array(1),
  new ArrayBuffer(8),
  new DataView(new ArrayBuffer(8)),
  new Proxy(
    {},
    {
      get: () => {
        throw new Error('trap');
      },
    },
  ), // prettier-ignore
];

async function writeSegment(
  path: string,
  ids: readonly string[],
  vectors: readonly Float32Array[],
  records: readonly Uint8Array[],
  columns?: unknown[],
) {
  const writer = new addon.SegmentWriter(path, format, ids.length, columns as never);
  await writer.append(ids, vectors, records);
  const { clippedByDocument: _, ...summary } = await writer.finish();
  return summary;
}

async function makeSnapshot(directory: string, documents = 4) {
  const random = seeded(1);
  const ids = Array.from({ length: documents }, (_, i) => `d${i}`);
  const {
    clipped: _,
    sizeBytes: __,
    ...entry
  } = await writeSegment(
    join(directory, 'segment-00000001-0.maxsim'),
    ids,
    ids.map(() => unitVectors(random, 3)),
    ids.map((id) => Buffer.from(id)),
  );
  const file = 'segment-00000001-0.maxsim';
  const spec = { ...format, segments: [{ file, ...entry }] };
  return { snapshot: await addon.openSnapshot(directory, spec, null), spec, ids };
}

test('crc32c is the Castagnoli one', () => {
  expect(addon.crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(addon.crc32c(new Uint8Array(0))).toBe(0);
});

test('no function accepts what it was not made for', async () => {
  const directory = temporaryDirectory();
  const { snapshot, spec } = await makeSnapshot(directory);
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  const refs = Uint32Array.of(0, 1);
  const path = join(directory, 'x');
  const vectors = unitVectors(seeded(3), 2);
  const counts = Uint32Array.of(2);
  const record = new Uint8Array(1);
  const training = { bits: 4, dim: DIM, centroids: 8, seed: 0 };
  const codebook = await addon.trainCodebook([unitVectors(seeded(4), 4096)], training);
  const codebookPath = join(directory, 'codebook');
  const fields = [{ name: 'lang', type: 'keyword' }] as const;
  const columns = [{ ...fields[0], counts: Uint32Array.of(1), values: ['en'] }];
  const filter = new addon.Filter([], Uint32Array.of(1, 0, 0), new Float64Array(0), []);
  await addon.writeCodebook(codebookPath, codebook);
  const codesPath = join(directory, 'codes');
  const options = { lists: 'auto', background: false } as const;
  const { crc } = await addon.writeCodes(codesPath, snapshot, 0, codebook, options);
  const coded = { ...(spec.segments[0] as SegmentEntry), codes: { file: 'codes', crc } };
  // Each call with one argument replaced by every wrong value.
  const calls: [(...args: never[]) => unknown, unknown[]][] = [
    [(...args: never[]) => new addon.Query(...(args as [never, never, never])), [vectors, DIM, 8]],
    [addon.scoreVectors, [query, format, vectors, counts]],
    [addon.scoreVectorsAsync, [query, format, vectors, counts]],
    [addon.explainVectors, [query, format, vectors]],
    [
      (...args: never[]) => new addon.SegmentWriter(...(args as [never, never, never])),
      [path, format, 1],
    ],
    [
      (...args: never[]) => new addon.SegmentWriter(...(args as [never, never, never, never])),
      [path, format, 1, columns],
    ],
    [
      (...args: never[]) =>
        new addon.SegmentWriter(path, format, 1).append(...(args as [never, never, never])),
      [['a'], [vectors], [record]],
    ],
    [addon.checkDocuments, [format, ['a'], [vectors]]],
    [
      (...args: never[]) => new addon.Filter(...(args as [never, never, never, never])),
      [fields, Uint32Array.of(4, 0, 1), new Float64Array(0), ['en']],
    ],
    [(...args: never[]) => snapshot.match(...(args as [never, never])), [filter, refs]],
    [(...args: never[]) => snapshot.matching(...(args as [never, never, never])), [filter, 0, 4]],
    [(...args: never[]) => snapshot.countMatching(...(args as [never])), [filter]],
    [
      (...args: never[]) => snapshot.search(...(args as [never, never, never])),
      [[query], searching, undefined, filter],
    ],
    [addon.mergeSegments, [path, snapshot, [0]]],
    [addon.writeCodes, [path, snapshot, 0, codebook, { lists: 'auto', background: false }]],
    [addon.examineCodes, [codesPath, coded, codebook]],
    [addon.buryDocuments, [directory, snapshot, refs, 7]],
    [addon.buryMerged, [path, snapshot, [0], snapshot]],
    [addon.writeFileDurably, [path, record]],
    [addon.removeFile, [path]],
    [addon.lockIndex, [path]],
    [addon.openSnapshot, [directory, { ...format, segments: [] }, null]],
    [addon.crc32c, [record]],
    [(...args: never[]) => snapshot.find(...(args as [never])), [['d1']]],
    [
      (...args: never[]) => snapshot.score(...(args as [never, never, never])),
      [[query], refs, counts],
    ],
    [
      (...args: never[]) => snapshot.scoreAsync(...(args as [never, never, never])),
      [[query], refs, counts],
    ],
    [
      (...args: never[]) => snapshot.rank(...(args as [never, never, never, never, never])),
      [[query], refs, counts, 2, true],
    ],
    [
      (...args: never[]) => snapshot.rankAsync(...(args as [never, never, never, never, never])),
      [[query], refs, counts, 2, true],
    ],
    [
      (...args: never[]) => snapshot.search(...(args as [never, never, never])),
      [[query], searching],
    ],
    [
      // Right arguments find no codes here.
      async (...args: never[]) => {
        const error = await refusal(() => snapshot.candidates(...(args as [never, never, never])));
        if (!/has no codes/.test(error.message)) throw error;
      },
      [query, 'scan', 3],
    ],
    [addon.recodeSegments, [path, snapshot, { ...format, codec: 'f16', scale: 1 }]],
    [addon.trainCodebook, [[unitVectors(seeded(4), 4096)], training]],
    [addon.writeCodebook, [path, codebook]],
    [addon.readCodebook, [codebookPath]],
    [addon.scoreVectors, [query, { codec: 'r4', scale: 1, dim: DIM, codebook }, vectors, counts]],
    [(...args: never[]) => snapshot.explain(...(args as [never, never])), [query, 1]],
    [(...args: never[]) => snapshot.ids(...(args as [never])), [refs]],
    [(...args: never[]) => snapshot.record(...(args as [never])), [1]],
    [(...args: never[]) => snapshot.tokenCounts(...(args as [never])), [refs]],
    [(...args: never[]) => snapshot.tokens(...(args as [never])), [1]],
    [(...args: never[]) => snapshot.refs(...(args as [never, never])), [0, 4]],
    [(...args: never[]) => snapshot.locate(...(args as [never])), [1]],
    [(...args: never[]) => snapshot.deadOrdinals(...(args as [never])), [0]],
  ];
  let refused = 0;
  for (const [call, args] of calls) {
    await call(...(args as never[]));
    for (let position = 0; position < args.length; position++) {
      for (const value of wrong) {
        const changed = args.map((arg, i) => (i === position ? value : arg));
        try {
          const result = await call(...(changed as never[]));
          // Some wrong values are right elsewhere (a path, an empty list); locks must not pile up.
          (result as { release?: () => void } | undefined)?.release?.();
        } catch (error) {
          refused += 1;
          const { code, message } = error as { code?: string; message: string };
          if (message !== 'trap' && !/cannot be invoked without/.test(message)) {
            expect(code, message).toMatch(/^[A-Z_]+$/);
          }
        }
      }
    }
  }
  expect(refused).toBeGreaterThan(600);
});

test('searches refuse methods, depths and curves that cannot be', async () => {
  const { snapshot } = await makeSnapshot(temporaryDirectory());
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  const curve = (...numbers: number[]) => Float64Array.of(...numbers);
  const infinite = Number.POSITIVE_INFINITY;
  for (const listsDepths of [curve(), curve(9, 0), curve(9, 1, 1, 8, infinite, 10, 8, 0.5)]) {
    const [result] = await snapshot.search([query], { ...searching, listsDepths });
    expect(result?.refs).toHaveLength(2);
  }
  for (const scanDepths of [
    curve(0, 1),
    curve(9),
    curve(Number.NaN, 1),
    curve(9, 1, 1),
    curve(9, 1, 1, 8),
    curve(9, 1, 1, 8, Number.NaN),
    curve(9, 1, 1, 0, 1),
    curve(9, 1, infinite, 8, 1),
    curve(9, 1, 10, 8, 1, 10, 8, 1),
    curve(9, 1, 10, 8, 1, 1, 8, 1),
  ]) {
    const error = await refusal(() => snapshot.search([query], { ...searching, scanDepths }));
    expect(error.code).toBe('INVALID_ARGUMENT');
  }
  for (const method of ['auto', 'exhaustive', 'scanning', '']) {
    const error = await refusal(() => snapshot.candidates(query, method as 'scan', 1));
    expect(error.message).toMatch(/^method must be/);
  }
});

test('refs that are out of range or dead are refused one by one', async () => {
  const directory = temporaryDirectory();
  const { snapshot: before, spec, ids } = await makeSnapshot(directory);
  const dead = { file: 'segment-00000001-0.maxsim.2.dead', count: 1 };
  expect(await addon.buryDocuments(directory, before, Uint32Array.of(2, 2), 2)).toEqual([
    { segment: 0, ...dead },
  ]);
  const [segment] = spec.segments as [object];
  const snapshot = await addon.openSnapshot(
    directory,
    { ...format, segments: [{ ...segment, dead }] as never },
    null,
  );
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  expect([...snapshot.find([...ids, 'zz'])]).toEqual([0, 1, UNKNOWN_REF, 3, UNKNOWN_REF]);
  expect([...snapshot.refs(0, 100)]).toEqual([0, 1, 3]);
  expect([...snapshot.refs(1, 1)]).toEqual([1]);
  expect([...snapshot.refs(4, 1)]).toEqual([]);
  expect([...snapshot.deadOrdinals(0)]).toEqual([2]);
  for (const ref of [2, 4, UNKNOWN_REF]) {
    const refs = Uint32Array.of(0, ref);
    for (const run of [
      () => snapshot.score([query], refs, Uint32Array.of(2)),
      () => snapshot.scoreAsync([query], refs, Uint32Array.of(2)),
      () => snapshot.rank([query], refs, Uint32Array.of(2), 1, true),
      () => snapshot.ids(refs),
      () => snapshot.tokenCounts(refs),
      () => snapshot.record(ref),
      () => snapshot.tokens(ref),
      () => snapshot.locate(ref),
      () => snapshot.explain(query, ref),
      () => addon.buryDocuments(directory, snapshot, refs, 3),
    ]) {
      expect((await refusal(run)).code).toBe('INVALID_ARGUMENT');
    }
  }
});

test('detached, shared and resizable buffers are read safely or refused', async () => {
  const directory = temporaryDirectory();
  const { snapshot, ids } = await makeSnapshot(directory);
  const detached = unitVectors(seeded(2), 2);
  structuredClone(detached, { transfer: [detached.buffer as ArrayBuffer] });
  expect((await refusal(() => new addon.Query(detached, DIM, 8))).code).toBe('INVALID_VECTORS');
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  const scoresOf = (one: typeof query, refs: Uint32Array) =>
    snapshot.score([one], refs, Uint32Array.of(refs.length));
  const scores = scoresOf(query, snapshot.find(ids));

  const refs = new Uint32Array(new SharedArrayBuffer(16));
  refs.set(snapshot.find(ids));
  expect(scoresOf(query, refs)).toEqual(scores);

  // Node 20 has resizable buffers, its type definitions have not.
  const Resizable = ArrayBuffer as unknown as new (
    size: number,
    options: object,
  ) => ArrayBuffer & { resize(size: number): void };
  const buffer = new Resizable(DIM * 8, { maxByteLength: DIM * 16 });
  const growing = new Float32Array(buffer);
  growing.set(unitVectors(seeded(2), 2));
  const same = new addon.Query(growing, DIM, 8);
  expect(scoresOf(same, snapshot.find(ids))).toEqual(scores);
  buffer.resize(0);
  expect((await refusal(() => new addon.Query(growing, DIM, 8))).code).toBe('INVALID_VECTORS');
  expect(scoresOf(same, snapshot.find(ids))).toEqual(scores);

  const gone = Uint32Array.of(1);
  structuredClone(gone, { transfer: [gone.buffer as ArrayBuffer] });
  expect(scoresOf(query, gone)).toHaveLength(0);
});

test('a getter that pulls a buffer away in the middle of a call changes nothing', async () => {
  const directory = temporaryDirectory();
  const random = seeded(1);
  const victim = unitVectors(random, 2);
  const vectors = [victim, unitVectors(random, 2)];
  Object.defineProperty(vectors, '1', {
    get() {
      structuredClone(victim, { transfer: [victim.buffer as ArrayBuffer] });
      return unitVectors(random, 2);
    },
  });
  const records = [new Uint8Array(1), new Uint8Array(1)];
  const path = join(directory, 'x');
  // Each was copied before the next was asked for.
  const given = victim.slice();
  const {
    sizeBytes: _,
    clipped: __,
    ...entry
  } = await writeSegment(path, ['a', 'b'], vectors, records);
  expect(victim).toHaveLength(0);
  const spec = { ...format, segments: [{ file: 'x', ...entry }] };
  const stored = (await addon.openSnapshot(directory, spec, null)).tokens(0);
  stored.forEach((value, d) => {
    expect(value).toBeCloseTo(given[d] as number, 1);
  });
  const { snapshot } = await makeSnapshot(directory);
  const closing = ['d0', 'd1'];
  Object.defineProperty(closing, '1', {
    get() {
      snapshot.close();
      return 'd1';
    },
  });
  expect([...snapshot.find(closing)]).toEqual([0, 1]);
  expect((await refusal(() => snapshot.find(['d0']))).code).toBe('CLOSED');
});

test('columns and filters whose parts do not fit together are refused', async () => {
  const path = join(temporaryDirectory(), 'x');
  const write = (columns: unknown[]) =>
    refusal(() =>
      writeSegment(
        path,
        ['a', 'b'],
        [unitVectors(seeded(1), 1), unitVectors(seeded(2), 1)],
        [new Uint8Array(1), new Uint8Array(1)],
        columns,
      ),
    );
  const counts = Uint32Array.of(1, 1);
  const wrong = [
    [{ name: 'f', type: 'text', counts, values: ['a', 'b'] }],
    [{ name: '', type: 'keyword', counts, values: ['a', 'b'] }],
    [{ name: 'x'.repeat(65), type: 'keyword', counts, values: ['a', 'b'] }],
    [{ name: 'f', type: 'keyword', counts, values: ['a'] }],
    [{ name: 'f', type: 'keyword', counts: Uint32Array.of(2), values: ['a', 'b'] }],
    [{ name: 'f', type: 'keyword', counts: Uint32Array.of(2 ** 32 - 1, 3), values: ['a', 'b'] }],
    [{ name: 'f', type: 'keyword', counts, values: ['a', '\ud800'] }],
    [{ name: 'f', type: 'keyword', counts, values: ['a', 'x'.repeat(513)] }],
    [{ name: 'f', type: 'number', counts, values: Float64Array.of(1, Number.NaN) }],
    [{ name: 'f', type: 'boolean', counts, values: Uint8Array.of(1) }],
    Array.from({ length: 66 }, (_, i) => ({
      name: `f${i}`,
      type: 'keyword',
      counts,
      values: ['a', 'b'],
    })),
  ];
  for (const columns of wrong) expect((await write(columns)).code).toBe('INVALID_ARGUMENT');
  const fields = [{ name: 'f', type: 'keyword' }] as const;
  const filter = (ops: number[], keywords: string[], numbers: number[] = []) =>
    refusal(
      () => new addon.Filter(fields, Uint32Array.from(ops), Float64Array.from(numbers), keywords),
    );
  for (const { code } of [
    await filter([], []),
    await filter([4, 0, 1], []),
    await filter([4, 1, 1], ['a']),
    await filter([5, 0, 1], [], [1]),
    await filter([4, 0, 1], ['\ud800']),
    await filter([1, 2 ** 32 - 1, 0], []),
  ]) {
    expect(code).toBe('INVALID_ARGUMENT');
  }
});

test('a closed snapshot says so, and tasks under way keep their data', async () => {
  const directory = temporaryDirectory();
  const { snapshot } = await makeSnapshot(directory, 3000);
  const query = new addon.Query(unitVectors(seeded(2), 32), DIM, 8);
  const shared = snapshot.share();
  const refs = snapshot.refs(0, 3000);
  const counts = Uint32Array.of(refs.length);
  const running = [
    snapshot.search([query], { ...searching, k: 5 }),
    snapshot.scoreAsync([query], refs, counts),
  ] as const;
  snapshot.close();
  snapshot.close();
  for (const run of [
    () => snapshot.documentCount,
    () => snapshot.tokenCount,
    () => snapshot.find([]),
    () => snapshot.score([query], refs, counts),
    () => snapshot.scoreAsync([query], refs, counts),
    () => snapshot.rank([query], refs, counts, 1, true),
    () => snapshot.rankAsync([query], refs, counts, 1, true),
    () => snapshot.search([query], searching),
    () => snapshot.candidates(query, 'scan', 1),
    () =>
      addon.recodeSegments(join(directory, 'x'), snapshot, { ...format, codec: 'f32', scale: 1 }),
    () => snapshot.explain(query, 0),
    () => snapshot.ids(refs),
    () => snapshot.record(0),
    () => snapshot.tokenCounts(refs),
    () => snapshot.tokens(0),
    () => snapshot.refs(0, 1),
    () => snapshot.locate(0),
    () => snapshot.deadOrdinals(0),
    () => snapshot.segments(),
    () => snapshot.share(),
    () => addon.mergeSegments(join(directory, 'x'), snapshot, [0]),
    () => addon.buryDocuments(directory, snapshot, refs, 3),
    () => addon.buryMerged(join(directory, 'x'), snapshot, [0], shared),
    () => addon.buryMerged(join(directory, 'x'), shared, [0], snapshot),
  ]) {
    expect((await refusal(run)).code).toBe('CLOSED');
  }
  const [found, scores] = await Promise.all(running);
  expect(found[0]?.scores[0]).toBe(Math.max(...scores));
  expect(shared.documentCount).toBe(3000);
});

test('classes of the addon cannot be forged or crossed', async () => {
  const { snapshot } = await makeSnapshot(temporaryDirectory());
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  const Snapshot = snapshot.constructor as new (...args: unknown[]) => unknown;
  expect((await refusal(() => new Snapshot())).code).toBe('INVALID_ARGUMENT');
  expect((await refusal(() => new Snapshot({}))).code).toBe('INVALID_ARGUMENT');
  const forged = Object.create(Object.getPrototypeOf(query));
  expect(() => forged.dim).toThrow();
  expect(() => snapshot.find.call(query as never, [])).toThrow();
  for (const fake of [forged, snapshot, new addon.Cancel(), Object.create(query)]) {
    const refs = Uint32Array.of(0);
    const { code } = await refusal(() => snapshot.score([fake as never], refs, Uint32Array.of(1)));
    expect(code).toBe('INVALID_ARGUMENT');
  }
});

test('vectors that are not stored are checked like stored ones', async () => {
  const query = new addon.Query(unitVectors(seeded(2), 2), DIM, 8);
  const vectors = unitVectors(seeded(3), 3);
  for (const counts of [[], [2], [4], [3, 0], [0, 3], [0xffffffff, 4]]) {
    const { code } = await refusal(() =>
      addon.scoreVectors(query, format, vectors, Uint32Array.from(counts)),
    );
    expect(code).toBe('INVALID_VECTORS');
  }
  const other = new addon.Query(new Float32Array(8).fill(1), 8, 7);
  expect(
    (await refusal(() => addon.scoreVectors(other, format, vectors, Uint32Array.of(3)))).code,
  ).toBe('MODEL_MISMATCH');
  for (const bad of [
    { ...format, codec: 'pq' },
    { ...format, dim: 7 },
    { ...format, scale: 0 },
    { ...format, scale: -1 },
    { ...format, scale: Number.NaN },
    { ...format, scale: Number.POSITIVE_INFINITY },
    { ...format, codec: 'f32' },
  ]) {
    expect((await refusal(() => addon.explainVectors(query, bad as never, vectors))).code).toBe(
      'INVALID_ARGUMENT',
    );
  }
});

test('worker threads use the addon too, and may die with tasks under way', async () => {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, 'sub'));
  const script = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('../../dist/index/store.js', import.meta.url).href)}).then(
      async ({ Index }) => {
        const index = await Index.open(${JSON.stringify(join(directory, 'sub', 'index'))}, { dim: 16 });
        const vectors = Float32Array.from({ length: 16 * 200 }, (_, i) => Math.sin(i));
        await index.add(Array.from({ length: 500 }, (_, i) => ({ id: 'd' + i, vectors })));
        for (let i = 0; i < 20; i++) index.search(vectors);
        index.add([{ id: 'late', vectors }]);
        parentPort.postMessage('busy');
      });`;
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(script, { eval: true });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
  }
});

test('documents that are given while others are looked at are refused, and the writer stays whole', async () => {
  const directory = temporaryDirectory();
  const writer = new addon.SegmentWriter(join(directory, 'x'), format, 2);
  const one = unitVectors(seeded(1), 1);
  const record = new Uint8Array(1);
  const vectors = [one];
  let inner: Promise<void> | undefined;
  Object.defineProperty(vectors, '0', {
    get() {
      inner ??= writer.append(['inner'], [one], [record]);
      return one;
    },
  });
  const { code } = await refusal(() => writer.append(['outer'], vectors, [record]));
  expect(code).toBe('INVALID_ARGUMENT');
  await inner;
  await writer.append(['second'], [one], [record]);
  expect((await refusal(() => writer.append(['third'], [one], [record]))).code).toBe(
    'INVALID_ARGUMENT',
  );
  expect(await writer.finish()).toMatchObject({ documents: 2 });
});
