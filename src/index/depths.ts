/**
 * How many candidates a search has to score so that it finds the share of the best documents that was
 * promised: measured on queries of which the best documents are known, because all were scored.
 */
import type { NativeQuery, NativeSnapshot, TaskLimits } from '../runtime/addon.js';
import type { StoredDepths } from './manifest.js';

/** A query, and the document that it was made of, which is no answer to it. */
export type KnownQuery = { query: NativeQuery; without: number | null };

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
  const ranks: Record<'scan' | 'lists', number[][]> = { scan: [], lists: [] };
  const started = performance.now();
  let done = 0;
  for (const { query, without } of queries) {
    if (done >= FEWEST_QUERIES && performance.now() - started > MOST_MS) break;
    const k = (ks.at(-1) as number) + 1;
    const [found] = await snapshot.search([query], { ...EXHAUSTIVE, k }, limits);
    const best = [...(found?.refs ?? [])].filter((ref) => ref !== without).slice(0, k - 1);
    for (const method of hasLists ? (['scan', 'lists'] as const) : (['scan'] as const)) {
      const order = await snapshot.candidates(query, method, deepest, limits);
      const places = new Map<number, number>();
      for (const [place, ref] of order.entries()) places.set(ref, place);
      // One that is not among them has no codes, and is scored in any case, or was not met.
      ranks[method].push(best.map((ref) => (places.get(ref) ?? deepest) + 1));
    }
    done += 1;
    onProgress(done / queries.length);
  }
  if (done === 0) return null;
  const tableOf = (rows: readonly number[][]): number[][] =>
    RECALLS.map((recall) => ks.map((k) => depthFor(rows, k, recall)));
  return {
    documents,
    queries: done,
    ks,
    recalls: RECALLS,
    scan: tableOf(ranks.scan),
    lists: hasLists ? tableOf(ranks.lists) : null,
  };
}

/**
 * The least depth at which the mean share of missed documents, and SIGMAS standard errors of it, stay
 * within what the recall allows. `rows`: of each query the ranks, from 1, of its best documents.
 */
export function depthFor(rows: readonly number[][], k: number, recall: number): number {
  const sorted = rows.map((row) => row.slice(0, k).sort((a, b) => a - b));
  const deepest = Math.max(1, ...sorted.map((row) => row.at(-1) ?? 1));
  const holds = (depth: number): boolean => {
    let sum = 0;
    let squares = 0;
    for (const row of sorted) {
      const missed = row.length === 0 ? 0 : row.filter((rank) => rank > depth).length / row.length;
      sum += missed;
      squares += missed ** 2;
    }
    const mean = sum / sorted.length;
    const variance = Math.max(0, squares / sorted.length - mean ** 2);
    return mean + SIGMAS * Math.sqrt(variance / sorted.length) <= 1 - recall;
  };
  let [low, high] = [1, deepest];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** For one recall: the documents measured among, then k and depth again and again, ascending. */
export function interpolate(
  { documents, ks, recalls }: StoredDepths,
  table: readonly number[][],
  recall: number,
): Float64Array {
  const next = recalls.findIndex((one) => one >= recall);
  const last = recalls.length - 1;
  const [above, below] = next < 0 ? [last, last] : [next, Math.max(0, next - 1)];
  const miss = (place: number): number => Math.log(1 - (recalls[place] as number));
  // Between two recalls the logarithm of the depth grows like that of what is missed shrinks.
  const part =
    above === below ? 1 : (Math.log(1 - recall) - miss(below)) / (miss(above) - miss(below));
  // Beyond the last one it goes on as the missed share shrinks.
  const beyond = next < 0 ? (1 - (recalls[last] as number)) / (1 - recall) : 1;
  const curve = [documents];
  for (const [i, k] of ks.entries()) {
    const from = Math.log(table[below]?.[i] as number);
    const to = Math.log(table[above]?.[i] as number);
    curve.push(k, Math.ceil(Math.exp(from + part * (to - from)) * beyond));
  }
  return Float64Array.from(curve);
}
