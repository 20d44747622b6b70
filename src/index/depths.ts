/**
 * How many candidates a search has to score so that it finds the share of the best documents that was
 * promised: measured on queries of which the best documents are known, because all were scored.
 */
import type {
  NativeQuery,
  NativeSearchResult,
  NativeSnapshot,
  TaskLimits,
} from '../runtime/addon.js';
import type { StoredCurve, StoredDepths } from './manifest.js';

/** A query, and the document that it was made of, which is no answer to it. */
export type KnownQuery = { query: NativeQuery; without: number | null };

/** Of one query: its best documents, as candidates. */
type Known = {
  /** From 1. */
  ranks: number[];
  /** Their scores, and those that they have as candidates, per length of the query's tokens. */
  scores: number[];
  guesses: number[];
};

const KS = [1, 10, 100];
const RECALLS = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
/** Beyond so many candidates nothing is told apart. */
const DEEPEST = 65_536;
/** What is measured holds on average over other queries with a confidence of about 95 %. */
const SIGMAS = 1.645;
/** Scoring all documents for a query takes long in a large index: then fewer queries have to do. */
const FEWEST_QUERIES = 32;
const MOST_MS = 60_000;

const EXHAUSTIVE = {
  earlyExit: true,
  method: 'exhaustive',
  exact: false,
  depth: 0,
  shared: true,
  scanDepths: new Float64Array(),
  listsDepths: new Float64Array(),
} as const;

/** Of a snapshot whose segments have codes. Null when there are no queries to measure with. */
export async function measureDepths(
  snapshot: NativeSnapshot,
  queries: readonly KnownQuery[],
  limits: TaskLimits,
  onProgress: (share: number) => void = () => {},
): Promise<StoredDepths | null> {
  const documents = snapshot.documentCount;
  const ks = KS.filter((k, i) => i === 0 || k * 4 <= documents);
  const deepest = Math.min(documents, DEEPEST);
  const hasLists = snapshot.segments().some(({ codes }) => codes?.lists === true);
  const known: Record<'scan' | 'lists', Known[]> = { scan: [], lists: [] };
  const started = performance.now();
  let done = 0;
  for (const { query, without } of queries) {
    if (done >= FEWEST_QUERIES && performance.now() - started > MOST_MS) break;
    const k = (ks.at(-1) as number) + 1;
    const [found] = await snapshot.search([query], { ...EXHAUSTIVE, k }, limits);
    const { refs, scores } = found as NativeSearchResult;
    const best = [...refs.keys()].filter((i) => refs[i] !== without).slice(0, k - 1);
    for (const method of hasLists ? (['scan', 'lists'] as const) : (['scan'] as const)) {
      const candidates = await snapshot.candidates(query, method, deepest, limits);
      const places = new Map<number, number>();
      for (const [place, ref] of candidates.refs.entries()) places.set(ref, place);
      const own = best.map((i) => places.get(refs[i] as number));
      known[method].push({
        // One that is not among them was not met.
        ranks: own.map((place) => (place ?? deepest) + 1),
        scores: best.map((i) => (scores[i] as number) / query.lengths),
        guesses: own.map((place) =>
          place === undefined
            ? Number.NEGATIVE_INFINITY
            : (candidates.scores[place] as number) / query.lengths,
        ),
      });
    }
    done += 1;
    onProgress(done / queries.length);
  }
  if (done === 0) return null;
  const tableOf = <T>(value: (recall: number, k: number) => T): T[][] =>
    RECALLS.map((recall) => ks.map((k) => value(recall, k)));
  const curveOf = (rows: readonly Known[]): StoredCurve => ({
    depths: tableOf((recall, k) =>
      leastThatHolds(
        rows.map(({ ranks }) => ranks.slice(0, k)),
        recall,
      ),
    ),
    margins: tableOf((recall, k) => {
      const margin = leastThatHolds(
        rows.map(({ scores, guesses }) => {
          const last = scores.slice(0, k).at(-1) ?? 0;
          return guesses.slice(0, k).map((guess) => last - guess);
        }),
        recall,
      );
      return Number.isFinite(margin) ? margin : null;
    }),
  });
  return {
    documents,
    queries: done,
    ks,
    recalls: RECALLS,
    scan: curveOf(known.scan),
    lists: hasLists ? curveOf(known.lists) : null,
  };
}

/**
 * The least value at which the mean share of missed documents, and SIGMAS standard errors of it, stay
 * within what the recall allows. `rows`: of each query the values at which its documents are found.
 */
export function leastThatHolds(rows: readonly (readonly number[])[], recall: number): number {
  const values = [...new Set(rows.flat())].sort((a, b) => a - b);
  const holds = (value: number): boolean => {
    let sum = 0;
    let squares = 0;
    for (const row of rows) {
      const missed =
        row.length === 0 ? 0 : row.filter((needed) => needed > value).length / row.length;
      sum += missed;
      squares += missed ** 2;
    }
    const mean = sum / rows.length;
    const variance = Math.max(0, squares / rows.length - mean ** 2);
    return mean + SIGMAS * Math.sqrt(variance / rows.length) <= 1 - recall;
  };
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(values[middle] as number)) high = middle;
    else low = middle + 1;
  }
  return values[low] ?? 1;
}

/** For one recall: the documents measured among, then k, depth and margin again and again. */
export function curveFor(
  { documents, ks, recalls }: StoredDepths,
  { depths, margins }: StoredCurve,
  recall: number,
): Float64Array {
  const last = recalls.length - 1;
  const next = recalls.findIndex((one) => one >= recall);
  const above = next < 0 ? last : next;
  const below = next < 0 ? last : Math.max(0, next - 1);
  const missed = (place: number): number => Math.log(1 - (recalls[place] as number));
  // Between two recalls what is needed grows as the logarithm of what may be missed shrinks.
  const part =
    above === below ? 1 : (Math.log(1 - recall) - missed(below)) / (missed(above) - missed(below));
  // Beyond the last one nothing was measured: as much deeper as less may be missed.
  const beyond = next < 0 ? (1 - (recalls[last] as number)) / (1 - recall) : 1;
  const curve = [documents];
  for (const [i, k] of ks.entries()) {
    const [from, to] = [depths[below]?.[i] as number, depths[above]?.[i] as number];
    const depth = Math.ceil(from * (to / from) ** part * beyond);
    const [near, far] = [margins[below]?.[i] ?? null, margins[above]?.[i] ?? null];
    const margin =
      near === null || far === null || beyond > 1
        ? Number.POSITIVE_INFINITY
        : near + part * (far - near);
    curve.push(k, Math.min(depth, 0xffffffff), margin);
  }
  return Float64Array.from(curve);
}
