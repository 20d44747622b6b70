/** One pull of a model at a time, over all processes: the others wait, and find it done. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { aborted } from './pool.js';

const LOOK_EVERY_MS = 200;
const OLD_MS = 10_000;

export class PullLock implements AsyncDisposable {
  private constructor(private readonly file: string) {}

  /** Waits for whoever has it; a process that has died has it no more. Throws ABORTED. */
  static async take(file: string, signal: AbortSignal | undefined): Promise<PullLock> {
    for (;;) {
      if (signal?.aborted) throw aborted(signal);
      try {
        await writeFile(file, String(process.pid), { flag: 'wx' });
        return new PullLock(file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = Number(await readFile(file, 'utf8').catch(() => ''));
      const left = holder > 0 ? !isAlive(holder) : await isOld(file);
      if (left) await rm(file, { force: true });
      else await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.file, { force: true });
  }
}

/** Of a file without a holder: it died before it wrote its id. */
async function isOld(file: string): Promise<boolean> {
  const made = await stat(file).catch(() => null);
  return made !== null && Date.now() - made.mtimeMs > OLD_MS;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
