/** A file that others wrote, read at positions; whatever is missing or too short is an INVALID_SOURCE. */
import { type FileHandle, open } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';

export class SourceFile {
  private constructor(
    readonly path: string,
    readonly size: number,
    private handle: FileHandle | null,
  ) {}

  static async open(path: string): Promise<SourceFile> {
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'r');
      const stats = await handle.stat();
      if (!stats.isFile()) throw refused(path, 'is no file');
      return new SourceFile(path, stats.size, handle);
    } catch (cause) {
      await handle?.close();
      throw cause instanceof MaxSimError ? cause : unreadable(path, cause);
    }
  }

  /** Exactly `length` bytes from `offset` on. */
  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.size) {
      throw refused(
        this.path,
        `is cut short: ${length} bytes at ${offset} are needed, but it has ${this.size}`,
      );
    }
    const bytes = Buffer.allocUnsafe(length);
    const handle = await this.reopened();
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle
        .read(bytes, done, Math.min(length - done, 1 << 30), offset + done)
        .catch((cause: unknown) => {
          throw unreadable(this.path, cause);
        });
      if (bytesRead === 0) throw refused(this.path, 'became shorter while it was read');
      done += bytesRead;
    }
    return bytes;
  }

  /** Lets go of the file; a later read opens it again, so that many chunks need not stay open. */
  async close(): Promise<void> {
    const { handle } = this;
    this.handle = null;
    await handle?.close();
  }

  private async reopened(): Promise<FileHandle> {
    this.handle ??= await open(this.path, 'r').catch((cause: unknown) => {
      throw unreadable(this.path, cause);
    });
    return this.handle;
  }
}

/** "x.npy has …": what is wrong with a file, named. */
export function refused(file: string, problem: string): MaxSimError {
  return new MaxSimError('INVALID_SOURCE', `${file} ${problem}.`, { details: { file } });
}

export function unreadable(file: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('INVALID_SOURCE', `${file} cannot be read: ${reason}`, {
    cause,
    details: { file },
  });
}

/** A small file whole: at most `limit` bytes, so that a wrong path cannot fill the memory. */
export async function readSmall(path: string, limit = 1 << 30): Promise<Buffer> {
  const file = await SourceFile.open(path);
  try {
    if (file.size > limit) throw refused(path, `has ${file.size} bytes, more than ${limit}`);
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

export async function readJson(path: string): Promise<unknown> {
  const text = (await readSmall(path)).toString('utf8');
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw refused(path, `is not JSON (${(cause as Error).message})`);
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
