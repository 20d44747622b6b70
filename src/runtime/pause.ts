/** Time to wait that a signal ends. */
import { setTimeout } from 'node:timers/promises';
import { aborted } from './pool.js';

/** Rejects with ABORTED when the signal fires. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await setTimeout(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    throw aborted(signal);
  }
}
