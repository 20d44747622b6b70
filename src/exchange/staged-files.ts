/** Files that appear whole or not at all: written aside, flushed, then given their names. */
import { type FileHandle, link, open, rename, rm, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MaxSimError } from '../errors.js';
import { loadAddon, nativeAsync } from '../runtime/addon.js';

const BUFFER_BYTES = 1 << 20;

export class StagedFiles {
  private readonly files: StagedFile[] = [];

  constructor(private readonly overwrite: boolean) {}

  /** Throws INVALID_ARGUMENT where there is one of that name and it must not be overwritten. */
  async create(path: string): Promise<StagedFile> {
    if (!this.overwrite && (await there(path))) throw exists(path);
    const aside = `${path}.tmp-${process.pid}`;
    const handle = await attempt(aside, 'create', () => open(aside, 'w'));
    const file = new StagedFile(path, aside, handle);
    this.files.push(file);
    return file;
  }

  /** Flushes all, then renames them in the order they were created. Durable when it resolves. */
  async publish(): Promise<void> {
    for (const file of this.files) await file.finish();
    for (const { path, aside } of this.files) {
      await attempt(path, 'rename', () => this.rename(aside, path));
    }
    for (const folder of new Set(this.files.map(({ path }) => dirname(path)))) {
      await nativeAsync(() => loadAddon().flushDirectory(folder));
    }
  }

  /** Removes what was written aside. */
  async discard(): Promise<void> {
    for (const file of this.files) {
      await file.abandon();
      await rm(file.aside, { force: true });
    }
  }

  private async rename(aside: string, path: string): Promise<void> {
    if (!this.overwrite) {
      try {
        // Unlike rename, fails where somebody else made the file meanwhile.
        await link(aside, path);
        await unlink(aside);
        return;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EEXIST') throw exists(path);
        if (await there(path)) throw error;
      }
    }
    await rename(aside, path);
  }
}

export class StagedFile {
  private pending: Uint8Array[] = [];
  private pendingBytes = 0;
  private at = 0;
  private closed = false;

  constructor(
    readonly path: string,
    readonly aside: string,
    private readonly handle: FileHandle,
  ) {}

  /** Appends. */
  async write(bytes: Uint8Array): Promise<void> {
    this.pending.push(bytes);
    this.pendingBytes += bytes.byteLength;
    if (this.pendingBytes >= BUFFER_BYTES) await this.drain();
  }

  async finish(): Promise<void> {
    await this.drain();
    await attempt(this.aside, 'flush', () => this.handle.sync());
    this.closed = true;
    await attempt(this.aside, 'close', () => this.handle.close());
  }

  async abandon(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.handle.close().catch(() => {});
  }

  private async drain(): Promise<void> {
    if (this.pendingBytes === 0) return;
    const bytes = Buffer.concat(this.pending);
    this.pending = [];
    this.pendingBytes = 0;
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await attempt(this.aside, 'write', () =>
        this.handle.write(bytes, done, bytes.length - done, this.at),
      );
      done += bytesWritten;
      this.at += bytesWritten;
    }
  }
}

async function attempt<T>(path: string, operation: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof MaxSimError) throw cause;
    throw new MaxSimError(
      'IO_ERROR',
      `${path}: cannot ${operation}: ${(cause as Error).message}.`,
      {
        cause,
        details: { file: path },
      },
    );
  }
}

async function there(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

function exists(path: string): MaxSimError {
  return new MaxSimError(
    'INVALID_ARGUMENT',
    `${path} is there already; it is replaced only with overwrite.`,
    { details: { file: path } },
  );
}
