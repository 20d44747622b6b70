/**
 * Which segments to merge. Size-tiered: a document is rewritten once per size class, so a million single
 * adds rewrite it about seven times and leave at most seven segments in each of seven classes.
 */

const FAN_IN = 8;
// While a segment is written, each of its documents takes about 72 bytes of memory (its entry, its
// slots, its place): 300 MB here. Its bytes take their place on the disk beside the old ones, and an
// hour at 20 MB a second. What is larger is left as it is, until `compact` is asked for.
const MAX_DOCUMENTS = 4_000_000;
const MAX_TOKEN_BYTES = 64 * 2 ** 30;

/** `tokenBytes`: of its live documents. */
export type MergeCandidate = { documents: number; dead: number; tokenBytes: number };

/** Indexes, ascending, of the segments to merge into one; null when all is well. */
export function planMerge(segments: readonly MergeCandidate[]): number[] | null {
  const classes = new Map<number, number[]>();
  for (const [i, { documents, dead }] of segments.entries()) {
    const size = sizeClass(documents - dead);
    const members = classes.get(size);
    if (members === undefined) classes.set(size, [i]);
    else members.push(i);
  }
  // The smallest class first: its merge may fill the next one.
  for (const size of [...classes.keys()].sort((a, b) => a - b)) {
    const members = classes.get(size) as number[];
    if (members.length < FAN_IN) continue;
    const plan = withinBounds(members, segments);
    if (plan.length > 1) return plan;
  }
  const wasteful = segments.findIndex(
    ({ documents, dead }, i) => dead * 2 > documents && withinBounds([i], segments).length === 1,
  );
  return wasteful < 0 ? null : [wasteful];
}

/** Members from the first on that together make a segment which is not too large. */
function withinBounds(members: readonly number[], segments: readonly MergeCandidate[]): number[] {
  let documents = 0;
  let bytes = 0;
  const plan: number[] = [];
  for (const member of members) {
    const segment = segments[member] as MergeCandidate;
    const live = segment.documents - segment.dead;
    if (documents + live > MAX_DOCUMENTS || bytes + segment.tokenBytes > MAX_TOKEN_BYTES) continue;
    documents += live;
    bytes += segment.tokenBytes;
    plan.push(member);
  }
  return plan;
}

/** floor(log8(live)), in integers: floating-point logarithms miss exact powers. */
function sizeClass(live: number): number {
  let size = 0;
  for (let rest = live; rest >= FAN_IN; rest = Math.floor(rest / FAN_IN)) size += 1;
  return size;
}
