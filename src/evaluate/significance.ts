/**
 * Whether two systems differ, from one value per query and system. Pairing by query is what makes the
 * tests sharp: queries differ far more than systems do.
 */
import { seededBits } from '../random.js';
import { type Interval, normalQuantile } from './bootstrap.js';

export type RandomisationOptions = {
  /** Random assignments. Default: 100,000, which gives p = 0.05 to within 0.0014. */
  rounds?: number;
  seed?: number;
};

/** Queries whose signs one table entry holds: 2^8 sums of each group stay in the CPU's cache. */
const GROUP = 8;
const ENTRIES = 2 ** GROUP;
/** Rounds whose sums are kept at once, 32 KiB of them. */
const BLOCK = 4096;
const ROUNDS = 100_000;

/**
 * Two-sided p of the paired randomisation test (R. A. Fisher, The Design of Experiments, 1935; for
 * retrieval M. Smucker, J. Allan and B. Carterette, CIKM 2007): how often the mean difference is at
 * least as large when each query's two values are exchanged by the toss of a coin. All assignments are
 * looked at where there are no more than `rounds` of them, which is exact; else as many are drawn, and p
 * is (found + 1) / (rounds + 1), never 0 (B. Phipson and G. Smyth, SAGMB 9 (1), 2010). 1 where no query
 * differs.
 */
export function randomisationTest(
  differences: ArrayLike<number>,
  { rounds = ROUNDS, seed = 0 }: RandomisationOptions = {},
): number {
  // What does not differ adds nothing, whichever way the coin falls.
  const moved = Float64Array.from(differences).filter((difference) => difference !== 0);
  if (moved.length === 0) return 1;
  const observed = Math.abs(moved.reduce((sum, value) => sum + value, 0));
  // Sums in another order differ in the last bits, and count as equal.
  const size = moved.reduce((sum, value) => sum + Math.abs(value), 0);
  const least = observed - 1e-12 * size;
  const sums = signedSums(moved);
  const groups = sums.length / ENTRIES;
  if (moved.length < 31 && 2 ** moved.length <= rounds) {
    const assignments = 2 ** moved.length;
    let found = 0;
    for (let signs = 0; signs < assignments; signs++) {
      let sum = 0;
      for (let group = 0; group < groups; group++) {
        sum += sums[group * ENTRIES + ((signs >>> (group * GROUP)) & (ENTRIES - 1))] as number;
      }
      if (Math.abs(sum) >= least) found += 1;
    }
    return found / assignments;
  }
  return (drawnAsExtreme(sums, least, rounds, seed) + 1) / (rounds + 1);
}

/** How many of `rounds` random assignments have a sum of at least `least`, in either direction. */
function drawnAsExtreme(sums: Float64Array, least: number, rounds: number, seed: number): number {
  const bits = seededBits(seed);
  const totals = new Float64Array(BLOCK);
  let found = 0;
  for (let from = 0; from < rounds; from += BLOCK) {
    const count = Math.min(BLOCK, rounds - from);
    totals.fill(0);
    // Groups outside, rounds inside: the table of four groups (8 KiB) stays next to the core.
    for (let at = 0; at < sums.length; at += 4 * ENTRIES) {
      for (let round = 0; round < count; round++) {
        const tosses = bits();
        totals[round] =
          (totals[round] as number) +
          (sums[at + (tosses & 255)] as number) +
          (sums[at + 256 + ((tosses >>> 8) & 255)] as number) +
          (sums[at + 512 + ((tosses >>> 16) & 255)] as number) +
          (sums[at + 768 + (tosses >>> 24)] as number);
      }
    }
    for (let round = 0; round < count; round++) {
      if (Math.abs(totals[round] as number) >= least) found += 1;
    }
  }
  return found;
}

/**
 * For each group of eight values the sums that all 256 choices of signs give; groups come in fours, for
 * the four bytes of a word of coin tosses.
 */
function signedSums(values: Float64Array): Float64Array {
  const groups = 4 * Math.ceil(values.length / (4 * GROUP));
  const sums = new Float64Array(groups * ENTRIES);
  for (let group = 0; group < groups; group++) {
    const members = values.subarray(group * GROUP, (group + 1) * GROUP);
    for (let signs = 0; signs < ENTRIES; signs++) {
      let sum = 0;
      for (let i = 0; i < members.length; i++) {
        const value = members[i] as number;
        sum += (signs >>> i) & 1 ? value : -value;
      }
      sums[group * ENTRIES + signs] = sum;
    }
  }
  return sums;
}

/**
 * p values adjusted for having made all of these tests, in the order given: each may be held against
 * 0.05, and the chance of any false find stays below 0.05 (S. Holm, Scandinavian Journal of Statistics
 * 6 (2), 1979).
 */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((_, i) => i).sort((a, b) => (ps[a] as number) - (ps[b] as number));
  const adjusted = new Array<number>(ps.length);
  let highest = 0;
  order.forEach((place, rank) => {
    highest = Math.max(highest, Math.min(1, (ps[place] as number) * (ps.length - rank)));
    adjusted[place] = highest;
  });
  return adjusted;
}

/**
 * The smallest true mean difference that a two-sided test of as many queries, which differ as these do,
 * would find with this power: (z(1 - alpha / 2) + z(power)) * sd / sqrt(n), as of a normal distribution
 * (J. Cohen, Statistical Power Analysis, 1988; T. Sakai, Information Retrieval 19, 2016). NaN for fewer
 * than two queries.
 */
export function minimumDetectableDifference(
  differences: ArrayLike<number>,
  { alpha = 0.05, power = 0.8 }: { alpha?: number; power?: number } = {},
): number {
  const n = differences.length;
  if (n < 2) return Number.NaN;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += (differences[i] as number) / n;
  let squares = 0;
  for (let i = 0; i < n; i++) squares += ((differences[i] as number) - mean) ** 2;
  const standardError = Math.sqrt(squares / (n - 1) / n);
  return (normalQuantile(1 - alpha / 2) + normalQuantile(power)) * standardError;
}

/**
 * superior: better, whatever the margin. non-inferior: not worse by the margin. inferior: worse by more
 * than the margin. inconclusive: the queries do not say.
 */
export type Outcome = 'superior' | 'non-inferior' | 'inferior' | 'inconclusive';

/**
 * What the interval of a mean difference (new - old) says of a margin that is still acceptable, as in
 * trials of medicines (G. Piaggio et al., CONSORT extension, JAMA 308 (24), 2012). With an interval of
 * 95 % each one-sided statement has an error of 2.5 %.
 */
export function nonInferiority({ low, high }: Interval, margin: number): Outcome {
  if (low > 0) return 'superior';
  if (low > -margin) return 'non-inferior';
  return high < -margin ? 'inferior' : 'inconclusive';
}
