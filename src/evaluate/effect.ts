/**
 * What reranking did to the ranking it began with, query by query. Both sides are values of the same
 * measure for the same queries, in the same order.
 */

/** Measures are sums of a few floats: what differs by less than this differs by rounding. */
const SAME = 1e-9;

export type Effect = {
  queries: number;
  better: number;
  equal: number;
  worse: number;
  /** Share of the queries that were made worse: the harm rate. */
  harmRate: number;
};

/** How many queries gained and lost; `after` and `before` have one value per query. */
export function effectOf(before: ArrayLike<number>, after: ArrayLike<number>): Effect {
  let better = 0;
  let worse = 0;
  for (let i = 0; i < before.length; i++) {
    const difference = (after[i] as number) - (before[i] as number);
    if (difference > SAME) better += 1;
    else if (difference < -SAME) worse += 1;
  }
  const queries = before.length;
  const harmRate = queries === 0 ? 0 : worse / queries;
  return { queries, better, equal: queries - better - worse, worse, harmRate };
}

export type Headroom = {
  firstStage: number;
  reranked: number;
  oracle: number;
  /** reranked - first stage: what the reranker gained. */
  precisionGap: number;
  /** oracle - first stage: what any reranker of these candidates could gain. */
  ceiling: number;
};

/** Means over queries of the three values of one measure. */
export function headroomOf(firstStage: number, reranked: number, oracle: number): Headroom {
  return {
    firstStage,
    reranked,
    oracle,
    precisionGap: reranked - firstStage,
    ceiling: oracle - firstStage,
  };
}
