/** Texts as frameworks hand them over, by their place in a list; and scores as they expect them back. */
import type { Engine, Hit, Pipeline, RerankResult } from '../maxsim.js';

export type Reranking = {
  /** What texts go through. Default: late interaction, and the engine's cross-encoder on the best 20. */
  pipeline?: Pipeline;
  /** Answer within this time with the best order there is. */
  deadlineMs?: number;
};

export type RankedText = { index: number; score: number; hit: Hit };

export type RankedTexts = Omit<RerankResult, 'hits'> & { ranking: RankedText[]; kind: ScoreKind };

/**
 * probability: of a calibrator. score: of one stage, an unbounded number. place: 1 / rank, where hits of
 * several stages, or of none, have no score in common.
 */
export type ScoreKind = 'probability' | 'score' | 'place';

/** The best `topK`, all by default. Texts with nothing in them are left out. */
export async function rerankTexts(
  engine: Engine,
  query: string,
  texts: readonly string[],
  { pipeline, deadlineMs, topK, signal }: Reranking & { topK?: number; signal?: AbortSignal },
): Promise<RankedTexts> {
  const candidates = texts
    .map((text, i) => ({ id: String(i), text }))
    .filter(({ text }) => text.trim() !== '');
  const { hits, ...rest } = await engine.rerank(query, candidates, {
    topK: topK ?? Math.max(1, texts.length),
    ...(pipeline === undefined ? { crossEncoder: true } : { pipeline }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(signal === undefined ? {} : { signal }),
  });
  const { kind, scores } = relevanceOf(hits);
  const ranking = hits.map((hit, i) => ({
    index: Number(hit.id),
    score: scores[i] as number,
    hit,
  }));
  return { ...rest, ranking, kind };
}

/** Falling numbers, one a hit, that compare within the list. */
export function relevanceOf(hits: readonly Hit[]): { kind: ScoreKind; scores: number[] } {
  const probabilities = hits.flatMap(({ probability }) => probability ?? []);
  if (probabilities.length === hits.length && neverRise(probabilities))
    return { kind: 'probability', scores: probabilities };
  const scores = hits.flatMap(({ score }) => score ?? []);
  const oneStage = new Set(hits.map(({ stage }) => stage)).size <= 1;
  // A fused order is not that of its last stage's scores.
  if (scores.length === hits.length && oneStage && neverRise(scores))
    return { kind: 'score', scores };
  return { kind: 'place', scores: hits.map((_, i) => 1 / (i + 1)) };
}

function neverRise(values: readonly number[]): boolean {
  return values.every((value, i) => i === 0 || value <= (values[i - 1] as number));
}
