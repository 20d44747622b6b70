/** Runs something that may not heed its time limit, and does not wait for it beyond that. */
import { MaxSimError } from '../errors.js';
import { aborted } from '../runtime/pool.js';

/** Longer than a timer can wait: no limit. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * What has run out of time may hand over what it has: it is told (the reason is DEADLINE_EXCEEDED), and
 * its answer counts if it comes within the same turn of the event loop.
 *
 * `run` gets a signal that fires when the time (`until`, of performance.now()) is up or the caller's
 * signal fires. Rejects with DEADLINE_EXCEEDED, ABORTED, or what `run` raises.
 */
export async function within<T>(
  until: number,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // All the time in the world, and nobody who might stop it.
  if (until === Number.POSITIVE_INFINITY && signal === undefined)
    return await run(new AbortController().signal);
  const leftMs = until - performance.now();
  if (leftMs <= 0) throw late();
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let onAbort = (): void => {};
  let why: MaxSimError | null = null;
  const stopped = new Promise<never>((_, reject) => {
    const stop = (error: MaxSimError): void => {
      why ??= error;
      controller.abort(error);
      setImmediate(() => reject(error));
    };
    onAbort = () => stop(signal?.reason instanceof MaxSimError ? signal.reason : aborted(signal));
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    if (leftMs <= LONGEST_TIMER_MS) timer = setTimeout(() => stop(late()), leftMs);
  });
  stopped.catch(() => {}); // it may fire when the race is over
  const work = run(controller.signal);
  work.catch(() => {}); // once it is stopped, nobody waits for what it still has to say
  try {
    return await Promise.race([work, stopped]);
  } catch (error) {
    throw why ?? error; // what it says when it is stopped is only that
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function late(): MaxSimError {
  return new MaxSimError('DEADLINE_EXCEEDED', 'There was no result when the time was up.');
}
