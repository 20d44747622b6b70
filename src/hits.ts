/** From candidates in their order to hits: which of them may be hits, and what is stored of those. */
import type { Call } from './call.js';
import type { Ranked } from './request.js';
import type { Hit, Stage } from './types.js';

/** Candidates that may be hits, and the ids of the others. */
export type Held = { known: Ranked[]; unknownIds: string[]; excludedIds: string[] };

/** The index scores as NaN what it does not hold, and what a filter keeps out. */
export function isScored(candidate: Ranked): boolean {
  return !Number.isNaN(candidate.score);
}

/**
 * Hits with their texts. A stored document that was deleted since it was scored is left out, and so is
 * one that was replaced by another that the filter keeps out.
 */
export function toHits({ view, filter }: Call, ranked: readonly Ranked[], stage: Stage): Hit[] {
  const ids = ranked.map((candidate) => candidate.id);
  const stored = view.getMany(ids, filter === undefined ? {} : { filter });
  const hits: Hit[] = [];
  ranked.forEach((candidate, i) => {
    const document = stored[i];
    if (candidate.stored && document === undefined) return;
    const scored = stage !== 'first-stage';
    hits.push({
      id: candidate.id,
      score: scored ? candidate.score : null,
      stage,
      scores: scored ? [{ stage, score: candidate.score, rank: hits.length + 1 }] : [],
      text: candidate.stored ? (document?.text ?? null) : candidate.text,
      payload: candidate.stored ? (document?.payload ?? null) : null,
    });
  });
  return hits;
}

/** Without scores: what is stored and matches, in the order of the candidates. */
export function whatIsHeld({ view, filter }: Call, list: readonly Ranked[]): Held {
  const ids = list.map((candidate) => candidate.id);
  const held = view.hasMany(ids);
  const matching = filter === undefined ? held : view.hasMany(ids, { filter });
  const idsOf = (chosen: (candidate: Ranked, i: number) => boolean): string[] =>
    list.filter((candidate, i) => candidate.stored && chosen(candidate, i)).map(({ id }) => id);
  return {
    known: list.filter((candidate, i) => !candidate.stored || matching[i] === true),
    unknownIds: idsOf((_, i) => held[i] === false),
    excludedIds: idsOf((_, i) => held[i] === true && matching[i] === false),
  };
}
