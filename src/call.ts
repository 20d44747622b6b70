/** One rerank or search under way: its request, its clock and deadline, and what had to be left out. */
import { MaxSimError } from './errors.js';
import type { Degradation, Stage, Timings } from './types.js';

export type RankRequest = {
  text: string | null;
  vectors: Float32Array | null;
  topK: number;
  /** How many of the best the cross-encoder reads; 0: none. */
  slice: number;
  explain: boolean;
  signal: AbortSignal | undefined;
};

export class Call {
  readonly text: string | null;
  vectors: Float32Array | null;
  readonly topK: number;
  readonly slice: number;
  readonly explain: boolean;
  readonly signal: AbortSignal | undefined;
  readonly timings: Timings = { encodeMs: 0, scoreMs: 0, crossEncoderMs: 0, totalMs: 0 };
  private degraded: Degradation | null = null;
  private readonly deadline: AbortSignal | undefined;

  constructor(
    request: RankRequest,
    private readonly started: number,
    private readonly deadlineMs: number | undefined,
  ) {
    this.text = request.text;
    this.vectors = request.vectors;
    this.topK = request.topK;
    this.slice = request.slice;
    this.explain = request.explain;
    const left =
      deadlineMs === undefined
        ? undefined
        : Math.max(0, deadlineMs - (performance.now() - started));
    this.deadline = left === undefined ? undefined : AbortSignal.timeout(Math.floor(left));
    const signals = [request.signal, this.deadline].filter((signal) => signal !== undefined);
    this.signal = signals.length > 1 ? AbortSignal.any(signals) : signals[0];
  }

  /** Runs a stage; undefined, and noted, when the deadline came first. Other errors are thrown. */
  async stage<T>(stage: Stage, run: () => Promise<T>): Promise<T | undefined> {
    try {
      return await run();
    } catch (error) {
      const late =
        error instanceof MaxSimError && error.code === 'ABORTED' && this.deadline?.aborted === true;
      if (!late) throw error;
      this.degraded ??= {
        stage,
        cause: 'deadline',
        message: `The ${stage} stage did not finish within the deadline of ${this.deadlineMs} ms.`,
      };
      return undefined;
    }
  }

  end(): { degraded: Degradation | null; timings: Timings } {
    this.timings.totalMs = performance.now() - this.started;
    return { degraded: this.degraded, timings: this.timings };
  }
}
