/**
 * A reranker that may be slow, full or down, made safe to call: a bulkhead bounds how many calls it has
 * at once, a time limit how long each may take, and a breaker stops asking when it keeps failing, until
 * one trial succeeds. Policies by cockatiel; hedging, which it has not, by Hedge.
 */
import {
  type BulkheadPolicy,
  BulkheadRejectedError,
  bulkhead,
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
  isBrokenCircuitError,
} from 'cockatiel';
import { checkInteger, checkOptions, checkPositive } from '../check.js';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import { aborted } from '../runtime/pool.js';
import type { Judgement, JudgeOptions, Reranker } from '../types.js';
import { Hedge, type HedgeOptions } from './hedge.js';
import { checkJudgement } from './judgement.js';
import { within } from './within.js';

export type ResilienceOptions = {
  /** Failures in a row that open the breaker. Default: 5. */
  failures?: number;
  /** How long it stays open before one call may try again. Default: 10,000. */
  openMs?: number;
  /**
   * Calls at the same time, and calls that wait for one of them to end. Default: 64, of a local
   * cross-encoder 10,000, and 256.
   */
  concurrency?: number;
  waiting?: number;
  /** Ask again, beside a call that is slower than most. Default: not; for services only. */
  hedge?: HedgeOptions;
};

export type ResilienceStats = {
  breaker: 'closed' | 'open' | 'half-open';
  /** Calls so far, by how they ended. */
  calls: { succeeded: number; failed: number; late: number; aborted: number; notAsked: number };
  hedged: number;
};

/** What says that the reranker, not the caller, is at fault. */
const FAULTS: readonly MaxSimErrorCode[] = [
  'RERANKER_FAILED',
  'WORKER_FAILED',
  'DEADLINE_EXCEEDED',
  'INVALID_MODEL',
  'INTERNAL',
];

/** Time so short that to miss it says nothing of the reranker. */
const SHORT_MS = 10;

function isFault({ code, details }: MaxSimError): boolean {
  return FAULTS.includes(code) && details['short'] !== true;
}

export class ResilientReranker implements Reranker {
  readonly name: string;
  readonly fingerprint: string;
  readonly leastBudgetMs: number;
  private readonly breaker: CircuitBreakerPolicy;
  private readonly bulkhead: BulkheadPolicy;
  private readonly hedge: Hedge | null;
  private readonly calls = { succeeded: 0, failed: 0, late: 0, aborted: 0, notAsked: 0 };

  /** Throws INVALID_ARGUMENT. */
  constructor(
    private readonly reranker: Reranker,
    options: ResilienceOptions = {},
  ) {
    const { failures, openMs, concurrency, waiting, hedge } =
      ResilientReranker.checkOptions(options);
    this.name = reranker.name;
    this.fingerprint = reranker.fingerprint;
    this.leastBudgetMs = reranker.leastBudgetMs ?? 0;
    this.breaker = circuitBreaker(
      handleWhen((error) => error instanceof MaxSimError && isFault(error)),
      { halfOpenAfter: openMs, breaker: new ConsecutiveBreaker(failures) },
    );
    this.bulkhead = bulkhead(concurrency, waiting);
    this.hedge = hedge === undefined ? null : new Hedge(hedge);
  }

  /** With what is not said. Throws INVALID_ARGUMENT. */
  static checkOptions(
    options: ResilienceOptions,
  ): Required<Omit<ResilienceOptions, 'hedge'>> & { hedge: HedgeOptions | undefined } {
    const {
      failures = 5,
      openMs = 10_000,
      concurrency = 64,
      waiting = 256,
      hedge,
    } = checkOptions<ResilienceOptions>('resilience', options, [
      'failures',
      'openMs',
      'concurrency',
      'waiting',
      'hedge',
    ]);
    checkInteger('resilience.failures', failures, 1, 1000);
    checkPositive('resilience.openMs', openMs);
    checkInteger('resilience.concurrency', concurrency, 1, 10_000);
    checkInteger('resilience.waiting', waiting, 0, 100_000);
    if (hedge !== undefined) new Hedge(hedge);
    return { failures, openMs, concurrency, waiting, hedge };
  }

  /**
   * Rejects with DEADLINE_EXCEEDED when the budget ends without any score, RERANKER_UNAVAILABLE when it
   * was not asked, ABORTED, and what the reranker raises.
   */
  async judge(
    query: string,
    documents: readonly string[],
    { signal, budgetMs }: JudgeOptions = {},
  ): Promise<Judgement> {
    if (budgetMs !== undefined && budgetMs < this.leastBudgetMs) {
      this.calls.late += 1;
      throw new MaxSimError(
        'DEADLINE_EXCEEDED',
        `${this.name} needs ${this.leastBudgetMs} ms or more, and was not asked with ${Math.round(budgetMs)} ms left.`,
      );
    }
    const until = performance.now() + (budgetMs ?? Number.POSITIVE_INFINITY);
    const send = async (attempt: AbortSignal): Promise<Judgement> => {
      try {
        const judgement = await this.reranker.judge(query, documents, {
          signal: attempt,
          ...(budgetMs === undefined ? {} : { budgetMs: until - performance.now() }),
        });
        return checkJudgement(this.name, judgement, documents.length);
      } catch (error) {
        throw this.named(error);
      }
    };
    const ask = (attempt: AbortSignal): Promise<Judgement> =>
      this.hedge === null ? send(attempt) : this.hedge.run(send, attempt);
    try {
      // The bulkhead outside: a call that waits for its turn is not a trial of a half-open breaker.
      // Time is up for those that wait, too; only those that were asked count for the breaker.
      const judgement = await within(until, signal, (outer) =>
        this.bulkhead.execute(() => this.breaker.execute(() => timed(until, outer, ask)), outer),
      );
      this.calls.succeeded += 1;
      return judgement;
    } catch (error) {
      throw this.account(error, signal);
    }
  }

  stats(): ResilienceStats {
    const { state } = this.breaker;
    return {
      breaker:
        state === CircuitState.Closed
          ? 'closed'
          : state === CircuitState.HalfOpen
            ? 'half-open'
            : 'open',
      calls: { ...this.calls },
      hedged: this.hedge?.hedged ?? 0,
    };
  }

  private account(error: unknown, signal: AbortSignal | undefined): MaxSimError {
    if (isBrokenCircuitError(error)) {
      this.calls.notAsked += 1;
      return new MaxSimError(
        'RERANKER_UNAVAILABLE',
        `${this.name} was not asked: it failed too often in a row, and gets a trial from time to time.`,
        { cause: error, details: { breaker: 'open' } },
      );
    }
    if (error instanceof BulkheadRejectedError) {
      this.calls.notAsked += 1;
      return new MaxSimError(
        'RERANKER_UNAVAILABLE',
        `${this.name} was not asked: it has too many calls to answer already.`,
        { cause: error, details: { breaker: 'closed' } },
      );
    }
    if (signal?.aborted) {
      this.calls.aborted += 1;
      return aborted(signal);
    }
    const known = this.named(error);
    if (known.code === 'DEADLINE_EXCEEDED') this.calls.late += 1;
    else this.calls.failed += 1;
    return known;
  }

  private named(error: unknown): MaxSimError {
    if (error instanceof MaxSimError) return error;
    return new MaxSimError(
      'RERANKER_FAILED',
      `${this.name} failed: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** As `within`; the error of a call that had hardly any time says so. */
async function timed<T>(
  until: number,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const short = until - performance.now() < SHORT_MS;
  try {
    return await within(until, signal, run);
  } catch (error) {
    if (!short || !(error instanceof MaxSimError) || error.code !== 'DEADLINE_EXCEEDED')
      throw error;
    throw new MaxSimError(error.code, error.message, { cause: error, details: { short } });
  }
}
