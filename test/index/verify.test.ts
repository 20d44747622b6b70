import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index, verifyIndex } from '../../dist/maxsim.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import { anyBit, change, contentsOf, DIM, filesIn, flip, makeIndex } from './damaged.js';
import { refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const CODECS = ['int8', 'r4'] as const;

test.each([...CODECS, 'f32', 'int8-token'] as const)(
  'a whole %s index has no problem, and nothing is changed',
  async (codec) => {
    const directory = temporaryDirectory();
    await makeIndex(directory, codec);
    const before = contentsOf(directory);
    const seen: number[] = [];
    const report = await verifyIndex(directory, {
      onProgress: ({ done, total }) => seen.push(done / total),
    });
    expect(report).toMatchObject({
      ok: true,
      generation: 2,
      documents: 120,
      deadDocuments: 20,
      problems: [],
      unlisted: [],
    });
    expect(report.files.map(({ file }) => file).sort()).toEqual(filesIn(directory).sort());
    expect(report.files.every(({ whole }) => whole)).toBe(true);
    expect(seen.at(-1)).toBe(1);
    expect(contentsOf(directory)).toEqual(before);
  },
);

test.each(CODECS)('any flipped bit of any file of an %s index is named', async (codec) => {
  const directory = temporaryDirectory();
  await makeIndex(directory, codec);
  const random = seeded(3);
  const rounds = Number(process.env['MAXSIM_FLIPS'] ?? 300);
  for (let round = 0; round < rounds; round++) {
    const any = anyBit(directory, random);
    // Small files get their share.
    const small = filesIn(directory).filter(
      (name) => !name.startsWith('segment') || name.endsWith('.dead'),
    );
    const file =
      round % 4 === 0 ? (small[Math.floor(random() * small.length)] as string) : any.file;
    const path = join(directory, file);
    const size = readFileSync(path).length;
    const bit = file === any.file ? any.bit : Math.floor(random() * size * 8);
    flip(path, bit);
    const { ok, problems } = await verifyIndex(directory);
    expect(ok).toBe(false);
    expect(problems, `bit ${bit} of ${file}`).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      file,
      offset: Math.floor(bit / 8),
      size: 1,
      message: `bit ${bit % 8} is flipped`,
      remedy: 'flipped-bit',
    });
    flip(path, bit);
  }
  expect((await verifyIndex(directory)).ok).toBe(true);
});

test('damage names its range and the documents in it', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory, 'int8');
  const file = 'segment-00000001-0.maxsim';
  change(join(directory, file), (bytes) => bytes.fill(0, 4096, 8192));
  const { ok, problems } = await verifyIndex(directory);
  expect(ok).toBe(false);
  expect(problems).toHaveLength(1);
  const [problem] = problems;
  expect(problem).toMatchObject({ file, section: 'tokens', remedy: 'none' });
  expect(problem?.offset).toBeLessThanOrEqual(4096);
  expect((problem?.offset ?? 0) + (problem?.size ?? 0)).toBeGreaterThanOrEqual(8192);
  // Blocks of about 800 bytes.
  expect(problem?.documents).toBeGreaterThanOrEqual(5);
  expect(problem?.documents).toBeLessThanOrEqual(8);
  expect(problem?.ids).toHaveLength(problem?.documents ?? 0);
  expect(problem?.ids).toContain('document-7');
});

test('files that are missing, cut short or too long are named', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory, 'r4');
  for (const file of filesIn(directory)) {
    const path = join(directory, file);
    const whole = readFileSync(path);
    for (const size of [
      0,
      1,
      100,
      Math.floor(whole.length / 2),
      whole.length - 1,
      whole.length + 7,
    ]) {
      writeFileSync(path, Buffer.concat([whole, Buffer.alloc(7, 1)]).subarray(0, size));
      const { ok, problems } = await verifyIndex(directory);
      expect(ok).toBe(false);
      expect(problems[0]?.file).toBe(file);
    }
    rmSync(path);
    const { ok, problems } = await verifyIndex(directory);
    expect(ok).toBe(false);
    expect(problems[0]).toMatchObject({ file, remedy: 'none' });
    expect(problems[0]?.message).toMatch(/is not there/);
    writeFileSync(path, whole);
  }
  expect((await verifyIndex(directory)).ok).toBe(true);
});

test('a document that is live in two segments is a problem', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory, 'int8');
  change(join(directory, 'manifest.json'), (bytes) => {
    const manifest = JSON.parse(bytes.toString().split('\n', 1)[0] as string);
    delete manifest.segments[0].dead;
    const line = JSON.stringify(manifest);
    const crc = loadAddon().crc32c(Buffer.from(line)).toString(16).padStart(8, '0');
    return Buffer.from(`${line}\ncrc32c:${crc}\n`);
  });
  const { ok, problems, unlisted } = await verifyIndex(directory);
  expect(ok).toBe(false);
  expect(problems).toMatchObject([
    { file: 'segment-00000001-0.maxsim', documents: 10, remedy: 'rewritten' },
  ]);
  expect(unlisted).toMatchObject([{ file: 'segment-00000001-0.maxsim.2.dead' }]);
});

test('waste is no problem', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory, 'int8');
  writeFileSync(join(directory, 'segment-00000009-0.maxsim'), 'waste');
  writeFileSync(join(directory, 'segment-00000009-0.maxsim.tmp-1'), 'waste');
  writeFileSync(join(directory, 'notes.txt'), 'foreign');
  const { ok, unlisted } = await verifyIndex(directory);
  expect(ok).toBe(true);
  expect(unlisted).toEqual([
    { file: 'segment-00000009-0.maxsim', sizeBytes: 5 },
    { file: 'segment-00000009-0.maxsim.tmp-1', sizeBytes: 5 },
  ]);
});

test('an index that is written to meanwhile is whole', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory, 'int8');
  await using index = await Index.open(directory);
  const random = seeded(5);
  let writing = true;
  const writer = (async () => {
    for (let i = 0; writing; i++) {
      await index.add([{ id: `new-${i % 7}`, vectors: unitVectors(random, 3, DIM) }]);
    }
  })();
  try {
    for (let round = 0; round < 50; round++) {
      const { ok, problems } = await verifyIndex(directory);
      expect(problems).toEqual([]);
      expect(ok).toBe(true);
    }
  } finally {
    writing = false;
    await writer;
  }
});

test('what is no index is refused, as are wrong options, and a signal ends it', async () => {
  const directory = temporaryDirectory();
  expect((await refusal(() => verifyIndex(directory))).code).toBe('NOT_AN_INDEX');
  expect((await refusal(() => verifyIndex(join(directory, 'no')))).code).toBe('NOT_AN_INDEX');
  await makeIndex(join(directory, 'index'), 'int8');
  const index = join(directory, 'index');
  expect((await refusal(() => verifyIndex(7 as never))).code).toBe('INVALID_ARGUMENT');
  expect((await refusal(() => verifyIndex(index, { more: 1 } as never))).code).toBe(
    'INVALID_ARGUMENT',
  );
  expect((await refusal(() => verifyIndex(index, { signal: 1 } as never))).code).toBe(
    'INVALID_ARGUMENT',
  );
  const signal = AbortSignal.abort();
  expect((await refusal(() => verifyIndex(index, { signal }))).code).toBe('ABORTED');
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  const { code } = await refusal(() =>
    verifyIndex(index, { signal: controller.signal, onProgress }),
  );
  expect(code).toBe('ABORTED');
});
