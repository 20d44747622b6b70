/** What a comparison measures: a row is one system at one depth, with a ranking for every query. */
import type { FirstStageName, RerankerName } from './systems.js';

export type RankedHit = { id: string; score: number | null };

export function idsOf(hits: readonly RankedHit[]): string[] {
  return hits.map(({ id }) => id);
}

/** Milliseconds of each query, in the order of the queries; null where a stage was not timed here. */
export type StageTimes = Readonly<Record<string, Float64Array>>;

export type Row = {
  /** `colbert:bm25@100`; a first stage has no depth. */
  name: string;
  /** `colbert:bm25` */
  system: string;
  kind: FirstStageName | RerankerName | 'run';
  firstStage: string | null;
  depth: number | null;
  /** Of the query at this place, best first; computed anew at every call, since all of them are large. */
  ranking(query: number): RankedHit[];
  /** By stage; empty for an imported run. */
  stageMs: StageTimes;
  /** Sum over stages by query; null for an imported run. */
  totalMs: Float64Array | null;
};

/** The first `depth` candidates by falling score, ties in their order, then the others as they came. */
export function reorder(
  candidates: readonly RankedHit[],
  scores: readonly number[],
  depth: number,
): RankedHit[] {
  const read = candidates
    .slice(0, depth)
    .map(({ id }, i) => ({ id, score: scores[i] as number, i }));
  read.sort((a, b) => b.score - a.score || a.i - b.i);
  return [
    ...read.map(({ id, score }) => ({ id, score })),
    // Scores of two stages do not compare: below the depth only the order is known.
    ...candidates.slice(depth).map(({ id }) => ({ id, score: null })),
  ];
}

/** Places of a list at which a reranker stops its watch: the depths, as far as there are candidates. */
export function endsOf(depths: readonly number[], count: number): number[] {
  const ends = depths.map((depth) => Math.min(depth, count)).filter((end) => end > 0);
  return [...new Set(ends)].sort((a, b) => a - b);
}

export function sumOf(stages: StageTimes, queries: number): Float64Array | null {
  const all = Object.values(stages);
  if (all.length === 0) return null;
  return Float64Array.from({ length: queries }, (_, i) =>
    all.reduce((sum, times) => sum + (times[i] as number), 0),
  );
}
