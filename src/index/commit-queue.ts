/**
 * One commit at a time, in the order of the calls. Commits that wait while one is written go together
 * into the next: a commit costs a few flushes of the disk whatever its size, so they share them.
 */
import { setImmediate } from 'node:timers/promises';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';

// The first call of a group waits until the last one's documents are written.
const GROUP_DOCUMENTS = 8192;
const GROUP_BYTES = 64 * 2 ** 20;

/** What the documents of one call may be to blame for: their neighbours must not fail with them. */
const ONE_CALL: readonly MaxSimErrorCode[] = [
  'INVALID_ARGUMENT',
  'INVALID_VECTORS',
  'VECTOR_OUT_OF_RANGE',
  'DISK_FULL',
];

/** How much a change adds to its group. */
export type Sized = { documents: number; bytes: number };

type Caller<Result> = {
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
};
type Ready<Change, Result> = Caller<Result> & { change: Change };
type Waiting<Change, Result> =
  | { task: () => Promise<void> }
  | (Caller<Result> & {
      /** Resolves when one of the two is there. */
      preparing: Promise<void>;
      change?: Change;
      failure?: { error: unknown };
    });

export class CommitQueue<Change extends { size: Sized }, Result> {
  private waiting: Waiting<Change, Result>[] = [];
  private working: Promise<void> | undefined;

  /**
   * `write` commits a group: all of it, or on failure nothing; one result per change. While `alone`,
   * it gets one change at a time.
   */
  constructor(
    private readonly write: (group: readonly Change[]) => Promise<readonly Result[]>,
    private readonly alone: () => boolean,
  ) {}

  /** Takes its place in the order now, whenever `preparing` is done. */
  async commit(preparing: Promise<Change>): Promise<Result> {
    return await new Promise<Result>((resolve, reject) => {
      const entry: Exclude<Waiting<Change, Result>, { task: unknown }> = {
        preparing: preparing.then(
          (change) => {
            entry.change = change;
          },
          (error) => {
            entry.failure = { error };
          },
        ),
        resolve,
        reject,
      };
      this.push(entry);
    });
  }

  /** Runs `task` when all that was asked for before is done, and nothing else meanwhile. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      this.push({
        task: async () => {
          try {
            resolve(await task());
          } catch (error) {
            reject(error);
          }
        },
      });
    });
  }

  /** Resolves when nothing waits any more. */
  async drain(): Promise<void> {
    while (this.working !== undefined) await this.working;
  }

  private push(entry: Waiting<Change, Result>): void {
    this.waiting.push(entry);
    this.working ??= this.work();
  }

  private async work(): Promise<void> {
    for (;;) {
      const [first] = this.waiting;
      if (first === undefined) break;
      if ('task' in first) {
        this.waiting.shift();
        await first.task();
        continue;
      }
      await first.preparing;
      // Calls of the same turn of the event loop are ready when it ends.
      if (this.waiting.length > 1) await setImmediate();
      await this.settle(this.take());
    }
    this.working = undefined;
  }

  /** The next commits that are ready and fit into one group. */
  private take(): Ready<Change, Result>[] {
    const group: Ready<Change, Result>[] = [];
    let count = 0;
    let documents = 0;
    let bytes = 0;
    const alone = this.alone();
    for (const entry of this.waiting) {
      if ('task' in entry || (alone && group.length > 0)) break;
      const { change, failure, resolve, reject } = entry;
      if (failure !== undefined) {
        reject(failure.error);
      } else if (change !== undefined) {
        documents += change.size.documents;
        bytes += change.size.bytes;
        const full = documents > GROUP_DOCUMENTS || bytes > GROUP_BYTES;
        if (full && group.length > 0) break;
        group.push({ change, resolve, reject });
      } else {
        break;
      }
      count += 1;
    }
    this.waiting.splice(0, count);
    return group;
  }

  private async settle(group: readonly Ready<Change, Result>[]): Promise<void> {
    if (group.length === 0) return;
    try {
      const results = await this.write(group.map(({ change }) => change));
      for (const [i, { resolve }] of group.entries()) resolve(results[i] as Result);
    } catch (error) {
      const divisible = error instanceof MaxSimError && ONE_CALL.includes(error.code);
      if (group.length > 1 && divisible) {
        // By halves: one bad call among many costs a few attempts, not one commit for each.
        const half = group.length >> 1;
        await this.settle(group.slice(0, half));
        await this.settle(group.slice(half));
        return;
      }
      for (const { reject } of group) reject(error);
    }
  }
}
