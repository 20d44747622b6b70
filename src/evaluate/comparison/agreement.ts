/** Do two systems order the same documents alike, and where do they part? */

import { kendallTau, rankBiasedOverlap, topOverlap } from '../../rank-agreement.js';
import { type Interval, meanInterval } from '../bootstrap.js';
import type { TestCollection } from '../open-collection.js';
import type { Measured } from './report.js';
import { idsOf } from './rows.js';

export type Flip = {
  query: string;
  text: string;
  /** Of the measure, for each of the two. */
  values: [number, number];
  /** Best document of each. */
  best: [string | null, string | null];
};

export type Agreement = {
  systems: [string, string];
  /** Over the documents that both read; null where no query has two of them. */
  tau: Interval | null;
  rbo: Interval;
  top5: Interval;
  /** Queries that the two measure most differently on, the largest difference first. */
  flips: Flip[];
};

const FLIPS = 5;
const TOP = 5;

type Settings = { seed: number; resamples: number; confidence: number };

/** Each pair of systems at their deepest, over the same first stage; a first stage with its rerankers. */
export function agreementOf(
  collection: TestCollection,
  measured: readonly Measured[],
  settings: Settings,
): Agreement[] {
  const deepest = new Map<string, Measured>();
  for (const one of measured) deepest.set(one.row.system, one);
  const systems = [...deepest.values()];
  const pairs: [Measured, Measured][] = [];
  systems.forEach((a, i) => {
    for (const b of systems.slice(i + 1)) {
      const base = a.row.firstStage ?? a.row.name;
      const other = b.row.firstStage ?? b.row.name;
      const bothFirst = a.row.firstStage === null && b.row.firstStage === null;
      if (base === other || bothFirst) pairs.push([a, b]);
    }
  });
  return pairs.map(([a, b]) => agree(collection, a, b, settings));
}

function agree(
  collection: TestCollection,
  a: Measured,
  b: Measured,
  settings: Settings,
): Agreement {
  const taus: number[] = [];
  const rbos: number[] = [];
  const overlaps: number[] = [];
  const flips: (Flip & { size: number })[] = [];
  collection.queries.forEach(({ id, text }, query) => {
    const depth = Math.min(a.row.depth ?? Infinity, b.row.depth ?? Infinity);
    const inA = idsOf(a.row.ranking(query)).slice(0, depth);
    const inB = idsOf(b.row.ranking(query)).slice(0, depth);
    const tau = kendallTau(inA, inB);
    if (!Number.isNaN(tau)) taus.push(tau);
    rbos.push(rankBiasedOverlap(inA, inB));
    if (inA.length > 0) overlaps.push(topOverlap(inA, inB, TOP));
    const values: [number, number] = [a.values[query] as number, b.values[query] as number];
    const size = Math.abs(values[0] - values[1]);
    if (size > 0)
      flips.push({ query: id, text, values, best: [inA[0] ?? null, inB[0] ?? null], size });
  });
  flips.sort((x, y) => y.size - x.size);
  return {
    systems: [a.row.name, b.row.name],
    tau: taus.length === 0 ? null : meanInterval(taus, settings),
    rbo: meanInterval(rbos, settings),
    top5: overlaps.length === 0 ? { mean: 0, low: 0, high: 0 } : meanInterval(overlaps, settings),
    flips: flips.slice(0, FLIPS).map(({ size: _, ...flip }) => flip),
  };
}
