/** What is said of a rerank or search to whoever watches a service: one flat record, without any text. */
import { createHash } from 'node:crypto';
import type { Call } from './call.js';
import { kendallTauB, topOverlap } from './rank-agreement.js';
import type { Degradation, Hit, RerankResult, StageReport, Timings } from './types.js';

/** pino, console, or anything else that takes an object. What it throws is counted and goes no further. */
export type RerankLogger = { info(record: RerankRecord | ShadowRecord): void };

export type RerankRecord = {
  event: 'rerank' | 'search';
  /** SHA-256 of the query's text, or of its vectors, the first 16 hex digits. */
  queryHash: string;
  candidates: number;
  topK: number;
  hits: { id: string; scores: Hit['scores']; probability: number | null }[];
  stages: StageReport[];
  gate: RerankResult['gate'];
  verdict: RerankResult['verdict'];
  degraded: Degradation | null;
  /** Of the first stage's order and the final one; null for a search, and where there is nothing to order. */
  agreement: Agreement | null;
  timings: Timings;
  /** The code of the error that was thrown instead of a result. */
  error: string | null;
};

/** What reranking would have done for a call that the gate answered without it. */
export type ShadowRecord = { event: 'shadow'; queryHash: string; topOverlap: number } & Regret;

export type Regret = {
  /** Whether another candidate would have been the best. */
  bestChanged: boolean;
  /**
   * By how much the mean of the last stage's scores over its own first five exceeds that over the first
   * five that were answered: in probability where that stage has a calibrator, else in its raw scores.
   */
  regret: number;
  unit: 'probability' | 'score';
};

export type Agreement = {
  /** Share of the first five of the first stage that are among the first five of the result. */
  topOverlap: number;
  /** Kendall's tau-b over the first 20 of the result. */
  tau: number;
};

const TOP = 5;
/** All pairs are compared: more would cost more than they say. */
const COMPARED = 20;

/** `order` has places in the first stage's order, best first. */
export function agreementOf(order: readonly number[]): Agreement | null {
  if (order.length < 2) return null;
  const present = [...Uint32Array.from(order).sort().subarray(0, TOP)];
  const compared = order.slice(0, COMPARED);
  return {
    topOverlap: topOverlap(present, order, TOP),
    tau: kendallTauB(
      compared,
      compared.map((_, i) => i),
    ),
  };
}

/** Of an order that was answered, against the one that all stages would have given, with their scores. */
export function regretOf(
  answered: readonly number[],
  reranked: readonly number[],
  scoreOf: (position: number) => number | null,
  unit: Regret['unit'],
): Regret & { topOverlap: number } {
  const mean = (order: readonly number[]): number => {
    const top = order.slice(0, TOP);
    const scored = top.map(scoreOf).filter((score) => score !== null);
    return scored.reduce((sum, score) => sum + score, 0) / Math.max(1, scored.length);
  };
  return {
    bestChanged: answered[0] !== reranked[0],
    regret: mean(reranked) - mean(answered),
    unit,
    topOverlap: topOverlap(reranked, answered, TOP),
  };
}

export function queryHash({ text, vectors }: Call): string {
  const hash = createHash('sha256');
  if (text !== null) hash.update(text);
  else if (vectors !== null)
    hash.update(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
  return hash.digest('hex').slice(0, 16);
}

export function recordOf(
  event: RerankRecord['event'],
  call: Call,
  candidates: number,
  result: Omit<RerankResult, 'unknownIds' | 'excludedIds'> & { agreement: Agreement | null },
): RerankRecord {
  const { hits, stages, gate, verdict, degraded, agreement, timings } = result;
  return {
    event,
    queryHash: queryHash(call),
    candidates,
    topK: call.topK,
    hits: hits.map(({ id, scores, probability = null }) => ({ id, scores, probability })),
    stages,
    gate,
    verdict,
    degraded,
    agreement,
    timings,
    error: null,
  };
}

/** Of a call that threw. */
export function failureOf(
  event: RerankRecord['event'],
  call: Call,
  candidates: number,
  error: string,
): RerankRecord {
  const nothing = { hits: [], stages: [], gate: null, verdict: null, degraded: null };
  const timings = call.end();
  return { ...recordOf(event, call, candidates, { ...nothing, agreement: null, timings }), error };
}
