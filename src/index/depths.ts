/**
 * How many candidates a search has to score so that it finds the share of the best documents that was
 * promised: measured on queries of which the best documents are known, because all were scored.
 *
 * The promise is about the mean over queries. What is kept is the least depth from which on the upper
 * end of a one-sided 95 % interval of the mean share *missed* is low enough: the mean, 1.645 of its
 * standard errors, and half a document of one query more, which stands for what so few queries cannot
 * have shown (where all find everything, a standard error is 0 and says nothing). A smaller k never gets
 * a larger depth, as a query's best document is no harder to find than its ten best are on average, and
 * ten times the documents prove more; a higher recall never gets a smaller one.
 */
import type { NativeQuery, NativeSnapshot, TaskLimits } from '../runtime/addon.js';
import type { StoredDepths } from './manifest.js';

/** A query, and the document that it was made of, which is no answer to it. */
export type KnownQuery = { query: NativeQuery; without: number | null };

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
  const ranks: Record<'scan' | 'lists', number[][]> = { scan: [], lists: [] };
  const started = performance.now();
  let done = 0;
  for (const { query, without } of queries) {
    if (done >= FEWEST_QUERIES && performance.now() - started > MOST_MS) break;
    const k = (ks.at(-1) as number) + 1;
    const [found] = await snapshot.search([query], { ...EXHAUSTIVE, k }, limits);
    const best = [...(found?.refs ?? [])].filter((ref) => ref !== without).slice(0, k - 1);
    const rankOf = ranksAmong(await snapshot.candidates(query, 'scan', deepest, limits), without);
    // One that is not among them has no codes, and is scored in any case, or lies too deep.
    ranks.scan.push(best.map((ref) => rankOf.get(ref) ?? documents));
    if (hasLists) {
      ranks.lists.push(
        await listRanks(best, deepest, documents, async (depth) =>
          ranksAmong(await snapshot.candidates(query, 'lists', depth, limits), without),
        ),
      );
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
    scan: tableOf(ranks.scan, ks, documents),
    lists: hasLists ? tableOf(ranks.lists, ks, documents) : null,
  };
}

/** Ranks from 1, as if the document that the query was made of were not there. */
function ranksAmong(candidates: Uint32Array, without: number | null): Map<number, number> {
  const ranks = new Map<number, number>();
  for (const ref of candidates) if (ref !== without) ranks.set(ref, ranks.size + 1);
  return ranks;
}

/**
 * What lists find depends on how much is asked of them, as only four times as many are looked up again:
 * a document has its rank in the shortest look that finds it, but none that a shorter look has denied.
 */
async function listRanks(
  best: readonly number[],
  deepest: number,
  documents: number,
  look: (depth: number) => Promise<Map<number, number>>,
): Promise<number[]> {
  const ranks = new Array<number>(best.length).fill(0);
  for (let depth = SHORTEST, denied = 0; ranks.includes(0); denied = depth, depth *= 2) {
    const asked = Math.min(depth, deepest);
    const found = await look(asked);
    for (const [i, ref] of best.entries()) {
      const rank = found.get(ref);
      if (ranks[i] === 0 && rank !== undefined) ranks[i] = Math.max(rank, denied + 1);
    }
    if (asked === deepest) break;
  }
  return ranks.map((rank) => (rank === 0 ? documents : rank));
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

/** The least depth from which on the mean share missed is surely within what the recall allows. */
export function depthFor(
  rows: readonly (readonly number[])[],
  k: number,
  recall: number,
  documents: number,
): number {
  // Something changes only at ranks that occur: from the deepest of them up to the first that fails.
  const found = rows
    .flatMap((row, query) => {
      const best = row.slice(0, k);
      return best.map((rank) => ({ rank, query, worth: 1 / best.length }));
    })
    .sort((a, b) => b.rank - a.rank);
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
  // Not even what finds everything proves it.
  if (!holds()) return Math.min(documents, 2 * (found[0]?.rank ?? 1));
  for (let i = 0; i < found.length; ) {
    const rank = (found[i] as (typeof found)[0]).rank;
    for (; found[i]?.rank === rank; i++) {
      const { query, worth } = found[i] as (typeof found)[0];
      const before = missed[query] as number;
      missed[query] = before + worth;
      sum += worth;
      squares += (before + worth) ** 2 - before ** 2;
    }
    if (!holds()) return rank;
  }
  return 1;
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
    // The logarithm of a whole number need not come back whole.
    curve.push(k, Math.ceil(Math.exp(from + part * (to - from)) * beyond - 1e-6));
  }
  return Float64Array.from(curve);
}
