import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

/** An index with two segments, one of them with tombstones. */
async function makeIndex(directory: string): Promise<{ segment: string; tombstones: string }> {
  const random = seeded(1);
  const index = await Index.open(directory, { dim: DIM });
  for (const batch of [0, 1]) {
    await index.add(
      Array.from({ length: 4 }, (_, i) => ({
        id: `d${batch}${i}`,
        vectors: unitVectors(random, 2),
        text: 'text',
      })),
    );
  }
  await index.delete(['d00']);
  await index.close();
  const names = readdirSync(directory);
  return {
    segment: names.find((name) => name.endsWith('-0.maxsim')) as string,
    tombstones: names.find((name) => name.endsWith('.dead')) as string,
  };
}

/** A manifest with a right checksum around any first line. */
function sealed(line: string): string {
  const crc = loadAddon().crc32c(Buffer.from(line)).toString(16).padStart(8, '0');
  return `${line}\ncrc32c:${crc}\n`;
}

test('a changed byte in any file of an index is found and the file named, and nothing is removed', async () => {
  const directory = temporaryDirectory();
  const names = await makeIndex(directory);
  for (const name of ['manifest.json', names.segment, names.tombstones]) {
    const path = join(directory, name);
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at += name === names.segment ? 37 : 1) {
      const broken = Buffer.from(whole);
      broken[at] = (broken[at] as number) ^ 0x11;
      writeFileSync(path, broken);
      const { code, message } = await refusal(() =>
        Index.open(directory, { mode: 'read', verify: 'at-open' }),
      );
      expect(['CORRUPT_INDEX', 'UNSUPPORTED_FORMAT']).toContain(code);
      expect(message).toContain(name);
    }
    const before = readdirSync(directory);
    expect((await refusal(() => Index.open(directory))).code).toBe('CORRUPT_INDEX');
    expect(readdirSync(directory)).toEqual(before);
    writeFileSync(path, whole);
  }
  await (await Index.open(directory)).close();
});

test('what is damaged in a document is found when it is used, and never scored, copied or merged', async () => {
  for (const memory of ['mapped', 'populated', 'huge-pages'] as const) {
    const directory = temporaryDirectory();
    const { segment } = await makeIndex(directory);
    const path = join(directory, segment);
    const bytes = readFileSync(path);
    // The second document's tokens: rows of DIM bytes, each block at a multiple of 64 behind the header.
    const at = 256 + 64;
    bytes[at] = (bytes[at] as number) ^ 0x01;
    writeFileSync(path, bytes);
    await using index = await Index.open(directory, { memory });
    const query = unitVectors(seeded(2), 3);
    const damaged = async (run: () => unknown) => {
      const { code, message } = await refusal(async () => await run());
      expect(code).toBe('CORRUPT_INDEX');
      expect(message).toContain(`${segment}: corrupt tokens at byte ${at}`);
    };
    for (let round = 0; round < 2; round++) {
      await damaged(() => index.score(query, ['d02', 'd01']));
      await damaged(() => index.scoreAsync(query, ['d01']));
      await damaged(() => index.rank(query, ['d11', 'd01']));
      await damaged(() => index.search(query));
      await damaged(() => index.vectors('d01'));
      await damaged(() => index.compact());
    }
    // The others are as they were, and so are its text and the index.
    expect(index.score(query, ['d02', 'd11']).scores.every(Number.isFinite)).toBe(true);
    expect(index.get('d01')?.text).toBe('text');
    await index.add([{ id: 'd01', vectors: unitVectors(seeded(3), 2), text: 'anew' }]);
    expect((await index.search(query, { topK: 20 })).hits).toHaveLength(7);
  }
});

test('a reader moves on to a generation with a damaged document, and says so when it is asked for', async () => {
  const directory = temporaryDirectory();
  await using index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  await index.add([{ id: 'old', vectors: unitVectors(seeded(1), 2) }]);
  await using reader = await Index.open(directory, { mode: 'read' });
  await index.add(['a', 'b'].map((id) => ({ id, vectors: unitVectors(seeded(2), 2) })));
  const path = join(directory, 'segment-00000002-0.maxsim');
  const bytes = readFileSync(path);
  bytes[256] = (bytes[256] as number) ^ 0x01;
  writeFileSync(path, bytes);
  expect(await reader.refresh()).toBe(true);
  const query = unitVectors(seeded(3), 2);
  expect(reader.score(query, ['old', 'b']).scores.every(Number.isFinite)).toBe(true);
  const { code, message } = await refusal(() => reader.score(query, ['a']));
  expect(code).toBe('CORRUPT_INDEX');
  expect(message).toContain('segment-00000002-0.maxsim');
});

test('recode does not take over what is damaged', async () => {
  const directory = temporaryDirectory();
  await using index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  await index.add([{ id: 'a', vectors: unitVectors(seeded(1), 3) }]);
  const path = join(directory, 'segment-00000001-0.maxsim');
  const bytes = readFileSync(path);
  bytes[256] = (bytes[256] as number) ^ 0x01;
  writeFileSync(path, bytes);
  expect((await refusal(() => index.recode('f16'))).code).toBe('CORRUPT_INDEX');
  expect(index.codec.name).toBe('f32');
  expect(readdirSync(directory).filter((name) => name.startsWith('segment'))).toHaveLength(1);
});

test('a file cut short at any length is found and named', async () => {
  const directory = temporaryDirectory();
  const names = await makeIndex(directory);
  for (const name of ['manifest.json', names.tombstones, names.segment]) {
    const path = join(directory, name);
    const whole = readFileSync(path);
    for (let size = 0; size < whole.length; size += name === names.segment ? 41 : 1) {
      writeFileSync(path, whole.subarray(0, size));
      const { code, message } = await refusal(() => Index.open(directory, { mode: 'read' }));
      expect(code).toBe('CORRUPT_INDEX');
      expect(message).toContain(name);
    }
    writeFileSync(path, whole);
  }
});

test('a missing segment or tombstone file is named', async () => {
  for (const kind of ['segment', 'tombstones'] as const) {
    const directory = temporaryDirectory();
    const names = await makeIndex(directory);
    rmSync(join(directory, names[kind]));
    for (const mode of ['read', 'write'] as const) {
      const { code, message } = await refusal(() => Index.open(directory, { mode }));
      expect(code).toBe('CORRUPT_INDEX');
      expect(message).toContain(names[kind]);
    }
  }
});

test('segments of another index do not pass for this one', async () => {
  const directory = temporaryDirectory();
  const other = join(directory, 'other');
  const mine = join(directory, 'mine');
  const names = await makeIndex(mine);
  mkdirSync(other);
  cpSync(mine, other, { recursive: true });
  rmSync(join(other, 'manifest.json'));
  for (const name of readdirSync(other)) rmSync(join(other, name));
  const foreign = await Index.open(other, { dim: DIM });
  await foreign.add(
    Array.from({ length: 4 }, (_, i) => ({ id: `x${i}`, vectors: unitVectors(seeded(i), 2) })),
  );
  await foreign.close();
  const [file] = readdirSync(other).filter((name) => name.endsWith('.maxsim'));
  copyFileSync(join(other, file as string), join(mine, names.segment));
  expect((await refusal(() => Index.open(mine))).code).toBe('CORRUPT_INDEX');
});

test('a future version is refused, naming both versions', async () => {
  const directory = temporaryDirectory();
  const { segment, tombstones } = await makeIndex(directory);
  for (const name of [segment, tombstones]) {
    const path = join(directory, name);
    const whole = readFileSync(path);
    const newer = Buffer.from(whole);
    newer.writeUInt32LE(9, 8);
    writeFileSync(path, newer);
    const { code, message } = await refusal(() => Index.open(directory));
    expect(code).toBe('UNSUPPORTED_FORMAT');
    expect(message).toMatch(/version 9; this release of maxsim reads version 1/);
    writeFileSync(path, whole);
  }
  const path = join(directory, 'manifest.json');
  writeFileSync(path, '{"format":"maxsim-index","version":2,"new":true}\nanother seal\n');
  const { code, message } = await refusal(() => Index.open(directory));
  expect(code).toBe('UNSUPPORTED_FORMAT');
  expect(message).toMatch(/version 2; this release of maxsim reads version 1/);
});

test('every field of the manifest is checked, even under a right checksum', async () => {
  const directory = temporaryDirectory();
  await makeIndex(directory);
  const path = join(directory, 'manifest.json');
  const [line] = readFileSync(path, 'utf8').split('\n') as [string];
  const good = JSON.parse(line);
  const [segment, second] = good.segments;
  const dead = { file: `${second.file}.3.dead`, count: 1 };
  const changes: Record<string, unknown>[] = [
    { version: 0 },
    { generation: -1 },
    { generation: 1.5 },
    { generation: '3' },
    { dim: 7 },
    { dim: 4096 },
    { dim: 24 },
    { codec: null },
    { codec: { name: 'pq', scale: 1 } },
    { codec: { name: 'int8', scale: 0 } },
    { codec: { name: 'int8', scale: 0.1 } },
    { codec: { name: 'int8', scale: null } },
    { codec: { name: 'f32', scale: 1 } },
    { codec: { name: 'f32', scale: 2 } },
    { codec: { ...good.codec, more: 1 } },
    { encoder: undefined },
    { encoder: 'model' },
    { encoder: { fingerprint: 7, recipe: {} } },
    { encoder: { fingerprint: 'x', recipe: null } },
    { fields: undefined },
    { fields: null },
    { fields: [null] },
    { fields: [{ name: 'lang', type: 'text' }] },
    { fields: [{ name: '$lang', type: 'keyword' }] },
    { fields: [{ name: 'lang', type: 'keyword' }] }, // which no segment has
    { fields: [{ name: 'lang', type: 'keyword', more: 1 }] },
    {
      fields: [
        { name: 'b', type: 'keyword' },
        { name: 'a', type: 'keyword' },
      ],
    },
    { tenants: undefined },
    { tenants: 1 },
    { tenants: true },
    { segments: null },
    { segments: [null] },
    { segments: [segment, segment] },
    { segments: [{ ...segment, file: '../../etc/passwd' }] },
    { segments: [{ ...segment, file: 'segment-00000001-0.maxsim/../x' }] },
    { segments: [{ ...segment, documents: 0 }] },
    { segments: [{ ...segment, documents: 2 ** 32 }] },
    { segments: [{ ...segment, tokens: 1 }] },
    { segments: [{ ...segment, tokens: segment.tokens + 1 }] },
    { segments: [{ ...segment, headerCrc: -1 }] },
    { segments: [{ ...segment, headerCrc: 0 }] },
    { segments: [{ ...segment, dead }] },
    { segments: [{ ...segment, dead: { ...segment.dead, count: 5 } }] },
    { segments: [{ ...segment, dead: { ...segment.dead, count: 2 } }] },
    { segments: [{ ...segment, more: 1 }] },
    { surplus: 1 },
  ];
  for (const change of changes) {
    writeFileSync(path, sealed(JSON.stringify({ ...good, ...change })));
    const { code } = await refusal(() => Index.open(directory));
    expect(code, JSON.stringify(change)).toBe('CORRUPT_INDEX');
  }
  writeFileSync(path, `${sealed(line)}more\n`);
  expect((await refusal(() => Index.open(directory))).code).toBe('CORRUPT_INDEX');
  writeFileSync(path, sealed(line));
  await (await Index.open(directory)).close();
});

test('a directory that cannot be written gives IO_ERROR with the path, and loses nothing', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add([{ id: 'a', vectors: unitVectors(seeded(1), 1) }]);
  // Taken by a directory, the name cannot be renamed onto; root ignores permissions, so no chmod here.
  mkdirSync(join(directory, 'segment-00000002-0.maxsim'));
  const { code, message } = await refusal(() =>
    index.add([{ id: 'b', vectors: unitVectors(seeded(2), 1) }]),
  );
  expect(code).toBe('IO_ERROR');
  expect(message).toContain('segment-00000002-0.maxsim');
  expect(message).toMatch(/rename/);
  expect(index.generation).toBe(1);
  rmSync(join(directory, 'segment-00000002-0.maxsim'), { recursive: true });
  expect(readdirSync(directory)).toHaveLength(3);
  expect(await index.add([{ id: 'b', vectors: unitVectors(seeded(2), 1) }])).toMatchObject({
    generation: 2,
  });
  await index.close();
  if (process.getuid?.() !== 0) {
    chmodSync(directory, 0o555);
    expect((await refusal(() => Index.open(directory))).code).toBe('IO_ERROR');
    chmodSync(directory, 0o755);
  }
});

test('a commit whose manifest cannot be renamed leaves the old generation and no new file', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM });
  await index.add([{ id: 'a', vectors: unitVectors(seeded(1), 1) }]);
  // The aside file's name is taken by a directory, so the manifest cannot be written.
  const aside = join(directory, `manifest.json.tmp-${process.pid}`);
  mkdirSync(aside);
  const { code } = await refusal(() =>
    index.commit({ add: [{ id: 'b', vectors: unitVectors(seeded(2), 1) }], delete: ['a'] }),
  );
  expect(code).toBe('IO_ERROR');
  expect(index.hasMany(['a', 'b'])).toEqual([true, false]);
  rmSync(aside, { recursive: true });
  expect(readdirSync(directory)).toHaveLength(3);
  await index.add([{ id: 'b', vectors: unitVectors(seeded(2), 1) }]);
  await index.close();
  await using again = await Index.open(directory);
  expect(again.hasMany(['a', 'b'])).toEqual([true, true]);
});
