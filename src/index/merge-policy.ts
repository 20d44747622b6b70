/**
 * Which segments to merge. Size-tiered: a document is rewritten once per size class, so a million single
 * adds rewrite it about seven times and leave at most seven segments in each of seven classes.
 */

const FAN_IN = 8;

export type MergeCandidate = { documents: number; dead: number };

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
    if (members.length >= FAN_IN) return members;
  }
  const wasteful = segments.findIndex(({ documents, dead }) => dead * 2 > documents);
  return wasteful < 0 ? null : [wasteful];
}

/** floor(log8(live)), in integers: floating-point logarithms miss exact powers. */
function sizeClass(live: number): number {
  let size = 0;
  for (let rest = live; rest >= FAN_IN; rest = Math.floor(rest / FAN_IN)) size += 1;
  return size;
}
