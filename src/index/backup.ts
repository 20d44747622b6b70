/**
 * A copy of one generation of an index, made while a writer goes on: its files never change once they
 * are written, so a second name for each is enough, and the manifest, written last, makes them an index.
 */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { checkOptions, checkString } from '../check.js';
import { MaxSimError } from '../errors.js';
import { loadAddon, nativeAsync } from '../runtime/addon.js';
import { filesOf } from './generation.js';
import { MANIFEST_FILE, type Manifest, readManifest, writeManifest } from './manifest.js';
import { openIndex } from './open.js';

export type BackupOptions = { signal?: AbortSignal };

export type BackupResult = {
  generation: number;
  documents: number;
  files: number;
  sizeBytes: number;
  /** Files that take room of their own: the file system gave no second name (another disk, say). */
  copiedFiles: number;
};

/**
 * Backs up the newest generation into an absent or empty directory. Hard links take no room and no
 * time; across file systems the files are copied. Durable, and opened once, when it resolves; what was
 * begun is removed when it rejects. An index and its linked backup share their bytes: the backup
 * outlives deletion and compaction, a damaged disk sector hits both.
 *
 * Throws NOT_AN_INDEX, INVALID_ARGUMENT where the target holds something, CORRUPT_INDEX, ABORTED,
 * IO_ERROR.
 *
 * @example
 * await backupIndex('./index', './backup-monday')
 */
export async function backupIndex(
  directory: string,
  target: string,
  options?: BackupOptions,
): Promise<BackupResult> {
  const from = resolve(checkString('directory', directory));
  const to = resolve(checkString('target', target));
  const { signal } = checkOptions<BackupOptions>('options', options, ['signal']);
  const firstManifest = await manifestOf(from);
  const created = await prepareTarget(to);
  const written = new Set<string>();
  try {
    const counts = await linkNewest(from, to, firstManifest, written, signal);
    // A backup that does not open is none.
    const { current } = await openIndex(to, { mode: 'read' });
    const documents = current.snapshot.documentCount;
    current.snapshot.close();
    return { ...counts, documents };
  } catch (error) {
    for (const name of written) await rm(join(to, name), { force: true });
    if (created) await rmdir(to).catch(() => {}); // somebody else's files may be in it by now
    throw error;
  }
}

async function linkNewest(
  from: string,
  to: string,
  first: Manifest,
  written: Set<string>,
  signal: AbortSignal | undefined,
): Promise<Omit<BackupResult, 'documents'>> {
  for (let manifest = first; ; ) {
    const needed = filesOf(manifest);
    let copiedFiles = 0;
    let vanished: string | undefined;
    for (const name of needed) {
      checkSignal(signal);
      if (written.has(name)) continue; // of an attempt before: no name is used twice
      const done = await duplicate(join(from, name), join(to, name));
      if (done === 'gone') {
        vanished = name;
        break;
      }
      written.add(name);
      if (done === 'copied') copiedFiles += 1;
    }
    if (vanished === undefined) {
      for (const name of [...written].filter((other) => !needed.has(other))) {
        await rm(join(to, name), { force: true });
        written.delete(name);
      }
      await flush(to);
      checkSignal(signal);
      written.add(MANIFEST_FILE);
      await writeManifest(to, manifest);
      await flush(dirname(to));
      const { generation } = manifest;
      return { generation, files: needed.size + 1, sizeBytes: await sizeOf(to), copiedFiles };
    }
    // A writer has gone on meanwhile, and removed what its newest generation does not need.
    const newer = await manifestOf(from);
    if (newer.generation === manifest.generation) {
      const path = join(from, vanished);
      throw new MaxSimError(
        'CORRUPT_INDEX',
        `${path} is missing, though generation ${manifest.generation} needs it.`,
        { details: { file: path } },
      );
    }
    manifest = newer;
  }
}

async function manifestOf(directory: string): Promise<Manifest> {
  const manifest = await readManifest(directory);
  if (manifest !== null) return manifest;
  throw new MaxSimError(
    'NOT_AN_INDEX',
    `${directory} is not a maxsim index: it has no ${MANIFEST_FILE}.`,
    { details: { directory } },
  );
}

/** True when the directory was made. */
async function prepareTarget(to: string): Promise<boolean> {
  try {
    const made = await mkdir(to, { recursive: true });
    const names = await readdir(to);
    if (names.length === 0) return made !== undefined;
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `target must be an absent or empty directory, but ${to} holds ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}.`,
      { details: { directory: to } },
    );
  } catch (cause) {
    throw cause instanceof MaxSimError ? cause : refused(to, 'create', cause);
  }
}

/** A second name for a file, or a durable copy where the file system has none to give. */
async function duplicate(from: string, to: string): Promise<'linked' | 'copied' | 'gone'> {
  try {
    await link(from, to);
    return 'linked';
  } catch (error) {
    if (isGone(error)) return 'gone';
  }
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const file = await open(to, 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    return 'copied';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(to, { force: true });
    if (isGone(error)) return 'gone';
    throw refused(to, 'copy', error);
  }
}

function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

async function flush(directory: string): Promise<void> {
  await nativeAsync(() => loadAddon().flushDirectory(directory));
}

async function sizeOf(directory: string): Promise<number> {
  let size = 0;
  for (const name of await readdir(directory)) size += (await stat(join(directory, name))).size;
  return size;
}

function checkSignal(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  throw new MaxSimError('ABORTED', 'The backup was aborted; nothing of it is left.', {
    cause: signal.reason,
  });
}

function refused(path: string, operation: string, cause: unknown): MaxSimError {
  return new MaxSimError('IO_ERROR', `${path}: cannot ${operation}: ${(cause as Error).message}.`, {
    cause,
    details: { file: path },
  });
}
