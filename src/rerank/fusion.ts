/** One ranking out of those of several stages. Ties go by the rank in the stage before, and so on back. */
import { checkOneOf, checkOptions, checkPositive } from '../check.js';
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

/** Throws INVALID_ARGUMENT unless it is a way to fuse the order before a stage with the stage's own. */
export function checkFusion(name: string, value: unknown): FusionMethod {
  const how = checkOptions<{ method: string; weights?: unknown; k?: unknown }>(
    name,
    value as { method: string },
    ['method', 'weights', 'k'],
  );
  const { method, weights, k } = how;
  checkOneOf(`${name}.method`, method, ['last', 'weighted', 'reciprocal-rank']);
  if (method === 'last') return { method };
  if (method === 'reciprocal-rank')
    return k === undefined ? { method } : { method, k: checkPositive(`${name}.k`, k) };
  const two = checkNumbers(`${name}.weights`, weights);
  if (two.length !== 2 || two.some((weight) => weight < 0) || (two[0] === two[1] && two[0] === 0))
    throw invalid(
      `${name}.weights`,
      'two numbers of 0 or more, of the order before and of the stage, not both 0',
      weights,
    );
  return { method: 'weighted', weights: two };
}

/**
 * Scores that the order after a stage follows, from those of the stage before and its own, both in the
 * order before. Where that has no scores its places count, evenly spaced. Null: the stage's own decide.
 */
export function fuser(
  how: FusionMethod,
): ((previous: readonly (number | null)[], own: readonly number[]) => number[]) | null {
  if (how.method === 'last') return null;
  return (previous, own) => {
    const ids = own.map((_, i) => String(i));
    const scored = previous.every((score) => score !== null);
    const before = {
      ids,
      scores: scored ? (previous as readonly number[]) : ids.map((_, i) => -i),
    };
    const best = own.map((score, i) => ({ score, i })).sort((a, b) => b.score - a.score);
    const stage = { ids: best.map(({ i }) => String(i)), scores: best.map(({ score }) => score) };
    const fused = own.map(() => 0);
    for (const { id, score } of fuse([before, stage], how)) fused[Number(id)] = score ?? 0;
    return fused;
  };
}
