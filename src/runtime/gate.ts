/**
 * Keeps threads out of native code that must not be cut short: onnxruntime-node aborts the whole process
 * when its thread is stopped in the middle of a run. Threads enter before a run and leave after it;
 * whoever ends them shuts the gate and waits until it is empty.
 */
import type { StopFlag } from './native-encoder.js';

const SHUT = 0;
const INSIDE = 1;
const STOPPED = 2;
const CELLS = 3;

export class Gate {
  private readonly cells: Int32Array;

  /** `memory` is that of a gate on another thread; without it, a new gate. */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(4 * CELLS)) {
    this.cells = new Int32Array(memory);
  }

  /** False, and not inside, once the gate is shut. */
  enter(): boolean {
    Atomics.add(this.cells, INSIDE, 1);
    if (Atomics.load(this.cells, SHUT) === 0) return true;
    this.leave();
    return false;
  }

  leave(): void {
    Atomics.sub(this.cells, INSIDE, 1);
    Atomics.notify(this.cells, INSIDE);
  }

  shut(): void {
    Atomics.store(this.cells, SHUT, 1);
  }

  /** Tells native work on behalf of this job to end at its next layer; of two jobs, the last one's. */
  stop(job: number): void {
    Atomics.store(this.cells, STOPPED, stopValue(job));
  }

  /** For the work of a job on this thread. */
  stopFlag(job: number): StopFlag {
    return { cell: new Int32Array(this.memory, 4 * STOPPED, 1), value: stopValue(job) };
  }

  /** Blocks its thread: for the end of the process, when nothing else can wait. */
  waitUntilEmpty(timeoutMs: number): void {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const inside = Atomics.load(this.cells, INSIDE);
      const left = until - performance.now();
      if (inside === 0 || left <= 0) return;
      Atomics.wait(this.cells, INSIDE, inside, left);
    }
  }
}

/** Never 0, which stops nothing. */
function stopValue(job: number): number {
  return (job % (2 ** 31 - 1)) + 1;
}
