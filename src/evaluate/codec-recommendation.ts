/**
 * The cheapest codec that keeps what was asked for, with confidence: the bad end of an interval must
 * hold the limit, not its middle. Luck decides nothing: where too little was measured, the answer is
 * int8 and says so, and nobody is sent to something dearer because few queries leave wide intervals.
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
  /** The cheapest whose limits hold with confidence; null where there was too little of everything. */
  sure: CodecName | null;
  /** One sentence, which begins with the codec. */
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
    const reason = `${DEFAULT_CODEC}, the default: ${lack} are too few to decide.`;
    return { codec: DEFAULT_CODEC, decided: false, sure: null, reason };
  }
  const ladder = [...measured].sort((a, b) => a.bytesPerToken - b.bytesPerToken);
  const place = ladder.findIndex((row) => failuresOf(row, limits).length === 0);
  const best = ladder[place] as RankedCodec;
  const usual = ladder.slice(0, place).find(({ codec }) => codec === DEFAULT_CODEC);
  if (usual !== undefined && holdsOnAverage(usual, limits)) {
    const open = textOf(failuresOf(usual, limits));
    const reason = `${DEFAULT_CODEC}, the default, holds the limits on average, but the queries are too few to be sure: it ${open}; ${best.codec} (${size(best)}) is the cheapest that surely holds them.`;
    return { codec: DEFAULT_CODEC, decided: false, sure: best.codec, reason };
  }
  const cheaper = ladder[place - 1];
  const why = best.codec === 'f32' ? 'loses nothing' : textOf(claimsOf(best, limits));
  const whyNot =
    cheaper === undefined
      ? 'nothing cheaper was measured'
      : `the next cheaper, ${cheaper.codec} (${size(cheaper)}), ${textOf(failuresOf(cheaper, limits))}`;
  const reason = `${best.codec} takes ${size(best)} a token and ${why}; ${whyNot}.`;
  return { codec: best.codec, decided: true, sure: best.codec, reason };
}

function lackOf({ queries, judgedQueries, documents }: CodecEvidence): string | null {
  const of = (count: number, what: string, least: number): string =>
    `${count} ${what} (of at least ${least})`;
  const { documents: leastDocuments, queries: leastQueries } = LEAST_EVIDENCE;
  if (documents < leastDocuments) return of(documents, 'documents', leastDocuments);
  if (queries < leastQueries) return of(queries, 'queries', leastQueries);
  if (judgedQueries > 0 && judgedQueries < leastQueries) {
    return of(judgedQueries, 'judged queries', leastQueries);
  }
  return null;
}

function holdsOnAverage({ overlap, ndcg }: RankedCodec, limits: CodecLimits): boolean {
  return overlap.mean >= limits.minOverlap && (ndcg?.loss.mean ?? 0) <= limits.maxLoss;
}

/** What a codec does to each limit, and whether it holds it with confidence. */
function claimsOf(
  { overlap, ndcg }: RankedCodec,
  { minOverlap, maxLoss }: CodecLimits,
): { holds: boolean; text: string }[] {
  const kept = {
    holds: overlap.low >= minOverlap,
    text: `keeps ${range(overlap)} of the top 10 (asked: at least ${minOverlap})`,
  };
  if (ndcg === null) return [kept];
  const lost = {
    holds: ndcg.loss.high <= maxLoss,
    text: `loses ${range(ndcg.loss, 4)} nDCG@10 (asked: at most ${maxLoss})`,
  };
  return [kept, lost];
}

function textOf(claims: readonly { text: string }[]): string {
  return claims.map(({ text }) => text).join(' and ');
}

function failuresOf(row: RankedCodec, limits: CodecLimits): { text: string }[] {
  return claimsOf(row, limits).filter(({ holds }) => !holds);
}

function size({ bytesPerToken }: RankedCodec): string {
  return `${bytesPerToken.toFixed(1)} bytes`;
}

function range({ mean, low, high }: CodecQuality['overlap'], digits = 3): string {
  return `${mean.toFixed(digits)} [${low.toFixed(digits)} to ${high.toFixed(digits)}]`;
}
