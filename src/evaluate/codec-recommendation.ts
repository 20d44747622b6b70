/**
 * The cheapest codec that keeps what was asked for, with confidence: the bad end of an interval must
 * hold the limit, not its middle. Where too little was measured to decide, int8, and it says so.
 */
import type { CodecName } from '../types.js';
import type { CodecQuality, CodecSize } from './codec-measurement.js';

export type CodecLimits = {
  /** Least share of the reference's top 10 that must be kept. */
  minOverlap: number;
  /** Most nDCG@10 that may be lost, where queries are judged. */
  maxLoss: number;
};

export type CodecEvidence = { queries: number; judgedQueries: number; documents: number };

export type CodecRecommendation = {
  codec: CodecName;
  /** False where there was too little to measure on. */
  decided: boolean;
  reason: string;
};

/** A codec that could be built, with its figures. */
export type RankedCodec = { codec: CodecName } & CodecSize & CodecQuality;

/** Below these an interval says more about luck than about a codec. */
export const LEAST_EVIDENCE = { queries: 20, documents: 100 } as const;

const DEFAULT_CODEC: CodecName = 'int8';

/** `measured` holds f32, against which everything was measured, so that there is always an answer. */
export function recommendCodec(
  measured: readonly RankedCodec[],
  limits: CodecLimits,
  evidence: CodecEvidence,
): CodecRecommendation {
  const lack = lackOf(evidence);
  if (lack !== null) {
    return {
      codec: DEFAULT_CODEC,
      decided: false,
      reason: `only ${lack} needed to decide; ${DEFAULT_CODEC} is the default.`,
    };
  }
  const ladder = [...measured].sort((a, b) => a.bytesPerToken - b.bytesPerToken);
  const place = ladder.findIndex((row) => failuresOf(row, limits).length === 0);
  const best = ladder[place] as RankedCodec;
  const cheaper = ladder[place - 1];
  const why = `${best.codec} takes ${best.bytesPerToken.toFixed(1)} bytes a token and ${
    best.codec === 'f32' ? 'loses nothing' : achievementsOf(best, limits).join(' and ')
  }`;
  const whyNot =
    cheaper === undefined
      ? 'nothing cheaper was measured'
      : `the next cheaper, ${cheaper.codec} (${cheaper.bytesPerToken.toFixed(1)} bytes), ${failuresOf(cheaper, limits).join(' and ')}`;
  return { codec: best.codec, decided: true, reason: `${why}; ${whyNot}.` };
}

function lackOf({ queries, judgedQueries, documents }: CodecEvidence): string | null {
  if (documents < LEAST_EVIDENCE.documents) {
    return `${documents} of the ${LEAST_EVIDENCE.documents} documents`;
  }
  if (queries < LEAST_EVIDENCE.queries)
    return `${queries} of the ${LEAST_EVIDENCE.queries} queries`;
  if (judgedQueries > 0 && judgedQueries < LEAST_EVIDENCE.queries) {
    return `${judgedQueries} of the ${LEAST_EVIDENCE.queries} judged queries`;
  }
  return null;
}

function achievementsOf({ overlap, ndcg }: RankedCodec, limits: CodecLimits): string[] {
  const kept = `keeps ${range(overlap)} of the top 10, at least ${limits.minOverlap} as asked`;
  if (ndcg === null) return [kept];
  return [kept, `loses ${range(ndcg.loss)} nDCG@10, at most ${limits.maxLoss} as asked`];
}

function failuresOf({ overlap, ndcg }: RankedCodec, limits: CodecLimits): string[] {
  const failures: string[] = [];
  if (overlap.low < limits.minOverlap) {
    failures.push(`keeps ${range(overlap)} of the top 10, asked at least ${limits.minOverlap}`);
  }
  if (ndcg !== null && ndcg.loss.high > limits.maxLoss) {
    failures.push(`loses ${range(ndcg.loss)} nDCG@10, asked at most ${limits.maxLoss}`);
  }
  return failures;
}

function range({ mean, low, high }: { mean: number; low: number; high: number }): string {
  return `${mean.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}
