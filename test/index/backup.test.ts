/** Backups: whole while a writer goes on, never over anything else, nothing left of a failed one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { backupIndex, Index } from '../../dist/maxsim.js';
import { DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

async function makeIndex(directory: string): Promise<Index> {
  const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  const next = seeded(1);
  for (let i = 0; i < 3; i++) {
    const documents = Array.from({ length: 10 }, (_, j) => ({
      id: `d${i}-${j}`,
      vectors: unitVectors(next, 4),
      text: `text ${i} ${j}`,
    }));
    await index.add(documents);
  }
  await index.delete(['d0-3']);
  return index;
}

it('a backup is the index as it was, in the same blocks of the disk', async () => {
  const root = temporaryDirectory();
  const index = await makeIndex(join(root, 'index'));
  const result = await backupIndex(join(root, 'index'), join(root, 'a', 'backup'));
  expect(result).toMatchObject({ generation: index.generation, documents: 29, copiedFiles: 0 });
  const names = readdirSync(join(root, 'a', 'backup'));
  expect(result.files).toBe(names.length);
  for (const name of names.filter((one) => one.startsWith('segment'))) {
    const inode = (folder: string): number => statSync(join(root, folder, name)).ino;
    expect(inode('a/backup')).toBe(inode('index'));
  }
  const ids = ['d0-0', 'd1-5', 'd2-9'];
  const vectors = ids.map((id) => index.vectors(id));
  // What becomes of the original is no longer its concern.
  await index.delete(ids);
  await index.compact();
  await index.close();
  rmSync(join(root, 'index'), { recursive: true });
  const backup = await Index.open(join(root, 'a', 'backup'), { create: false });
  expect(ids.map((id) => backup.vectors(id))).toEqual(vectors);
  expect(backup.has('d0-3')).toBe(false);
  // And it can be written to, as any index.
  await backup.add([{ id: 'new', vectors: unitVectors(seeded(2), 3) }]);
  expect(backup.documentCount).toBe(30);
  await backup.close();
});

it('what is no index, and what is no empty directory, is refused', async () => {
  const root = temporaryDirectory();
  const nowhere = await refusal(() => backupIndex(join(root, 'nowhere'), join(root, 'b')));
  expect(nowhere.code).toBe('NOT_AN_INDEX');
  expect(existsSync(join(root, 'b'))).toBe(false);
  const index = await makeIndex(join(root, 'index'));
  mkdirSync(join(root, 'full'));
  writeFileSync(join(root, 'full', 'mine.txt'), 'mine');
  const full = await refusal(() => backupIndex(join(root, 'index'), join(root, 'full')));
  expect(full).toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect(full.message).toContain('mine.txt');
  expect(readdirSync(join(root, 'full'))).toEqual(['mine.txt']);
  const itself = await refusal(() => backupIndex(join(root, 'index'), join(root, 'index')));
  expect(itself.code).toBe('INVALID_ARGUMENT');
  expect((await refusal(() => backupIndex(join(root, 'index'), 7 as never))).code).toBe(
    'INVALID_ARGUMENT',
  );
  await index.close();
});

it('a broken index gives no backup', async () => {
  const root = temporaryDirectory();
  const index = await makeIndex(join(root, 'index'));
  await index.close();
  const [segment] = readdirSync(join(root, 'index')).filter((name) => /\.maxsim$/.test(name));
  const path = join(root, 'index', segment as string);
  const bytes = readFileSync(path);
  rmSync(path);
  const missing = await refusal(() => backupIndex(join(root, 'index'), join(root, 'b')));
  expect(missing.code).toBe('CORRUPT_INDEX');
  expect(missing.message).toContain(segment);
  expect(existsSync(join(root, 'b'))).toBe(false);
  writeFileSync(path, bytes.subarray(0, bytes.length - 64));
  const short = await refusal(() => backupIndex(join(root, 'index'), join(root, 'b')));
  expect(short.code).toBe('CORRUPT_INDEX');
  expect(existsSync(join(root, 'b'))).toBe(false);
});

// Another file system, where this machine has one: there links are impossible.
const ELSEWHERE = '/dev/shm';
const elsewhere = existsSync(ELSEWHERE) && statSync(ELSEWHERE).dev !== statSync(tmpdir()).dev;

it.skipIf(!elsewhere)('files are copied to another file system', async () => {
  const root = temporaryDirectory();
  const index = await makeIndex(join(root, 'index'));
  const target = mkdtempSync(join(ELSEWHERE, 'maxsim-test-'));
  onTestFinished(() => rmSync(target, { recursive: true, force: true }));
  const result = await backupIndex(join(root, 'index'), target);
  expect(result).toMatchObject({ documents: 29, copiedFiles: result.files - 1 });
  expect(readdirSync(target)).toHaveLength(result.files);
  await using backup = await Index.open(target, { mode: 'read' });
  expect(backup.vectors('d1-5')).toEqual(index.vectors('d1-5'));
  await index.close();
});

it('an aborted backup leaves nothing', async () => {
  const root = temporaryDirectory();
  const index = await makeIndex(join(root, 'index'));
  await index.close();
  const stopped = await refusal(() =>
    backupIndex(join(root, 'index'), join(root, 'b'), { signal: AbortSignal.abort() }),
  );
  expect(stopped.code).toBe('ABORTED');
  expect(readdirSync(root)).toEqual(['index']);
});

// Every generation of the writer holds whole batches: "a-<n>" and "b-<n>" together, or neither.
const WRITER = `
  import { Index } from ${JSON.stringify(fileURLToPath(new URL('../../dist/maxsim.js', import.meta.url)))};
  const index = await Index.open(process.argv[1], { dim: 16, codec: 'f32' });
  const vectors = (n) => new Float32Array(32).fill(1 / (n + 2));
  process.send('ready');
  process.on('disconnect', () => process.exit());
  for (let n = 0; ; n++) {
    await index.add([{ id: 'a-' + n, vectors: vectors(n) }, { id: 'b-' + n, vectors: vectors(n) }]);
    if (n % 3 === 2) await index.delete(['a-' + (n - 2), 'b-' + (n - 2)]);
    if (n % 7 === 6) await index.compact();
  }
`;

it('backups are whole while another process commits, deletes and compacts', async () => {
  const root = temporaryDirectory();
  const writer = spawn(
    process.execPath,
    ['--input-type=module', '-e', WRITER, join(root, 'index')],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  try {
    await once(writer, 'message');
    const generations = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const target = join(root, `backup-${i}`);
      const { generation, documents } = await backupIndex(join(root, 'index'), target);
      generations.add(generation);
      await using backup = await Index.open(target, { mode: 'read' });
      expect(backup.documentCount).toBe(documents);
      const ids: string[] = [];
      for await (const { id } of backup.documents()) ids.push(id);
      const halves = (letter: string): string[] =>
        ids
          .filter((id) => id.startsWith(letter))
          .map((id) => id.slice(2))
          .sort();
      expect(halves('a')).toEqual(halves('b'));
      for (const id of ids) {
        const n = Number(id.slice(2));
        expect(backup.vectors(id)[0]).toBe(Math.fround(1 / (n + 2)));
      }
    }
    // The writer did go on meanwhile.
    expect(generations.size).toBeGreaterThan(5);
  } finally {
    writer.kill();
    await once(writer, 'exit');
  }
});
