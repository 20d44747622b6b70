/** Keeps a long loop on the event loop from holding it: gives way every few milliseconds. */
import { setImmediate } from 'node:timers/promises';

const SLICE_MS = 4;

export class Pace {
  private started = performance.now();

  /** Whether `rest` would give way: for loops whose steps are shorter than an await. */
  get due(): boolean {
    return performance.now() - this.started > SLICE_MS;
  }

  /** Resolves at once, or after others had their turn when this one has taken its share. */
  async rest(): Promise<void> {
    if (!this.due) return;
    await setImmediate();
    this.started = performance.now();
  }
}
