/** Keeps a long loop on the event loop from holding it: gives way every few milliseconds. */
import { setImmediate } from 'node:timers/promises';

const SLICE_MS = 4;

export class Pace {
  private started = performance.now();

  /** Resolves at once, or after others had their turn when this one has taken its share. */
  async rest(): Promise<void> {
    if (performance.now() - this.started <= SLICE_MS) return;
    await setImmediate();
    this.started = performance.now();
  }
}
