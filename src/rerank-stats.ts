/** Counters of what became of reranks and searches, since the engine was opened. */

import type { ResilienceStats } from './rerank/resilient-reranker.js';
import type { Agreement, Regret } from './rerank-record.js';
import type { RerankResult } from './types.js';

export type RerankStats = {
  /** Reranks and searches that were answered, and those that threw. */
  answered: number;
  failed: number;
  /** Of those answered: by the cause of the first stage that is missing. */
  degraded: { deadline: number; error: number; unavailable: number };
  /** Answered "nothing relevant". */
  nothingRelevant: number;
  /** The gate was asked, and sure. */
  gated: number;
  skipped: number;
  /** Means over all reranks of two candidates or more; null before the first. */
  agreement: { reranks: number; topOverlap: number | null; tau: number | null };
  /** Skipped calls that were reranked all the same, and what skipping cost them; means, null before. */
  shadow: {
    reranked: number;
    failed: number;
    bestChanged: number;
    topOverlap: number | null;
    regret: number | null;
  };
  /** Records that the logger threw on. */
  logFailures: number;
  /** Breakers and calls, by reranker. */
  rerankers: Record<string, ResilienceStats>;
};

export class RerankCounts {
  failed = 0;
  logFailures = 0;
  shadowsFailed = 0;
  private answered = 0;
  private readonly degraded = { deadline: 0, error: 0, unavailable: 0 };
  private nothingRelevant = 0;
  private gated = 0;
  private skipped = 0;
  private readonly overlap = new Mean();
  private readonly tau = new Mean();
  private bestChanged = 0;
  private readonly shadowOverlap = new Mean();
  private readonly regret = new Mean();

  count(
    { degraded, verdict, gate }: Pick<RerankResult, 'degraded' | 'verdict' | 'gate'>,
    agreement: Agreement | null,
  ): void {
    this.answered += 1;
    if (degraded !== null) this.degraded[degraded.cause] += 1;
    if (verdict === 'nothing-relevant') this.nothingRelevant += 1;
    if (gate !== null) this.gated += 1;
    if (gate?.skipped) this.skipped += 1;
    if (agreement === null) return;
    this.overlap.add(agreement.topOverlap);
    this.tau.add(agreement.tau);
  }

  countShadow({ bestChanged, regret, topOverlap }: Regret & { topOverlap: number }): void {
    if (bestChanged) this.bestChanged += 1;
    this.shadowOverlap.add(topOverlap);
    this.regret.add(regret);
  }

  stats(rerankers: Record<string, ResilienceStats>): RerankStats {
    const { answered, failed, nothingRelevant, gated, skipped, logFailures, bestChanged } = this;
    return {
      answered,
      failed,
      degraded: { ...this.degraded },
      nothingRelevant,
      gated,
      skipped,
      agreement: {
        reranks: this.overlap.count,
        topOverlap: this.overlap.value,
        tau: this.tau.value,
      },
      shadow: {
        reranked: this.regret.count,
        failed: this.shadowsFailed,
        bestChanged,
        topOverlap: this.shadowOverlap.value,
        regret: this.regret.value,
      },
      logFailures,
      rerankers,
    };
  }
}

class Mean {
  count = 0;
  private sum = 0;

  add(value: number): void {
    this.count += 1;
    this.sum += value;
  }

  get value(): number | null {
    return this.count === 0 ? null : this.sum / this.count;
  }
}
