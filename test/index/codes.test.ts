import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { writeCodes } from '../../dist/index/codes.js';
import { adoptCodes } from '../../dist/index/commit.js';
import { filesOf, openGeneration } from '../../dist/index/generation.js';
import { type Manifest, parseManifest, serializeManifest } from '../../dist/index/manifest.js';
import { backupIndex, type CodecName, Index, repairIndex, verifyIndex } from '../../dist/maxsim.js';
import { change, filesIn, flip } from './damaged.js';
import { compacted, DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const MAXSIM = new URL('../../dist/maxsim.js', import.meta.url).href;
const QUERY = unitVectors(seeded(99), 4, DIM);

const documents = (from: number, count: number, tokens = 60) =>
  Array.from({ length: count }, (_, i) => ({
    id: `d${from + i}`,
    vectors: unitVectors(seeded(from + i + 1), tokens, DIM),
  }));

const manifestOf = (directory: string): Manifest => {
  const path = join(directory, 'manifest.json');
  return parseManifest(readFileSync(path), path);
};

/** Nothing is there that does not count, and all that counts is there. */
const expectTidy = (directory: string): void => {
  const files = [...filesOf(manifestOf(directory)), 'manifest.json'];
  expect(filesIn(directory).sort()).toEqual(files.sort());
};

const scan = async (index: Index) =>
  (await index.search(QUERY, { topK: 10, method: 'scan', depth: 1_000_000 })).hits;
const scored = async (index: Index) =>
  (await index.search(QUERY, { topK: 10, method: 'exhaustive' })).hits;

async function built(codec: CodecName, options: { compaction?: 'off' } = {}) {
  const directory = join(temporaryDirectory(), 'index');
  const index = await Index.open(directory, { dim: DIM, codec, ...options });
  await index.add(documents(0, 80));
  await index.buildSearch({ ...(codec === 'r4' ? {} : { centroids: 64 }), lists: true });
  return { directory, index };
}

test('a manifest with search keys comes back as it is, and one that lies is refused', async () => {
  const { directory, index } = await built('int8');
  await index.close();
  const manifest = manifestOf(directory);
  const { search, segments } = manifest as Required<Manifest>;
  expect(parseManifest(serializeManifest(manifest), 'm')).toEqual(manifest);
  const [segment] = segments as [Manifest['segments'][0]];
  const codes = segment.codes as { file: string; crc: number };
  const withSearch = (changes: object) => ({ ...manifest, search: { ...search, ...changes } });
  const withCodes = (changes: object) => ({
    ...manifest,
    segments: [{ ...segment, codes: { ...codes, ...changes } }],
  });
  const { search: _, ...bare } = manifest;
  const lies: [object, RegExp][] = [
    [bare, /segments\[0\]\.codes/],
    [withCodes({ crc: -1 }), /segments\[0\]\.codes\.crc/],
    [withCodes({ more: 1 }), /segments\[0\]\.codes\.more/],
    [withCodes({ file: 'segment-00000009-0.maxsim.1.codes' }), /a file of segment/],
    [withCodes({ file: '../x' }), /segments\[0\]\.codes\.file/],
    [withSearch({ more: 1 }), /search\.more/],
    [withSearch({ cosine: 2 }), /search\.cosine/],
    [withSearch({ cosine: null }), /search\.cosine/],
    [withSearch({ depths: {} }), /search\.depths/],
    [withSearch({ codebook: { ...search.codebook, crc: 2 ** 32 } }), /search\.codebook\.crc/],
    [withSearch({ codebook: { ...search.codebook, file: 'x' } }), /search\.codebook\.file/],
    [withSearch({ codebook: null }), /search\.codebook/],
    [{ ...manifest, search: null }, /"search"/],
  ];
  for (const [lie, what] of lies) {
    const { code, message } = await refusal(() =>
      parseManifest(serializeManifest(lie as Manifest), 'm'),
    );
    expect(code).toBe('CORRUPT_INDEX');
    expect(message).toMatch(what);
  }
});

test.each(['int8', 'r4'] as const)(
  'codes of an %s index follow adds, deletes, merges, retraining and backups',
  async (codec) => {
    const { directory, index } = await built(codec, { compaction: 'off' });
    expect(index.stats().search).toMatchObject({
      codedTokens: 4800,
      uncodedTokens: 0,
      codedSegments: 1,
      listedSegments: 1,
      drift: 0,
      advice: null,
    });
    expect(index.stats().bytes.codes).toBeGreaterThan(0);
    await index.add(documents(80, 40));
    await index.delete(['d3', 'd90']);
    expect(index.stats().search).toMatchObject({ codedTokens: 4800, uncodedTokens: 2400 });
    expect(await scan(index)).toEqual(await scored(index));
    expectTidy(directory);
    const backup = join(directory, '..', 'backup');
    await backupIndex(directory, backup);
    await using copy = await Index.open(backup, { mode: 'read', verify: 'at-open' });
    expect(await scan(copy)).toEqual(await scored(index));

    await index.compact();
    expect(index.stats().search).toMatchObject({ uncodedTokens: 0, codedSegments: 1 });
    expect(await scan(index)).toEqual(await scored(index));
    expectTidy(directory);
    const before = manifestOf(directory).search?.codebook;
    await index.buildSearch({ retrain: true, centroids: 32 });
    expect(manifestOf(directory).search?.codebook).not.toEqual(before);
    expect(index.stats().search).toMatchObject({ centroids: 32, uncodedTokens: 0, drift: 0 });
    expect(await scan(index)).toEqual(await scored(index));
    expectTidy(directory);
    // The last document takes the segment's codes with it.
    await index.delete(Array.from({ length: 120 }, (_, i) => `d${i}`));
    expectTidy(directory);
    await index.close();
    expect((await verifyIndex(directory)).ok).toBe(true);
  },
);

test('lists are added to codes that have none', async () => {
  const { directory, index } = await built('int8', { compaction: 'off' });
  await index.buildSearch({ retrain: true, centroids: 32 });
  expect(index.stats().search).toMatchObject({ codedSegments: 1, listedSegments: 0 });
  const best = await scored(index);
  await index.buildSearch({ lists: true });
  expect(index.stats().search).toMatchObject({ listedSegments: 1, codedTokens: 4800 });
  const options = { topK: 10, method: 'lists', depth: 80 } as const;
  expect((await index.search(QUERY, options)).hits).toEqual(best);
  expectTidy(directory);
  await index.close();
});

test('segments without codes are given some in the background once they are worth it', async () => {
  const { directory, index } = await built('int8');
  await index.add(documents(80, 60));
  await compacted(index);
  expect(index.stats().search).toMatchObject({ uncodedTokens: 3600 });
  await index.add(documents(200, 250, 256));
  for (let i = 0; i < 2000 && index.stats().search?.uncodedTokens !== 0; i++) await setTimeout(2);
  expect(index.stats().search).toMatchObject({ uncodedTokens: 0, codedTokens: 72_400 });
  expect(index.stats().compaction?.lastError).toBeNull();
  expect(await scan(index)).toEqual(await scored(index));
  await compacted(index);
  await index.close();
  expectTidy(directory);
});

test('documents unlike those that the centroids were learned from are reported as drift', async () => {
  const directory = temporaryDirectory();
  await using index = await Index.open(directory, { dim: DIM, codec: 'f32', compaction: 'off' });
  const near = (axis: number, from: number) =>
    documents(from, 80).map(({ id, vectors }) => {
      const moved = vectors.map((value, i) => value * 0.2 + (i % DIM === axis ? 1 : 0));
      return { id, vectors: moved };
    });
  await index.add(near(0, 0));
  await index.buildSearch({ centroids: 16 });
  await index.add(near(1, 100));
  await index.buildSearch();
  const search = index.stats().search;
  expect(search?.drift).toBeGreaterThan(0.15);
  expect(search?.advice).toMatch(/moved away/);
});

test('codes that were made beside a change of codec are not put to use', async () => {
  const { directory, index } = await built('f16', { compaction: 'off' });
  await index.add(documents(80, 20));
  await index.close();
  const from = await openGeneration(directory, manifestOf(directory), null);
  const again = await Index.open(directory, { codec: 'f16', compaction: 'off' });
  const coding = await writeCodes(directory, from, {
    centroids: 'kept',
    lists: 'auto',
    background: true,
    limits: {},
  });
  expect(coding.files).toHaveLength(1);
  await again.recode('int8');
  expect(again.stats().search).toMatchObject({ codedSegments: 0, uncodedTokens: 6000 });
  const current = await openGeneration(directory, manifestOf(directory), null);
  expect((await refusal(() => adoptCodes(directory, current, coding))).code).toBe('ABORTED');
  for (const { snapshot } of [from, current, coding.staged]) snapshot.close();
  expectTidy(directory);
  await again.buildSearch();
  expect(await scan(again)).toEqual(await scored(again));
  await again.close();
  expectTidy(directory);
});

test('recoding an index whose searches use the centroids of its codec leaves both behind', async () => {
  const { directory, index } = await built('r4');
  await index.delete(Array.from({ length: 80 }, (_, i) => `d${i}`));
  await index.recode('int8');
  expect(index.stats().search).toBeNull();
  await index.close();
  await using again = await Index.open(directory);
  expect(again.codec.name).toBe('int8');
});

const codesIn = (directory: string): string =>
  filesIn(directory).find((name) => name.endsWith('.codes')) as string;

test.each(['flipped', 'cut', 'missing'] as const)(
  'codes that are %s are named by verify, never used, and left out by repair',
  async (how) => {
    const { directory, index } = await built('int8');
    const best = await scored(index);
    await index.close();
    const file = codesIn(directory);
    const path = join(directory, file);
    if (how === 'flipped') flip(path, statSync(path).size * 4 + 3);
    else if (how === 'cut') truncateSync(path, 300);
    else rmSync(path);
    const { problems } = await verifyIndex(directory);
    expect(problems).toMatchObject([{ file, remedy: 'left-out' }]);
    const { code, message } = await refusal(async () => {
      await using damaged = await Index.open(directory, { mode: 'read' });
      await scan(damaged);
    });
    expect(code).toBe('CORRUPT_INDEX');
    expect(message).toContain(file);
    const report = await repairIndex(directory);
    expect(report).toMatchObject({ outcome: 'repaired', documents: 80, lost: [] });
    expect(report.setAside).toEqual(how === 'missing' ? [] : [`${file}.damaged`]);
    expect((await verifyIndex(directory)).ok).toBe(true);
    await using repaired = await Index.open(directory);
    expect(repaired.stats().search).toMatchObject({ codedSegments: 0, uncodedTokens: 4800 });
    expect(await scored(repaired)).toEqual(best);
    await repaired.buildSearch();
    expect(await scan(repaired)).toEqual(best);
  },
);

test('damaged centroids are left out with all codes; those of a codec are put right', async () => {
  const { directory, index } = await built('int8');
  await index.close();
  const file = filesIn(directory).find((name) => name.startsWith('centroids-')) as string;
  change(join(directory, file), (bytes) => bytes.fill(7, 200, 210));
  expect((await verifyIndex(directory)).problems).toMatchObject([{ file, remedy: 'left-out' }]);
  expect((await refusal(() => Index.open(directory))).message).toContain(file);
  await repairIndex(directory);
  expect((await verifyIndex(directory)).ok).toBe(true);
  await using repaired = await Index.open(directory);
  expect(repaired.stats().search).toBeNull();
  expect(repaired.documentCount).toBe(80);

  const residual = await built('r4');
  const best = await scan(residual.index);
  await residual.index.close();
  const codebook = filesIn(residual.directory).find((name) => name.startsWith('codebook-'));
  flip(join(residual.directory, codebook as string), 3000);
  const report = await repairIndex(residual.directory);
  expect(report.problems).toMatchObject([{ file: codebook, remedy: 'flipped-bit' }]);
  await using again = await Index.open(residual.directory);
  expect(again.stats().search).toMatchObject({ codedSegments: 1 });
  expect(await scan(again)).toEqual(best);
});

test('documents that come back with lost tombstones are found, since their codes are left out', async () => {
  const { directory, index } = await built('int8', { compaction: 'off' });
  await index.delete(['d7']);
  await index.buildSearch({ retrain: true, centroids: 32 });
  await index.close();
  const dead = filesIn(directory).find((name) => name.endsWith('.dead')) as string;
  writeFileSync(join(directory, dead), 'nothing');
  await repairIndex(directory);
  await using repaired = await Index.open(directory, { compaction: 'off' });
  expect(repaired.documentCount).toBe(80);
  expect(repaired.stats().search).toMatchObject({ codedSegments: 0 });
});

// Builds anew again and again, and says when.
const BUILDER = `
import { Index } from ${JSON.stringify(MAXSIM)};
const index = await Index.open(process.argv[1]);
for (let i = 0; ; i++) {
  console.log('built');
  await index.buildSearch({ retrain: true, centroids: 32 + i, lists: true });
}
`;

test('a writer that is killed while it builds leaves one generation or the next', async () => {
  const { directory, index } = await built('int8');
  const best = await scored(index);
  await index.close();
  const random = seeded(5);
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', BUILDER, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await setTimeout(random() * 60);
    child.kill('SIGKILL');
    await ended;
    await using again = await Index.open(directory, { verify: 'at-open' });
    expect(await scan(again)).toEqual(best);
    expect(again.stats().search?.uncodedTokens).toBe(0);
    expectTidy(directory);
  }
  expect(readdirSync(directory).some((name) => name.includes('.tmp-'))).toBe(false);
});
