import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index, type RepairReport, repairIndex, verifyIndex } from '../../dist/maxsim.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import {
  answersOf,
  anyBit,
  change,
  contentsOf,
  copyIndex,
  DIM,
  filesIn,
  flip,
  makeIndex,
  without,
} from './damaged.js';
import { refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const MAXSIM = new URL('../../dist/maxsim.js', import.meta.url).href;
const OLD = 'segment-00000001-0.maxsim';
const NEW = 'segment-00000002-0.maxsim';
const DEAD = `${OLD}.2.dead`;

const names = (report: RepairReport) => new Set(report.lost.map(({ id }) => id));

async function made(codec: 'int8' | 'r4' = 'int8') {
  const root = temporaryDirectory();
  const whole = join(root, 'whole');
  await makeIndex(whole, codec);
  const answers = await answersOf(whole);
  let number = 0;
  const copy = (): string => {
    number += 1;
    const directory = join(root, `copy-${number}`);
    copyIndex(whole, directory);
    return directory;
  };
  const [older, newer] = filesIn(whole).filter((name) => /^segment.*maxsim$/.test(name)) as [
    string,
    string,
  ];
  return { root, whole, answers, copy, older, newer };
}

test('a whole index is left as it is', async () => {
  const { whole } = await made();
  const before = contentsOf(whole);
  expect(await repairIndex(whole)).toEqual({
    outcome: 'whole',
    generation: 2,
    problems: [],
    documents: 120,
    lost: [],
    lostUnknown: [],
    undeleted: [],
    setAside: [],
  });
  expect(contentsOf(whole)).toEqual(before);
});

test.each(['int8', 'r4'] as const)(
  'a flipped bit of any file of an %s index is put right',
  async (codec) => {
    const { copy, whole, answers } = await made(codec);
    const random = seeded(4);
    const rounds = Number(process.env['MAXSIM_FLIPS'] ?? 40);
    const small = filesIn(whole).filter((name) => !/^segment.*maxsim$/.test(name));
    for (let round = 0; round < rounds; round++) {
      const directory = copy();
      let { file, bit } = anyBit(directory, random);
      if (round % 4 === 0) {
        file = small[Math.floor(random() * small.length)] as string;
        bit = Math.floor(random() * readFileSync(join(directory, file)).length * 8);
      }
      flip(join(directory, file), bit);
      const damaged = readFileSync(join(directory, file));
      const planned = await repairIndex(directory, { dryRun: true });
      expect(planned.outcome).toBe('planned');
      expect(planned.generation).toBe(2);
      const report = await repairIndex(directory);
      expect(report, `bit ${bit} of ${file}`).toMatchObject({
        outcome: 'repaired',
        generation: 3,
        problems: [{ file, offset: Math.floor(bit / 8), remedy: 'flipped-bit' }],
        documents: 120,
        lost: [],
        lostUnknown: [],
        undeleted: [],
      });
      expect({ ...report, outcome: 'planned', generation: 2, setAside: [] }).toEqual(planned);
      const [aside] = report.setAside;
      expect(report.setAside).toHaveLength(1);
      expect(readFileSync(join(directory, aside as string)).equals(damaged)).toBe(true);
      expect(await answersOf(directory)).toEqual(answers);
      expect((await verifyIndex(directory)).ok).toBe(true);
      rmSync(directory, { recursive: true });
    }
  },
);

test.each(['int8', 'r4'] as const)(
  'a flipped bit in every file of an %s index at once is put right',
  async (codec) => {
    const { copy, answers } = await made(codec);
    const random = seeded(6);
    for (let round = 0; round < 10; round++) {
      const directory = copy();
      const files = filesIn(directory);
      for (const file of files) {
        flip(
          join(directory, file),
          Math.floor(random() * statSync(join(directory, file)).size * 8),
        );
      }
      const report = await repairIndex(directory);
      expect(report).toMatchObject({ outcome: 'repaired', documents: 120, lost: [] });
      expect(report.problems).toHaveLength(files.length);
      expect(report.setAside).toHaveLength(files.length);
      expect(await answersOf(directory)).toEqual(answers);
      // A writer opens it, and leaves alone what was set aside.
      await using index = await Index.open(directory);
      await index.compact();
      for (const name of report.setAside) expect(readdirSync(directory)).toContain(name);
      rmSync(directory, { recursive: true });
    }
  },
);

test('a lost byte or sector costs the documents in it and no others', async () => {
  const random = seeded(7);
  for (const codec of ['int8', 'r4'] as const) {
    const { copy, answers, older, newer } = await made(codec);
    for (const length of [1, 512, 4096]) {
      for (let round = 0; round < 12; round++) {
        const directory = copy();
        const file = round % 3 === 0 ? newer : older;
        const path = join(directory, file);
        const { size } = statSync(path);
        const start = Math.floor(random() * Math.ceil(size / length)) * length;
        change(path, (bytes) => {
          for (let i = start; i < Math.min(start + length, size); i++) {
            bytes[i] = length === 1 ? (bytes[i] as number) ^ 0x5a : 0;
          }
          return bytes;
        });
        const report = await repairIndex(directory);
        const unknown = report.lostUnknown.reduce((sum, { documents }) => sum + documents, 0);
        expect(report.documents + report.lost.length + unknown).toBe(120);
        // 4,096 bytes hold at most the entries of 100 documents, or their ids.
        expect(report.lost.length + unknown).toBeLessThanOrEqual(
          length === 1 ? 1 : length === 512 ? 52 : 120,
        );
        const after = await answersOf(directory);
        const kept = new Set(after.documents.map(({ id }) => id));
        expect(kept.size).toBe(report.documents);
        for (const id of names(report)) expect(kept.has(id)).toBe(false);
        const gone = new Set(answers.documents.map(({ id }) => id).filter((id) => !kept.has(id)));
        expect(gone.size).toBe(report.lost.length + unknown);
        expect(after).toEqual(without(answers, gone));
        expect((await verifyIndex(directory)).ok).toBe(true);
        rmSync(directory, { recursive: true });
      }
    }
  }
});

test('what is lost in tokens or records is lost by name', async () => {
  const { copy, answers } = await made();
  const directory = copy();
  const path = join(directory, NEW);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('The text of document 95');
  change(path, (all) => all.fill(0x20, at, at + 12));
  // And a document that is dead is no loss.
  const dead = readFileSync(join(directory, OLD)).indexOf('The text of document 95');
  change(join(directory, OLD), (all) => all.fill(0x20, dead, dead + 12));
  const { problems } = await verifyIndex(directory);
  expect(problems).toMatchObject([
    { file: OLD, section: 'records', ids: ['document-95'] },
    { file: NEW, section: 'records', ids: ['document-95'] },
  ]);
  const report = await repairIndex(directory);
  expect(report.lost).toEqual([{ file: NEW, id: 'document-95' }]);
  expect(report.documents).toBe(119);
  expect(report.setAside).toEqual([`${OLD}.damaged`, `${NEW}.damaged`]);
  expect(await answersOf(directory)).toEqual(without(answers, new Set(['document-95'])));
  const again = await repairIndex(directory);
  expect(again).toMatchObject({ outcome: 'whole', generation: 3, documents: 119 });
});

test('a segment cut short keeps the documents that are there', async () => {
  const { copy, answers, older } = await made('r4');
  const { size } = statSync(join(copy(), older));
  for (const share of [0, 0.3, 0.8, 0.9, 0.97, 0.999]) {
    const directory = copy();
    change(join(directory, older), (bytes) => bytes.subarray(0, Math.floor(size * share)));
    const report = await repairIndex(directory);
    const unknown = report.lostUnknown.reduce((sum, { documents }) => sum + documents, 0);
    expect(report.documents + report.lost.length + unknown).toBe(120);
    // Without tables nothing of the segment is left; its 80 live documents are counted.
    if (share < 0.5) expect(unknown).toBe(80);
    if (share > 0.99) expect(report.documents).toBe(120);
    const after = await answersOf(directory);
    const kept = new Set(after.documents.map(({ id }) => id));
    const gone = new Set(answers.documents.map(({ id }) => id).filter((id) => !kept.has(id)));
    expect(gone.size).toBe(120 - report.documents);
    expect(after).toEqual(without(answers, gone));
  }
});

test('a missing segment is given up, and one that holds nothing any more', async () => {
  const { copy, answers } = await made();
  const directory = copy();
  rmSync(join(directory, NEW));
  const report = await repairIndex(directory);
  expect(report).toMatchObject({
    documents: 80,
    lost: [],
    lostUnknown: [{ file: NEW, documents: 40 }],
    setAside: [],
  });
  const gone = Array.from({ length: 40 }, (_, i) => `document-${90 + i}`);
  expect(await answersOf(directory)).toEqual(without(answers, new Set(gone)));
  rmSync(join(directory, OLD));
  expect(await repairIndex(directory)).toMatchObject({ documents: 0, generation: 4 });
  await using index = await Index.open(directory);
  expect(index.documentCount).toBe(0);
  await index.add([{ id: 'a', vectors: unitVectors(seeded(1), 2, DIM) }]);
});

test('two damaged segments are both put right', async () => {
  const { copy, answers, older, newer } = await made('r4');
  const directory = copy();
  for (const file of [older, newer]) {
    change(join(directory, file), (bytes) => bytes.fill(0, 1024, 1024 + 512));
    change(join(directory, file), (bytes) => bytes.fill(0, 0, 256));
    flip(join(directory, file), 9001 * 8);
  }
  const report = await repairIndex(directory);
  expect(report.lost.length).toBeGreaterThanOrEqual(2);
  expect(report.lostUnknown).toEqual([]);
  expect(report.setAside).toEqual([`${older}.damaged`, `${newer}.damaged`]);
  expect(await answersOf(directory)).toEqual(without(answers, names(report)));
});

test('lost tombstones: what was replaced stays dead, what was deleted is reported', async () => {
  const { copy, answers, whole } = await made();
  for (const lose of ['missing', 'zeros', 'header'] as const) {
    const directory = copy();
    const path = join(directory, DEAD);
    if (lose === 'missing') rmSync(path);
    else change(path, (bytes) => bytes.fill(0, 0, lose === 'zeros' ? bytes.length : 64));
    const report = await repairIndex(directory);
    const after = await answersOf(directory);
    if (lose === 'header') {
      // The manifest knows what it said, and as many bits are set as it says.
      expect(report).toMatchObject({ documents: 120, undeleted: [], lost: [] });
      expect(after).toEqual(answers);
      continue;
    }
    expect(report.documents).toBe(130);
    expect(report.undeleted).toMatchObject([{ file: OLD, dead: 20, known: 10 }]);
    expect(report.undeleted[0]?.ids).toHaveLength(90);
    const back = [3, 40, 50, 51, 52, 53, 54, 55, 56, 57].map((i) => `document-${i}`);
    expect(without(after, new Set(back))).toEqual(answers);
    expect(report.undeleted[0]?.ids).toEqual(expect.arrayContaining(back));
    expect((await verifyIndex(directory)).ok).toBe(true);
  }
  // With the segment damaged too, and the newer version of one document lost.
  const directory = copy();
  rmSync(join(directory, DEAD));
  const at = readFileSync(join(whole, NEW)).indexOf('The text of document 95');
  change(join(directory, NEW), (bytes) => bytes.fill(0x20, at, at + 12));
  change(join(directory, OLD), (bytes) => bytes.fill(0, 0, 256));
  const report = await repairIndex(directory);
  expect(report.lost).toEqual([{ file: NEW, id: 'document-95' }]);
  expect((await verifyIndex(directory)).ok).toBe(true);
});

test('a document that is live twice is live once afterwards', async () => {
  const { copy, answers } = await made();
  const directory = copy();
  change(join(directory, 'manifest.json'), (bytes) => {
    const manifest = JSON.parse(bytes.toString().split('\n', 1)[0] as string);
    manifest.segments[0].dead = undefined;
    const line = JSON.stringify(manifest);
    const crc = loadAddon().crc32c(Buffer.from(line)).toString(16).padStart(8, '0');
    return Buffer.from(`${line}\ncrc32c:${crc}\n`);
  });
  const report = await repairIndex(directory);
  expect(report).toMatchObject({ outcome: 'repaired', documents: 130, lost: [], setAside: [] });
  const back = [3, 40, 50, 51, 52, 53, 54, 55, 56, 57].map((i) => `document-${i}`);
  expect(without(await answersOf(directory), new Set(back))).toEqual(answers);
  expect((await verifyIndex(directory)).ok).toBe(true);
});

test('without a manifest or a codebook nothing is done, and it is said why', async () => {
  const { copy } = await made('r4');
  for (const file of ['manifest.json', 'codebook-00000001.maxsim']) {
    for (const damage of ['missing', 'cut', 'zeros'] as const) {
      const directory = copy();
      const path = join(directory, file);
      if (damage === 'missing') rmSync(path);
      else if (damage === 'cut') change(path, (bytes) => bytes.subarray(0, bytes.length - 9));
      else change(path, (bytes) => bytes.fill(0, 140, 150));
      const before = contentsOf(directory);
      const { code, message } = await refusal(() => repairIndex(directory));
      expect(code).toBe('CORRUPT_INDEX');
      expect(message).toContain(file);
      expect(message).toMatch(/cannot be repaired: .*Restore it from a backup, or index again\.$/);
      expect(contentsOf(directory)).toEqual(before);
      expect((await verifyIndex(directory)).ok).toBe(false);
    }
  }
});

test('no repair beside a writer, none of what is no index, and wrong options are refused', async () => {
  const { whole, root } = await made();
  const index = await Index.open(whole);
  expect((await refusal(() => repairIndex(whole))).code).toBe('INDEX_LOCKED');
  await index.close();
  expect((await refusal(() => repairIndex(root))).code).toBe('NOT_AN_INDEX');
  expect(readdirSync(root)).toEqual(['whole']);
  expect((await refusal(() => repairIndex(whole, { dryRun: 1 } as never))).code).toBe(
    'INVALID_ARGUMENT',
  );
  expect((await refusal(() => repairIndex(whole, { signal: AbortSignal.abort() }))).code).toBe(
    'ABORTED',
  );
});

test('a repair that cannot write leaves everything as it was', async () => {
  const { copy } = await made();
  for (const obstacle of ['segment-00000003-2.maxsim', `manifest.json.tmp-${process.pid}`]) {
    const directory = copy();
    change(join(directory, OLD), (bytes) => bytes.fill(0, 1024, 1024 + 512));
    await refusal(() => Index.open(directory, { verify: 'at-open' }));
    // Taken by a directory, a name cannot be written.
    mkdirSync(join(directory, obstacle));
    const before = readdirSync(directory);
    const bytes = readFileSync(join(directory, OLD));
    expect((await refusal(() => repairIndex(directory))).code).toBe('IO_ERROR');
    expect(readFileSync(join(directory, OLD)).equals(bytes)).toBe(true);
    for (const name of before) expect(readdirSync(directory)).toContain(name);
    rmSync(join(directory, obstacle), { recursive: true });
    expect((await repairIndex(directory)).outcome).toBe('repaired');
  }
});

test('damaged fields are taken anew from the payloads, of tenants too', async () => {
  for (const tenants of [false, true]) {
    const { root } = await made();
    const directory = join(root, 'fields');
    const options = { dim: DIM, fields: { lang: 'keyword', year: 'number' }, tenants } as const;
    const languages = ['de', 'en', 'fr'];
    const documents = Array.from({ length: 60 }, (_, i) => ({
      id: `d${i}`,
      vectors: unitVectors(seeded(i), 3, DIM),
      payload: { lang: languages[i % 3] as string, year: 2000 + (i % 7) },
    }));
    const index = await Index.open(directory, options);
    const store = tenants ? index.tenant('acme') : index;
    await store.add(documents);
    await store.delete(['d4']);
    await index.close();
    const answers = async () => {
      await using reader = await Index.open(directory, { mode: 'read', verify: 'at-open' });
      const view = tenants ? reader.tenant('acme') : reader;
      const query = unitVectors(seeded(98), 2, DIM);
      return await Promise.all(
        [{ lang: 'en' }, { year: 2003 }, { lang: 'fr', year: 2001 }].map(
          async (filter) => (await view.search(query, { filter, topK: 60 })).hits,
        ),
      );
    };
    const before = await answers();
    for (let round = 0; round < 2; round++) {
      const [file] = filesIn(directory).filter((name) => name.endsWith('.maxsim')) as [string];
      change(join(directory, file), (bytes) => {
        // The fifth section of the header.
        const offset = Number(bytes.readBigUInt64LE(64 + 4 * 24));
        const size = Number(bytes.readBigUInt64LE(64 + 4 * 24 + 8));
        if (round === 0) return bytes.fill(0, offset, offset + size);
        bytes[offset + 50] = (bytes[offset + 50] as number) ^ 4;
        return bytes;
      });
      expect((await verifyIndex(directory)).problems).toMatchObject([
        { section: 'fields', remedy: round === 0 ? 'rewritten' : 'flipped-bit' },
      ]);
      expect(await repairIndex(directory)).toMatchObject({ documents: 59, lost: [] });
      expect(await answers()).toEqual(before);
      expect((await verifyIndex(directory)).ok).toBe(true);
    }
  }
});

test('a repair that is killed at any time leaves an index that can be repaired', async () => {
  const { copy, answers } = await made();
  const script = `
    import { repairIndex } from ${JSON.stringify(MAXSIM)};
    console.log('ready');
    console.log((await repairIndex(process.argv[1])).outcome);
  `;
  for (let round = 0; round < 12; round++) {
    const directory = copy();
    change(join(directory, OLD), (bytes) => bytes.fill(0, 1024, 1024 + 512));
    flip(join(directory, NEW), 77_777);
    flip(join(directory, DEAD), 77);
    flip(join(directory, 'manifest.json'), 77);
    const damaged = new Map(
      [OLD, NEW, DEAD].map((name) => [name, readFileSync(join(directory, name))]),
    );
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, directory]);
    await new Promise<void>((resolve) => {
      child.stdout.once('data', () => setTimeout(resolve, round * 3));
      child.once('exit', () => resolve());
    });
    child.kill('SIGKILL');
    await new Promise((resolve) =>
      child.exitCode === null && child.signalCode === null
        ? child.once('exit', resolve)
        : resolve(0),
    );
    // Under its own name or the second one, every damaged file is there.
    for (const [name, bytes] of damaged) {
      const found = [name, `${name}.damaged`].find((one) => readdirSync(directory).includes(one));
      expect(readFileSync(join(directory, found as string)).equals(bytes)).toBe(true);
    }
    const report = await repairIndex(directory);
    const after = await answersOf(directory);
    const gone = new Set(answers.documents.map(({ id }) => id));
    for (const { id } of after.documents) gone.delete(id);
    expect(after).toEqual(without(answers, gone));
    expect(gone.size).toBeGreaterThan(0);
    expect(gone.size).toBeLessThanOrEqual(3);
    if (report.outcome === 'repaired') expect(names(report)).toEqual(gone);
    expect((await verifyIndex(directory)).ok).toBe(true);
    for (const [name, bytes] of damaged) {
      expect(readFileSync(join(directory, `${name}.damaged`)).equals(bytes)).toBe(true);
    }
  }
});

test('a reader keeps its generation while the index is repaired, and moves on to the new one', async () => {
  const { copy } = await made();
  const directory = copy();
  change(join(directory, OLD), (bytes) => bytes.fill(0, 1024, 1024 + 512));
  await using reader = await Index.open(directory, { mode: 'read' });
  const report = await repairIndex(directory);
  expect(reader.generation).toBe(2);
  expect(reader.documentCount).toBe(120);
  expect(await reader.refresh()).toBe(true);
  expect(reader.documentCount).toBe(120 - report.lost.length);
  writeFileSync(join(directory, 'done'), '');
});
