/**
 * How far two makers of token vectors or logits agree: token ids, kept tokens, scores, directions.
 * Pure: what was expected and what was found go in, figures and the failures in words come out.
 */

export type TokenComparison = {
  kind: 'query' | 'document' | 'pair';
  texts: number;
  /** Texts whose token ids (and the tokens that are looked at) are the same. */
  equalIds: number;
  /** Texts of which the same tokens keep a vector. */
  equalKept: number;
  first: TokenDifference | null;
};

export type TokenDifference = {
  what: 'token ids' | 'attended tokens' | 'token types' | 'kept vectors';
  text: number;
  /** Where the two first differ, in tokens. */
  position: number;
  expected: number | null;
  found: number | null;
};

/** One text, tokenised by two; `kept` and `types` by position, where there are any. */
export type Tokenised = {
  ids: readonly number[];
  attended?: number;
  kept?: readonly number[];
  types?: readonly number[];
};

export function compareTokens(
  kind: TokenComparison['kind'],
  expected: readonly Tokenised[],
  found: readonly Tokenised[],
): TokenComparison {
  const comparison: TokenComparison = {
    kind,
    texts: expected.length,
    equalIds: 0,
    equalKept: 0,
    first: null,
  };
  expected.forEach((wanted, text) => {
    const got = found[text] as Tokenised;
    const differ = (
      what: TokenDifference['what'],
      a: readonly number[] = [],
      b: readonly number[] = [],
    ): boolean => {
      const position = firstDifference(a, b);
      if (position === null) return false;
      const [one = null, other = null] = [a[position], b[position]];
      comparison.first ??= { what, text, position, expected: one, found: other };
      return true;
    };
    const differs = [
      differ('token ids', wanted.ids, got.ids),
      differ('token types', wanted.types, got.types),
      wanted.attended !== undefined &&
        differ('attended tokens', [wanted.attended], [got.attended ?? 0]),
    ];
    if (!differs.includes(true)) comparison.equalIds += 1;
    if (!differ('kept vectors', wanted.kept, got.kept)) comparison.equalKept += 1;
  });
  return comparison;
}

function firstDifference(a: readonly number[], b: readonly number[]): number | null {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return null;
}

export type ScoreComparison = {
  compared: number;
  maxDifference: number;
  meanDifference: number;
  /** Largest difference over the query vectors that it is a sum of; null for logits. */
  maxPerQueryVector: number | null;
  /** Queries of which both put the same document first; null where there are no lists to rank. */
  sameBest: number | null;
  queries: number;
  /** Where the largest difference is. */
  worst: { query: number; document: number; expected: number; found: number } | null;
};

/** Scores by query and document. `vectors`: how many a query has; null where scores are logits. */
export function compareScores(
  expected: readonly ArrayLike<number>[],
  found: readonly ArrayLike<number>[],
  vectors: readonly number[] | null,
): ScoreComparison {
  let compared = 0;
  let sum = 0;
  let maxDifference = 0;
  let maxPerQueryVector = 0;
  let sameBest = 0;
  let worst: ScoreComparison['worst'] = null;
  expected.forEach((wanted, query) => {
    const got = found[query] as ArrayLike<number>;
    for (let document = 0; document < wanted.length; document++) {
      const difference = Math.abs((got[document] as number) - (wanted[document] as number));
      compared += 1;
      sum += difference;
      const perVector = difference / (vectors?.[query] ?? 1);
      // What is no number is farther off than any.
      if (worst === null || (!(difference <= maxDifference) && !Number.isNaN(maxDifference))) {
        const [one, other] = [wanted[document] as number, got[document] as number];
        worst = { query, document, expected: one, found: other };
      }
      maxDifference = larger(maxDifference, difference);
      maxPerQueryVector = larger(maxPerQueryVector, perVector);
    }
    if (best(wanted) === best(got)) sameBest += 1;
  });
  const ranked = expected.some(({ length }) => length > 1);
  return {
    compared,
    maxDifference,
    meanDifference: compared === 0 ? 0 : sum / compared,
    maxPerQueryVector: vectors === null ? null : maxPerQueryVector,
    sameBest: ranked ? sameBest : null,
    queries: expected.length,
    worst,
  };
}

function larger(a: number, b: number): number {
  return Number.isNaN(a) || Number.isNaN(b) ? Number.NaN : Math.max(a, b);
}

function best(scores: ArrayLike<number>): number {
  let at = 0;
  for (let i = 1; i < scores.length; i++)
    if ((scores[i] as number) > (scores[at] as number)) at = i;
  return at;
}

export type CosineComparison = { tokens: number; mean: number; min: number };

/** Cosines of token vectors, row by row; both hold rows of `dim`, of any length. */
export function compareVectors(
  pairs: readonly (readonly [ArrayLike<number>, ArrayLike<number>])[],
  dim: number,
): CosineComparison {
  let tokens = 0;
  let sum = 0;
  let min = 1;
  for (const [a, b] of pairs) {
    for (let from = 0; from < Math.max(a.length, b.length); from += dim) {
      const value = cosine(a, b, from, dim);
      tokens += 1;
      sum += value;
      min = value < min || Number.isNaN(value) ? value : min;
    }
  }
  return { tokens, mean: tokens === 0 ? 1 : sum / tokens, min };
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>, from: number, dim: number): number {
  let dot = 0;
  let inA = 0;
  let inB = 0;
  for (let i = from; i < from + dim; i++) {
    const [x, y] = [a[i] as number, b[i] as number];
    dot += x * y;
    inA += x * x;
    inB += y * y;
  }
  return dot / Math.sqrt(inA * inB);
}

/** Sum over the query's vectors of the largest inner product with one of the document's. */
export function maxSim(query: Float32Array, document: Float32Array, dim: number): number {
  let score = 0;
  for (let q = 0; q < query.length; q += dim) {
    let most = Number.NEGATIVE_INFINITY;
    for (let d = 0; d < document.length; d += dim) {
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += (query[q + i] as number) * (document[d + i] as number);
      if (!(dot <= most)) most = dot;
    }
    score += most;
  }
  return score;
}
