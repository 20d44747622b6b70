/**
 * Disks that refuse by themselves: a directory without write permission, a file system that is full.
 * Every refusal is an IO_ERROR or DISK_FULL that names a file, and changes nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MaxSimError } from '../../dist/errors.js';
import { Index } from '../../dist/index/store.js';
import { DIM, documentOf, unstoredAnswers, versionsOf, wrongAnswer } from './documents.js';
import { scratch } from './scratch.js';
import type { Tally } from './tally.js';

const NOBODY = 65534;

/** Root may write everywhere: it goes on as somebody who may not. */
export async function readOnly(tally: Tally): Promise<void> {
  // What is loaded on first use is loaded while it can be read for sure.
  const own = scratch('disk');
  await (await Index.open(join(own, 'index'), { dim: DIM })).close();
  rmSync(own, { recursive: true });
  if (process.getuid?.() === 0) {
    process.setgroups?.([NOBODY]);
    process.setgid?.(NOBODY);
    process.setuid?.(NOBODY);
  }
  const parent = scratch('disk');
  const directory = join(parent, 'index');
  const index = await Index.open(directory, { dim: DIM });
  await index.add([documentOf('a', 1), documentOf('b', 1)]);
  chmodSync(directory, 0o555);
  await refused(tally, directory, 'add', () => index.add([documentOf('c', 1)]));
  await refused(tally, directory, 'delete', () => index.delete(['a']));
  await expectIds(tally, index, ['a', 'b'], 'a writer in a read-only directory');
  const reader = await Index.open(directory, { mode: 'read' });
  await expectIds(tally, reader, ['a', 'b'], 'a reader of a read-only directory');
  await reader.close();
  chmodSync(directory, 0o755);
  await index.add([documentOf('c', 1)]);
  await index.close();

  for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o444);
  chmodSync(directory, 0o555);
  await refused(tally, directory, 'open', () => Index.open(directory));
  chmodSync(parent, 0o555);
  await refused(tally, parent, 'create', () => Index.open(join(parent, 'other'), { dim: DIM }));
  chmodSync(parent, 0o755);
  chmodSync(directory, 0o755);
  for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o644);
  const again = await Index.open(directory);
  await expectIds(tally, again, ['a', 'b', 'c'], 'after all refusals');
  await again.close();
}

/**
 * A file system of 256 KiB, where this process may mount one; else a limit on the size of files. The
 * work is done in a process under that limit.
 */
export function fullDisk(tally: Tally): void {
  const directory = scratch('disk');
  const part = fileURLToPath(new URL('part.js', import.meta.url));
  const mount = `mount -t tmpfs -o size=256k none '${directory}'`;
  const mountable = spawnSync('unshare', ['-m', 'sh', '-c', mount]).status === 0;
  const run = `exec '${process.execPath}' '${part}' underLimit '${directory}'`;
  const output = mountable
    ? execFileSync('unshare', ['-m', 'sh', '-c', `${mount} && ${run}`])
    : execFileSync('sh', ['-c', `ulimit -f 64; ${run}`]);
  tally.take(JSON.parse(output.toString().trim().split('\n').at(-1) as string));
  if (!mountable)
    console.error('note: no file system could be mounted; files were limited instead');
}

/** Adds until the disk is full, makes room, goes on. */
export async function underLimit(tally: Tally, parent: string): Promise<void> {
  const directory = join(parent, 'index');
  const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
  const ids: string[] = [];
  let next = 0;
  for (let round = 0; round < 5; round++) {
    // What is left over beside it differs from round to round, and so does the write that fails.
    const ballast = Array.from({ length: 4 + round }, (_, i) => join(parent, `ballast-${i}`));
    for (const file of ballast) writeFileSync(file, Buffer.alloc(5_000));
    for (let full = false; !full; next++) {
      if (next > 1000) throw new Error('the disk does not fill up');
      // Larger and larger, so that the limit of a file is met as well as that of a file system.
      const batch = Array.from({ length: 1 + (next % 7) * 4 }, (_, i) => `${next}-${i}`);
      if (next % 5 === 4) batch.push(`long${next}`);
      try {
        await index.add(batch.map((id) => documentOf(id, 1)));
        ids.push(...batch);
      } catch (error) {
        full = true;
        judge(tally, parent, 'add to a full disk', error);
      }
      if (ids.length > 200) await index.delete(ids.splice(0, 100)).catch(() => {});
    }
    await expectIds(tally, index, ids, 'on a full disk');
    for (const file of ballast) rmSync(file);
    const gone = ids.splice(0, Math.ceil(ids.length / 2));
    try {
      await index.delete(gone);
      await index.compact();
    } catch (error) {
      tally.harm('lostWrites', `with room again: ${(error as Error).message}`);
    }
    await expectIds(tally, index, ids, 'with room again');
  }
  await index.close();
  const again = await Index.open(directory);
  await expectIds(tally, again, ids, 'opened again after a full disk');
  await again.close();
}

async function refused(
  tally: Tally,
  path: string,
  what: string,
  run: () => Promise<unknown>,
): Promise<void> {
  try {
    await run();
    tally.harm('lostWrites', `${what} resolves where nothing can be written`);
  } catch (error) {
    judge(tally, path, what, error);
  }
}

function judge(tally: Tally, path: string, what: string, error: unknown): void {
  tally.count('ioErrors');
  const known = error instanceof MaxSimError && ['IO_ERROR', 'DISK_FULL'].includes(error.code);
  if (!known || !error.message.includes(path)) {
    tally.harm('wrongScores', `${what}: ${(error as Error).stack}`);
  }
}

async function expectIds(
  tally: Tally,
  index: Index,
  ids: readonly string[],
  what: string,
): Promise<void> {
  const documents = await versionsOf(index);
  if (documents.size !== ids.length || !ids.every((id) => documents.has(id))) {
    tally.harm('lostWrites', `${what}: ${documents.size} of ${ids.length} documents`);
    return;
  }
  // int8 chooses its range at the first commit and keeps it: the same vectors score the same.
  const wrong = await wrongAnswer(index, documents, await unstoredAnswers(index, documents));
  if (wrong !== null) tally.harm('wrongScores', `${what}: ${wrong}`);
}
