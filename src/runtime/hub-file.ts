/** One file of the hub: its bytes, from where an earlier attempt was cut, and their checksum. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';
import { sha256 } from './catalog.js';
import { ATTEMPTS, FIRST_PAUSE_MS, type HubFile, hubUrl, refusal, retrying } from './hub-api.js';
import { pause } from './pause.js';
import { aborted } from './pool.js';

/** Where a file comes from. */
export type FileOfHub = { id: string; commit: string; signal: AbortSignal | undefined };

type Load = {
  id: string;
  commit: string;
  file: HubFile;
  partial: string;
  from: number;
  signal: AbortSignal | undefined;
  onBytes(bytes: number): void;
};

/**
 * One file, from where an earlier attempt was cut; what is there whole already is not asked for. Returns
 * the bytes that were loaded.
 */
export async function fetchFile(
  { id, commit, signal }: FileOfHub,
  file: HubFile,
  target: string,
  onBytes: (bytes: number) => void,
): Promise<number> {
  // Named by content: bytes of another version of the file are none of this one.
  const partial = `${target}.${(file.lfs ?? file.oid ?? commit).slice(0, 16)}.part`;
  if (existsSync(target) && (await isWhole(target, file))) return 0;
  let loaded = 0;
  for (let attempt = 1; ; attempt++) {
    const have = await stat(partial).then(
      ({ size }) => size,
      () => 0,
    );
    if (have < file.size || file.size === 0)
      loaded += await load({ id, commit, file, partial, from: have, signal, onBytes });
    const { size } = await stat(partial);
    if (size === file.size && (await isWhole(partial, file))) break;
    if (size >= file.size) await rm(partial, { force: true });
    if (attempt >= ATTEMPTS) {
      throw new MaxSimError(
        'DOWNLOAD_FAILED',
        size < file.size
          ? `${file.path} of ${id} was cut after ${size} of ${file.size} bytes, again and again; the next pull goes on from there.`
          : `${file.path} of ${id} has another checksum than the hub gives for it.`,
        { details: { id, file: file.path } },
      );
    }
    await pause(FIRST_PAUSE_MS * attempt, signal);
  }
  await rename(partial, target);
  return loaded;
}

/** Appends what comes; a connection that is cut ends it early and is no failure yet. */
async function load({ id, commit, file, partial, from, signal, onBytes }: Load): Promise<number> {
  const path = file.path.split('/').map(encodeURIComponent).join('/');
  const token = process.env['HF_TOKEN'];
  const response = await retrying(id, signal, () =>
    fetch(`${hubUrl()}/${id}/resolve/${encodeURIComponent(commit)}/${path}`, {
      headers: {
        // fetch drops it where a redirect leads to another host.
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(from > 0 ? { range: `bytes=${from}-` } : {}),
      },
      ...(signal && { signal }),
    }),
  );
  if (!response.ok && response.status !== 416) throw refusal(id, commit, response.status);
  // A server that does not know ranges sends all of it.
  const at = response.status === 206 ? from : 0;
  const handle = await open(partial, at === 0 ? 'w' : 'a');
  let done = at;
  try {
    for await (const piece of response.status === 416 ? [] : (response.body ?? [])) {
      const bytes = piece as Uint8Array;
      if (done + bytes.length > file.size) break; // the checksum says the rest
      await handle.writeFile(bytes);
      done += bytes.length;
      onBytes(done);
    }
  } catch (cause) {
    if (signal?.aborted) throw aborted(signal);
    // A write that failed; all else is the connection, which is asked again.
    if ((cause as NodeJS.ErrnoException).syscall === 'write') throw ofTheDisk(partial, cause);
  } finally {
    await handle.close();
  }
  return done - at;
}

export async function isWhole(path: string, { size, lfs, oid }: HubFile): Promise<boolean> {
  const { size: actual } = await stat(path);
  if (actual !== size) return false;
  if (lfs !== null) return (await sha256(path)) === lfs;
  if (oid === null) return true;
  // Git's hash of a blob is of its length and bytes.
  const hash: Hash = createHash('sha1').update(`blob ${size}\0`);
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex') === oid;
}

/** What the operating system says of a full disk, or of one that cannot be written, with our codes. */
export function ofTheDisk(directory: string, cause: unknown): unknown {
  const { code, syscall, message } = cause as NodeJS.ErrnoException;
  if (cause instanceof MaxSimError || syscall === undefined) return cause;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new MaxSimError('DISK_FULL', `${directory}: the disk is full.`, { cause })
    : new MaxSimError('IO_ERROR', `${directory} cannot be written: ${message}.`, { cause });
}
