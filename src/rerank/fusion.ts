/** One ranking out of those of several stages. Ties go by the rank in the stage before, and so on back. */
import { checkPositive } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { checkNumbers, checkWithin } from './calibration.js';

/** Candidates of one stage, best first; scores are similarities, and the greater the better. */
export type StageRanking = { ids: readonly string[]; scores: readonly number[] };

export type FusionMethod =
  /** The last stage decides; candidates it did not score follow in the order before it. */
  | { method: 'last' }
  /**
   * A weighted sum of scores, each stage's put within 0 and 1 by its least and greatest (S. Bruch,
   * S. Gai and A. Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023, where the
   * choice of normalisation matters little). A candidate that a stage lacks has 0 there.
   */
  | { method: 'weighted'; weights: readonly number[] }
  /** Sum of 1 / (k + rank): G. Cormack, C. Clarke and S. Buettcher, SIGIR 2009. Default k: 60. */
  | { method: 'reciprocal-rank'; k?: number };

/** `score` is null for what the last stage did not score, under 'last'. */
export type FusedCandidate = { id: string; score: number | null };

/** Stages in the order they ran. Throws INVALID_ARGUMENT for ids given twice or counts that differ. */
export function fuse(stages: readonly StageRanking[], how: FusionMethod): FusedCandidate[] {
  const last = stages.at(-1);
  if (last === undefined) throw invalid('stages', 'one or more rankings', stages);
  const ranks = stages.map((stage, i) => ranksOf(stage, `stages[${i}]`));
  const scoreOf = scoring(stages, ranks, how);
  const ids = new Set(stages.flatMap((stage) => stage.ids));
  const rankIn = (stage: number, id: string): number =>
    ranks[stage]?.get(id) ?? Number.POSITIVE_INFINITY;
  return [...ids]
    .map((id) => ({ id, score: scoreOf(id) }))
    .sort((a, b) => {
      const first = a.score ?? Number.NEGATIVE_INFINITY;
      const second = b.score ?? Number.NEGATIVE_INFINITY;
      if (first !== second) return second - first;
      // Among equals of several stages the last one's order is only that of its ties: it comes last.
      for (let stage = stages.length - 2; stage >= -1; stage--) {
        const place = stage < 0 ? stages.length - 1 : stage;
        const x = rankIn(place, a.id);
        const y = rankIn(place, b.id);
        if (x !== y) return x - y;
      }
      return 0;
    });
}

function ranksOf({ ids, scores }: StageRanking, name: string): Map<string, number> {
  checkNumbers(`${name}.scores`, scores);
  if (scores.length !== ids.length)
    throw invalid(`${name}.scores`, `as many as its ${ids.length} ids`, scores);
  const ranks = new Map(ids.map((id, i) => [id, i + 1]));
  if (ranks.size !== ids.length)
    throw new MaxSimError('INVALID_ARGUMENT', `${name}.ids must be different, but some are equal.`);
  return ranks;
}

function scoring(
  stages: readonly StageRanking[],
  ranks: readonly ReadonlyMap<string, number>[],
  how: FusionMethod,
): (id: string) => number | null {
  const last = stages.length - 1;
  if (how.method === 'last') {
    const scores = stages[last]?.scores ?? [];
    return (id) => scores[(ranks[last]?.get(id) ?? 0) - 1] ?? null;
  }
  if (how.method === 'reciprocal-rank') {
    const k = checkPositive('k', how.k ?? 60);
    return (id) =>
      ranks.reduce((sum, stage) => {
        const rank = stage.get(id);
        return rank === undefined ? sum : sum + 1 / (k + rank);
      }, 0);
  }
  if (how.weights.length !== stages.length)
    throw invalid('weights', `${stages.length} numbers, one for each stage`, how.weights);
  how.weights.forEach((weight, i) => {
    checkWithin(`weights[${i}]`, weight, 0, Number.MAX_VALUE);
  });
  const scaled = stages.map(({ scores }) => {
    const least = scores.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    const spread = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY) - least;
    return scores.map((score) => (spread > 0 ? (score - least) / spread : 1));
  });
  return (id) =>
    scaled.reduce((sum, values, i) => {
      const rank = ranks[i]?.get(id);
      return rank === undefined
        ? sum
        : sum + (how.weights[i] as number) * (values[rank - 1] as number);
    }, 0);
}
