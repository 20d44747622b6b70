/**
 * Which segments to merge. Size-tiered: a document is rewritten once per size class, so a million single
 * adds rewrite it about seven times and leave at most seven segments in each of seven classes. Only
 * neighbours are merged, so that documents keep the order of the calls that stored them: it decides
 * between equal scores, and what centroids are learned from, and must not depend on when a merge ran.
 */

const FAN_IN = 8;
// Every lookup of an id asks each segment.
const MAX_SEGMENTS = 64;
// While a segment is written, each of its documents takes about 72 bytes of memory (its entry, its
// slots, its place): 300 MB here. Its bytes take their place on the disk beside the old ones, and an
// hour at 20 MB a second. What is larger is left as it is, until `compact` is asked for.
const MAX_DOCUMENTS = 4_000_000;
const MAX_TOKEN_BYTES = 64 * 2 ** 30;

/** `tokenBytes`: of its live documents. */
export type MergeCandidate = { documents: number; dead: number; tokenBytes: number };

/** Indexes, ascending and without a gap, of the segments to merge into one; null when all is well. */
export function planMerge(segments: readonly MergeCandidate[]): number[] | null {
  const classes = segments.map(({ documents, dead }) => sizeClass(documents - dead));
  // The smallest class first: its merge may fill the next one.
  for (const size of [...new Set(classes)].sort((a, b) => a - b)) {
    for (const run of runsOf(classes, size)) {
      const isMember = (i: number): boolean => classes[i] === size;
      if (run.filter(isMember).length < FAN_IN) continue;
      const plan = longestWithin(run, segments, (window) => window.filter(isMember).length > 1);
      if (plan !== null) return plan;
    }
  }
  const wasteful = segments.findIndex(
    ({ documents, dead }, i) => dead * 2 > documents && isWithin([i], segments),
  );
  if (wasteful >= 0) return [wasteful];
  return segments.length > MAX_SEGMENTS ? cheapest(segments) : null;
}

/** Stretches of segments that are not above a class. */
function runsOf(classes: readonly number[], size: number): number[][] {
  const runs: number[][] = [[]];
  for (const [i, one] of classes.entries()) {
    if (one > size) runs.push([]);
    else (runs.at(-1) as number[]).push(i);
  }
  return runs;
}

/** The longest part of a run that makes a segment which is not too large. */
function longestWithin(
  run: readonly number[],
  segments: readonly MergeCandidate[],
  isWorthIt: (window: readonly number[]) => boolean,
): number[] | null {
  let longest: number[] | null = null;
  let start = 0;
  for (let end = 1; end <= run.length; end++) {
    while (!isWithin(run.slice(start, end), segments)) start += 1;
    if (end - start <= (longest?.length ?? 1)) continue;
    const window = run.slice(start, end);
    if (isWorthIt(window)) longest = window;
  }
  return longest;
}

/** Where sizes alternate, few neighbours are alike: then those that cost least. */
function cheapest(segments: readonly MergeCandidate[]): number[] | null {
  let best: number[] | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (let start = 0; start + FAN_IN <= segments.length; start++) {
    const window = Array.from({ length: FAN_IN }, (_, i) => start + i);
    const { documents } = sizeOf(window, segments);
    if (documents < least && isWithin(window, segments)) [best, least] = [window, documents];
  }
  return best;
}

function isWithin(window: readonly number[], segments: readonly MergeCandidate[]): boolean {
  const { documents, bytes } = sizeOf(window, segments);
  return documents <= MAX_DOCUMENTS && bytes <= MAX_TOKEN_BYTES;
}

function sizeOf(
  window: readonly number[],
  segments: readonly MergeCandidate[],
): { documents: number; bytes: number } {
  let documents = 0;
  let bytes = 0;
  for (const i of window) {
    const segment = segments[i] as MergeCandidate;
    documents += segment.documents - segment.dead;
    bytes += segment.tokenBytes;
  }
  return { documents, bytes };
}

/** floor(log8(live)), in integers: floating-point logarithms miss exact powers. */
function sizeClass(live: number): number {
  let size = 0;
  for (let rest = live; rest >= FAN_IN; rest = Math.floor(rest / FAN_IN)) size += 1;
  return size;
}
