/**
 * Who is let in. Work is counted in tokens, under way from the moment a request is let in until it is
 * answered; a request that would wait longer than it has time is refused at once, with the seconds until
 * it may be tried again. How fast tokens are worked off is measured while there is enough to do.
 */
import { RequestError } from './failure.js';

/** Below it, cores may idle, and what is done in a second says nothing of what could be. */
const BUSY_TOKENS = 4_000;
/** What was measured this long ago counts half. */
const HALF_LIFE_MS = 15_000;
/** So much must have been measured before it is believed. */
const MEASURED_MS = 500;

const MAX_RETRY_S = 60;

/** As the engine counts: about four characters a token, and markers. */
export function estimateTokens(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + Math.ceil(text.length / 4) + 3, 0);
}

export type AdmissionStats = {
  requests: number;
  tokens: number;
  /** Null until it has been measured. */
  tokensPerSecond: number | null;
};

/** To be called when a request has been answered; `done`: whether all its tokens were worked off. */
export type Leave = (done: boolean) => void;

export class Admission {
  private tokens = 0;
  private requests = 0;
  private at = performance.now();
  /** Both fade with HALF_LIFE_MS. */
  private busyMs = 0;
  private doneTokens = 0;

  constructor(
    private readonly maxTokens: number,
    private readonly maxWaitMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.at = now();
  }

  stats(): AdmissionStats {
    return { requests: this.requests, tokens: this.tokens, tokensPerSecond: this.tokensPerSecond };
  }

  /**
   * Lets a request in, and returns what is to be called when it has been answered. Throws 429. Nobody is
   * refused while nothing else is under way, however much it asks for.
   */
  enter(tokens: number, deadlineMs: number | null): Leave {
    const waitMs = this.waitMs;
    const patienceMs = Math.min(this.maxWaitMs, deadlineMs ?? Number.POSITIVE_INFINITY);
    if (this.tokens > 0 && this.tokens + tokens > this.maxTokens) {
      throw this.refusal(
        `${this.tokens} tokens of work are under way, and ${tokens} more would be over the ${this.maxTokens} that may.`,
      );
    }
    if (waitMs > patienceMs) {
      throw this.refusal(
        `The work ahead would take about ${Math.round(waitMs)} ms, and this request may wait ${Math.round(patienceMs)} ms.`,
      );
    }
    return this.track(tokens);
  }

  /** Counts work that waits by itself, as a stream of documents does. */
  track(tokens: number): Leave {
    this.advance();
    this.tokens += tokens;
    this.requests += 1;
    let left = false;
    return (done) => {
      if (left) return;
      left = true;
      this.advance();
      if (done && this.tokens >= BUSY_TOKENS) this.doneTokens += tokens;
      this.tokens -= tokens;
      this.requests -= 1;
    };
  }

  /** Seconds after which what is under way now should be done. */
  get retryAfterS(): number {
    return Math.min(MAX_RETRY_S, Math.max(1, Math.ceil(this.waitMs / 1000)));
  }

  private refusal(message: string): RequestError {
    return new RequestError(429, 'OVERLOADED', message, this.retryAfterS);
  }

  private get tokensPerSecond(): number | null {
    if (this.busyMs < MEASURED_MS || this.doneTokens === 0) return null;
    return (this.doneTokens / this.busyMs) * 1000;
  }

  private get waitMs(): number {
    const rate = this.tokensPerSecond;
    return rate === null ? 0 : (this.tokens / rate) * 1000;
  }

  /** Brings the clock up to now. */
  private advance(): void {
    const now = this.now();
    const passed = now - this.at;
    this.at = now;
    if (this.tokens < BUSY_TOKENS) return;
    const fading = 0.5 ** (passed / HALF_LIFE_MS);
    this.busyMs = this.busyMs * fading + passed;
    this.doneTokens *= fading;
  }
}
