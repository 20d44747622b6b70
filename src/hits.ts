/** From candidates in their order to hits: which of them may be hits, and what is stored of those. */
import type { Call } from './call.js';
import type { Ranked } from './request.js';
import type { Standing } from './rerank/cascade.js';
import type { Hit, StageScore, StoredDocument } from './types.js';

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

/**
 * The best `topK` of an order of positions in `list`, with their texts. A stored document that was deleted
 * since it was scored is left out.
 */
export function toHits(
  documents: Documents,
  list: readonly Ranked[],
  { order, scores }: Standing,
  topK: number,
): { hit: Hit; position: number }[] {
  const hits: { hit: Hit; position: number }[] = [];
  for (let from = 0; from < order.length && hits.length < topK; ) {
    const positions = order.slice(from, from + topK - hits.length);
    from += positions.length;
    const some = positions.map((position) => list[position] as Ranked);
    const stored = documents.of(some);
    some.forEach((candidate, i) => {
      const document = stored[i];
      if (candidate.stored && document === undefined) return;
      const position = positions[i] as number;
      const own = scores[position] ?? [];
      const last = own.at(-1);
      const hit: Hit = {
        id: candidate.id,
        score: last?.score ?? null,
        stage: last?.stage ?? 'first-stage',
        scores: [...firstScore(candidate, position + 1), ...own],
        text: candidate.stored ? (document?.text ?? null) : candidate.text,
        payload: candidate.stored ? (document?.payload ?? null) : null,
      };
      hits.push({ hit, position });
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
