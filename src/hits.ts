/** From candidates in their order to hits: which of them may be hits, and what is stored of those. */
import type { Call } from './call.js';
import type { Ranked } from './request.js';
import type { Hit, StageScore, StoredDocument } from './types.js';

/** A candidate and every score it was given, in the order of the stages. */
export type Placed = { candidate: Ranked; scores: readonly StageScore[]; firstRank: number };

/** What is stored of the candidates of a call, each read once: what a stage has judged is what is returned. */
export class Documents {
  private readonly read = new Map<Ranked, StoredDocument | undefined>();

  constructor(private readonly call: Call) {}

  /** Undefined for what the index does not hold (any more), or the filter keeps out. */
  of(candidates: readonly Ranked[]): (StoredDocument | undefined)[] {
    const missing = candidates.filter((candidate) => candidate.stored && !this.read.has(candidate));
    const { view, filter } = this.call;
    const documents = view.getMany(
      missing.map(({ id }) => id),
      filter === undefined ? {} : { filter },
    );
    missing.forEach((candidate, i) => {
      this.read.set(candidate, documents[i]);
    });
    return candidates.map((candidate) => this.read.get(candidate));
  }
}

/** The best `topK` with their texts. A stored document that was deleted since it was scored is left out. */
export function toHits(
  documents: Documents,
  placed: readonly Placed[],
  topK: number,
): { hit: Hit; candidate: Ranked }[] {
  const hits: { hit: Hit; candidate: Ranked }[] = [];
  for (let from = 0; from < placed.length && hits.length < topK; ) {
    const some = placed.slice(from, from + topK - hits.length);
    from += some.length;
    const stored = documents.of(some.map(({ candidate }) => candidate));
    some.forEach(({ candidate, scores, firstRank }, i) => {
      const document = stored[i];
      if (candidate.stored && document === undefined) return;
      const last = scores.at(-1);
      const hit: Hit = {
        id: candidate.id,
        score: last?.score ?? null,
        stage: last?.stage ?? 'first-stage',
        scores: [...firstScore(candidate, firstRank), ...scores],
        text: candidate.stored ? (document?.text ?? null) : candidate.text,
        payload: candidate.stored ? (document?.payload ?? null) : null,
      };
      hits.push({ hit, candidate });
    });
  }
  return hits;
}

function firstScore({ first }: Ranked, rank: number): StageScore[] {
  if (first === null) return [];
  const { value: score, kind } = first;
  return [{ stage: 'first-stage', score, rank, ...(kind === 'distance' ? { kind } : {}) }];
}

/** Without scores: which candidates may be hits, and the ids of the others. */
export function whatIsHeld(
  { view, filter }: Call,
  list: readonly Ranked[],
): { isHeld: boolean[]; unknownIds: string[]; excludedIds: string[] } {
  const ids = list.map((candidate) => candidate.id);
  const held = view.hasMany(ids);
  const matching = filter === undefined ? held : view.hasMany(ids, { filter });
  const idsOf = (chosen: (i: number) => boolean): string[] =>
    list.filter((candidate, i) => candidate.stored && chosen(i)).map(({ id }) => id);
  return {
    isHeld: list.map((candidate, i) => !candidate.stored || matching[i] === true),
    unknownIds: idsOf((i) => held[i] === false),
    excludedIds: idsOf((i) => held[i] === true && matching[i] === false),
  };
}
