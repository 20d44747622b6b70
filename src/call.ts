/** One rerank or search under way: its request, its clock and deadline, and what had to be left out. */
import { MaxSimError } from './errors.js';
import type { Index, TenantView } from './index/store.js';
import type { RankRequest } from './request.js';
import { aborted } from './runtime/pool.js';
import type { Degradation, Filter, Stage, Timings } from './types.js';

const TOO_LATE = Symbol('too late');
const TOO_LATE_CODES: readonly string[] = ['ABORTED', 'DEADLINE_EXCEEDED'];

export class Call {
  readonly text: string | null;
  vectors: Float32Array | null;
  readonly topK: number;
  readonly slice: number;
  readonly explain: boolean;
  readonly filter: Filter | undefined;
  /** The documents that the call is about. */
  readonly view: Index | TenantView;
  readonly signal: AbortSignal | undefined;
  readonly timings: Timings = { encodeMs: 0, scoreMs: 0, crossEncoderMs: 0, totalMs: 0 };
  private readonly started = performance.now();
  private readonly deadlineMs: number | undefined;
  private readonly deadline: AbortSignal | undefined;
  private degraded: Degradation | null = null;

  /** Throws ABORTED when the caller's signal has fired already. */
  constructor(request: RankRequest, view: Index | TenantView) {
    if (request.signal?.aborted) throw aborted(request.signal);
    this.text = request.text;
    this.vectors = request.vectors;
    this.topK = request.topK;
    this.slice = request.slice;
    this.explain = request.explain;
    this.filter = request.filter;
    this.view = view;
    this.deadlineMs = request.deadlineMs;
    this.deadline =
      this.deadlineMs === undefined ? undefined : AbortSignal.timeout(Math.floor(this.deadlineMs));
    const signals = [request.signal, this.deadline].filter((signal) => signal !== undefined);
    this.signal = signals.length > 1 ? AbortSignal.any(signals) : signals[0];
  }

  /**
   * Runs a stage; undefined, and noted, once the deadline has passed, whether or not the stage heeds
   * its signal. Other errors are thrown.
   */
  async stage<T>(stage: Stage, run: () => Promise<T>): Promise<T | undefined> {
    const { deadline } = this;
    if (deadline === undefined) return await run();
    let onDeadline = (): void => {};
    const tooLate = new Promise<typeof TOO_LATE>((resolve) => {
      onDeadline = () => resolve(TOO_LATE);
      if (deadline.aborted) onDeadline();
      deadline.addEventListener('abort', onDeadline, { once: true });
    });
    // The pool's rejection may come before our own listener; both mean the same.
    const work = deadline.aborted
      ? tooLate
      : run().catch((error: unknown): typeof TOO_LATE => {
          const late = error instanceof MaxSimError && TOO_LATE_CODES.includes(error.code);
          if (late && (deadline.aborted || error.code === 'DEADLINE_EXCEEDED')) return TOO_LATE;
          throw error;
        });
    work.catch(() => {}); // once it is too late, nobody waits for what it still has to say
    const outcome = await Promise.race([work, tooLate]);
    deadline.removeEventListener('abort', onDeadline);
    if (outcome !== TOO_LATE) return outcome as T;
    this.degraded ??= {
      stage,
      cause: 'deadline',
      message: `The ${stage} stage did not finish within the deadline of ${this.deadlineMs} ms.`,
    };
    return undefined;
  }

  /** Milliseconds that are left until the deadline; undefined without one. */
  get leftMs(): number | undefined {
    if (this.deadlineMs === undefined) return undefined;
    return Math.max(0, this.deadlineMs - (performance.now() - this.started));
  }

  end(): { degraded: Degradation | null; timings: Timings } {
    this.timings.totalMs = performance.now() - this.started;
    return { degraded: this.degraded, timings: this.timings };
  }
}
