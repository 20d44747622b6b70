/**
 * How far down its candidates a search has to go so that it finds the share of the best documents that
 * was promised: measured on queries of which the best documents are known, because all were scored. As
 * a number of candidates, and as a margin: how far the score that a document has as a candidate may lie
 * below that of the last of the best. Searches stop at the margin, which is wide where a query has many
 * good documents and narrow where it has few; the number of candidates says what to have at hand.
 *
 * The promise is about the mean over queries. What is kept is the least value from which on the upper
 * end of a one-sided 95 % interval of the mean share *missed* is low enough: the mean, 1.645 of its
 * standard errors, and half a document of one query more, which stands for what so few queries cannot
 * have shown (where all find everything, a standard error is 0 and says nothing). A smaller k never gets
 * a larger depth, as a query's best document is no harder to find than its ten best are on average, and
 * ten times the documents prove more; a higher recall never gets a smaller one.
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

/** Of one query: its best documents as candidates. */
type Known = {
  /** From 1. */
  ranks: number[];
  /** Their scores, and those that they have as candidates, per length of the query's tokens. */
  scores: number[];
  guesses: number[];
};

/** Candidates by ref: ranks from 1, and the scores that they have as such. */
type Look = Map<number, { rank: number; guess: number }>;

const KS = [1, 10, 100];
const RECALLS = [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
/** Beyond so many candidates nothing is told apart. */
const DEEPEST = 65_536;
/** The shortest look at lists; each further one is twice as long. */
const SHORTEST = 64;
/** Of a normal distribution 95 % lie below it. */
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
    const places = [...refs.keys()].filter((i) => refs[i] !== without).slice(0, k - 1);
    const best = places.map((i) => refs[i] as number);
    const own = places.map((i) => (scores[i] as number) / query.lengths);
    const lookAt = async (method: 'scan' | 'lists', depth: number): Promise<Look> =>
      lookOf(await snapshot.candidates(query, method, depth, limits), without);
    const guessesOf = (look: Look): number[] =>
      best.map((ref) => (look.get(ref)?.guess ?? Number.NEGATIVE_INFINITY) / query.lengths);
    const scan = await lookAt('scan', deepest);
    // One that is not among them has no codes, and is scored in any case, or lies too deep.
    const ranks = best.map((ref) => scan.get(ref)?.rank ?? documents);
    known.scan.push({ ranks, scores: own, guesses: guessesOf(scan) });
    if (hasLists) {
      const { ranks: met, last } = await listRanks(best, deepest, documents, (depth) =>
        lookAt('lists', depth),
      );
      known.lists.push({ ranks: met, scores: own, guesses: guessesOf(last) });
    }
    done += 1;
    onProgress(done / queries.length);
  }
  if (done === 0) return null;
  return {
    documents,
    queries: done,
    ks,
    recalls: [...RECALLS],
    scan: curveOf(known.scan, ks, documents),
    lists: hasLists ? curveOf(known.lists, ks, documents) : null,
  };
}

function curveOf(known: readonly Known[], ks: readonly number[], documents: number): StoredCurve {
  return {
    depths: tableOf(
      known.map(({ ranks }) => ranks),
      ks,
      documents,
    ),
    margins: RECALLS.map((recall) => ks.map((k) => marginFor(known, k, recall))),
  };
}

/** As if the document that the query was made of were not there. */
function lookOf(
  { refs, scores }: { refs: Uint32Array; scores: Float32Array },
  without: number | null,
): Look {
  const look: Look = new Map();
  for (const [i, ref] of refs.entries()) {
    if (ref !== without) look.set(ref, { rank: look.size + 1, guess: scores[i] as number });
  }
  return look;
}

/**
 * What lists find depends on how much is asked of them, as only four times as many are looked up again:
 * a document has its rank in the shortest look that finds it, but none that a shorter look has denied.
 */
async function listRanks(
  best: readonly number[],
  deepest: number,
  documents: number,
  lookAt: (depth: number) => Promise<Look>,
): Promise<{ ranks: number[]; last: Look }> {
  let last: Look = new Map();
  const ranks = new Array<number>(best.length).fill(0);
  for (let depth = SHORTEST, denied = 0; ranks.includes(0); denied = depth, depth *= 2) {
    const asked = Math.min(depth, deepest);
    last = await lookAt(asked);
    for (const [i, ref] of best.entries()) {
      const rank = last.get(ref)?.rank;
      if (ranks[i] === 0 && rank !== undefined) ranks[i] = Math.max(rank, denied + 1);
    }
    if (asked === deepest) break;
  }
  return { ranks: ranks.map((rank) => (rank === 0 ? documents : rank)), last };
}

/** Depths by recall and k. `rows`: of each query the ranks, from 1, of its best documents. */
export function tableOf(
  rows: readonly (readonly number[])[],
  ks: readonly number[],
  documents: number,
): number[][] {
  const table: number[][] = [];
  for (const recall of RECALLS) {
    const lower = table.at(-1);
    const depths = new Array<number>(ks.length);
    for (let i = ks.length - 1; i >= 0; i--) {
      const depth = depthFor(rows, ks[i] as number, recall, documents);
      depths[i] = Math.max(Math.min(depth, depths[i + 1] ?? documents), lower?.[i] ?? 1);
    }
    table.push(depths);
  }
  return table;
}

/** In candidates. `rows`: of each query the ranks, from 1, of its best documents. */
export function depthFor(
  rows: readonly (readonly number[])[],
  k: number,
  recall: number,
  documents: number,
): number {
  const best = rows.map((row) => row.slice(0, k));
  // Where not even what finds everything proves it: twice as deep.
  return leastProven(best, recall, 1) ?? Math.min(documents, 2 * Math.max(1, ...best.flat()));
}

/** Null where what was measured does not prove any. */
export function marginFor(known: readonly Known[], k: number, recall: number): number | null {
  const margins = known.map(({ scores, guesses }) => {
    const last = scores.slice(0, k).at(-1) ?? 0;
    return guesses.slice(0, k).map((guess) => last - guess);
  });
  const margin = leastProven(margins, recall, Math.min(0, ...margins.flat()));
  return margin !== null && Number.isFinite(margin) ? margin : null;
}

/**
 * The least value from which on the mean share missed is surely within what the recall allows; `least`
 * where any does, null where none. `rows`: of each query the values that find its best documents.
 */
function leastProven(
  rows: readonly (readonly number[])[],
  recall: number,
  least: number,
): number | null {
  // Something changes only at values that occur: from the largest of them down to the first that fails.
  const found = rows
    .flatMap((row, query) => row.map((value) => ({ value, query, worth: 1 / row.length })))
    .sort((a, b) => b.value - a.value);
  const k = Math.max(1, ...rows.map((row) => row.length));
  const missed = new Float64Array(rows.length);
  let sum = 0;
  let squares = 0;
  const unseen = 0.5 / (k * rows.length);
  const holds = (): boolean => {
    const mean = sum / rows.length;
    const variance = Math.max(0, squares / rows.length - mean ** 2);
    const error = Math.sqrt(variance / Math.max(1, rows.length - 1));
    return mean + SIGMAS * error + unseen <= 1 - recall;
  };
  if (!holds()) return null;
  for (let i = 0; i < found.length; ) {
    const { value } = found[i] as (typeof found)[0];
    for (; found[i]?.value === value; i++) {
      const { query, worth } = found[i] as (typeof found)[0];
      const before = missed[query] as number;
      missed[query] = before + worth;
      sum += worth;
      squares += (before + worth) ** 2 - before ** 2;
    }
    if (!holds()) return value;
  }
  return least;
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
    // The power of a whole number need not come back whole.
    const depth = Math.ceil(from * (to / from) ** part * beyond - 1e-6);
    const [near, far] = [margins[below]?.[i] ?? null, margins[above]?.[i] ?? null];
    const start = part === 1 ? far : near;
    const margin =
      start === null || far === null || beyond > 1
        ? Number.POSITIVE_INFINITY
        : start + part * (far - start);
    curve.push(k, Math.min(depth, 0xffffffff), margin);
  }
  return Float64Array.from(curve);
}
