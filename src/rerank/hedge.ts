/**
 * A second request beside one that takes longer than most, and the first answer of the two (Dean and
 * Barroso, "The Tail at Scale", 2013). A token bucket bounds the extra load: every request earns a
 * share of a token, every hedge spends one. A service that is slow as a whole is thus asked hardly more.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { checkInteger, checkOptions } from '../check.js';
import { invalid } from '../errors.js';

export type HedgeOptions = {
  /** Share of requests that may be sent twice. Default: 0.05. */
  share?: number;
  /** Which of the times so far a request must exceed. Default: the 95th percentile. */
  percentile?: number;
  /** Wait at least this long. Default: 10. */
  leastMs?: number;
};

/** Before that many answers nobody knows what is slow. */
const LEAST_ANSWERS = 20;
const MOST_TOKENS = 10;
/** The percentile is that of the last so many answers that were full, so that it follows the service. */
const ANSWERS = 1000;

export class Hedge {
  hedged = 0;
  private readonly options: Required<HedgeOptions>;
  private tokens = 0;
  private answers = 0;
  private current: RecordableHistogram = createHistogram();
  private previous: RecordableHistogram | null = null;

  constructor(options: HedgeOptions) {
    const {
      share = 0.05,
      percentile = 95,
      leastMs = 10,
    } = checkOptions<HedgeOptions>('hedge', options, ['share', 'percentile', 'leastMs']);
    if (!(share > 0 && share <= 1)) throw invalid('hedge.share', 'above 0 and at most 1', share);
    if (!(percentile >= 50 && percentile < 100))
      throw invalid('hedge.percentile', 'from 50 to below 100', percentile);
    checkInteger('hedge.leastMs', leastMs, 0, 60_000);
    this.options = { share, percentile, leastMs };
  }

  /** The first of the two to succeed; rejects when none is left that could. The other is aborted. */
  run<T>(send: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    this.tokens = Math.min(MOST_TOKENS, this.tokens + this.options.share);
    const afterMs = this.delayMs();
    return new Promise((resolve, reject) => {
      const controllers: AbortController[] = [];
      let timer: NodeJS.Timeout | undefined;
      let pending = 0;
      const finish = (): void => {
        clearTimeout(timer);
        for (const controller of controllers) controller.abort();
      };
      const start = (): void => {
        const controller = new AbortController();
        controllers.push(controller);
        pending += 1;
        const started = performance.now();
        send(AbortSignal.any([signal, controller.signal])).then(
          (result) => {
            this.record(performance.now() - started);
            finish();
            resolve(result);
          },
          (error: unknown) => {
            pending -= 1;
            if (pending > 0) return;
            finish();
            reject(error);
          },
        );
      };
      start();
      if (afterMs === null) return;
      timer = setTimeout(() => {
        if (this.tokens < 1) return;
        this.tokens -= 1;
        this.hedged += 1;
        start();
      }, afterMs);
    });
  }

  /** How long to wait before the second request; null while that is not known. */
  private delayMs(): number | null {
    if (this.answers < LEAST_ANSWERS) return null;
    const times = this.previous ?? this.current;
    return Math.max(this.options.leastMs, times.percentile(this.options.percentile) / 1e6);
  }

  private record(ms: number): void {
    this.answers += 1;
    this.current.record(Math.max(1, Math.round(ms * 1e6)));
    if (this.current.count >= ANSWERS) {
      this.previous = this.current;
      this.current = createHistogram();
    }
  }
}
