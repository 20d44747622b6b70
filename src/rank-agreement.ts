/** How far two rankings of the same documents agree. */

/**
 * Kendall's tau-b of paired scores: 1 for the same order, -1 for the reverse. Pairs that are tied on one
 * side count for neither order and shrink the scale (M. G. Kendall, Biometrika 33, 1945). NaN where one
 * side orders nothing.
 */
export function kendallTauB(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let balance = 0;
  let untiedA = 0;
  let untiedB = 0;
  for (let i = 1; i < a.length; i++) {
    for (let j = 0; j < i; j++) {
      const inA = Math.sign((a[i] as number) - (a[j] as number));
      const inB = Math.sign((b[i] as number) - (b[j] as number));
      balance += inA * inB;
      untiedA += Math.abs(inA);
      untiedB += Math.abs(inB);
    }
  }
  return untiedA === 0 || untiedB === 0 ? Number.NaN : balance / Math.sqrt(untiedA * untiedB);
}

/** Share of the first k of `reference` that are among the first k of `ranking`. */
export function topOverlap<T>(reference: readonly T[], ranking: readonly T[], k: number): number {
  const wanted = reference.slice(0, k);
  const found = new Set(ranking.slice(0, k));
  return wanted.filter((id) => found.has(id)).length / wanted.length;
}

/**
 * Kendall's tau of two rankings over the documents that both hold; NaN where they share fewer than two.
 */
export function kendallTau(a: readonly string[], b: readonly string[]): number {
  const placeInB = new Map(b.map((id, place) => [id, place]));
  const places: number[] = [];
  for (const id of a) {
    const place = placeInB.get(id);
    if (place !== undefined) places.push(place);
  }
  // Nothing is tied within a ranking: what counts is how many pairs stand the other way round.
  const count = places.length;
  if (count < 2) return Number.NaN;
  let reversed = 0;
  for (let i = 1; i < count; i++) {
    const place = places[i] as number;
    for (let j = 0; j < i; j++) if ((places[j] as number) > place) reversed += 1;
  }
  return 1 - (4 * reversed) / (count * (count - 1));
}

/**
 * Rank-biased overlap of two rankings, extrapolated (RBO_ext): 1 for the same order, 0 for rankings that
 * share nothing. `persistence` weighs the top: 0.9 puts 86 % of the weight on the first ten. Rankings of
 * unequal length by equation 32 of W. Webber, A. Moffat and J. Zobel, "A similarity measure for
 * indefinite rankings", ACM TOIS 28 (4), 2010. Ids are distinct within a ranking; two empty rankings
 * agree.
 */
export function rankBiasedOverlap(
  a: readonly string[],
  b: readonly string[],
  persistence = 0.9,
): number {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  if (short.length === 0) return long.length === 0 ? 1 : 0;
  const p = persistence;
  const seenShort = new Set<string>();
  const seenLong = new Set<string>();
  let overlap = 0;
  let overlapAtShort = 0;
  let sum = 0;
  let weight = 1;
  for (let depth = 1; depth <= long.length; depth++) {
    const inLong = long[depth - 1] as string;
    const inShort = short[depth - 1];
    if (inShort === inLong) overlap += 1;
    else {
      if (seenShort.has(inLong)) overlap += 1;
      if (inShort !== undefined && seenLong.has(inShort)) overlap += 1;
    }
    if (inShort !== undefined) seenShort.add(inShort);
    seenLong.add(inLong);
    weight *= p;
    if (depth <= short.length) overlapAtShort = overlap;
    // Below its end the short ranking is taken to go on agreeing as it did.
    const further = Math.max(0, depth - short.length);
    sum += ((overlap + (overlapAtShort * further) / short.length) / depth) * weight;
  }
  const last = (overlap - overlapAtShort) / long.length + overlapAtShort / short.length;
  return ((1 - p) / p) * sum + last * weight;
}
