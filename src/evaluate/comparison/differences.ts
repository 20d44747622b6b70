/** Which differences between systems are real: one family of paired tests over the same queries. */
import { type Interval, meanInterval } from '../bootstrap.js';
import { type Effect, effectOf } from '../effect.js';
import {
  holm,
  minimumDetectableDifference,
  nonInferiority,
  type Outcome,
  randomisationTest,
} from '../significance.js';
import type { Measured } from './report.js';

export type Difference = {
  system: string;
  against: string;
  /** system - against, with its BCa interval. */
  difference: Interval;
  /** Of the paired randomisation test, alone and adjusted for all comparisons of the report (Holm). */
  p: number;
  pHolm: number;
  effect: Effect;
  /** What a test of these queries finds four times in five; null for a single query. */
  minimumDetectable: number | null;
  outcome: Outcome;
};

export const SIGNIFICANT = 0.05;

/** Intervals are each for itself: what they say of a difference that so many tests did not find. */
const WITHOUT: Readonly<Record<Outcome, Outcome>> = {
  superior: 'non-inferior',
  'non-inferior': 'non-inferior',
  inferior: 'inconclusive',
  inconclusive: 'inconclusive',
};

type Settings = {
  margin: number;
  seed: number;
  rounds: number;
  resamples: number;
  confidence: number;
};

/** The tests of a report, in the order of its systems. */
export function testDifferences(
  measured: readonly Measured[],
  { margin, seed, rounds, resamples, confidence }: Settings,
): Difference[] {
  const pairs = pairsOf(measured);
  const tests = pairs.map(([system, against]) => {
    const differences = system.values.map((value, i) => value - (against.values[i] as number));
    const difference = meanInterval(differences, { seed, resamples, confidence });
    return {
      system: system.row.name,
      against: against.row.name,
      difference,
      p: randomisationTest(differences, { seed, rounds }),
      effect: effectOf(against.values, system.values),
      minimumDetectable: differences.length < 2 ? null : minimumDetectableDifference(differences),
      outcome: nonInferiority(difference, margin),
    };
  });
  const adjusted = holm(tests.map(({ p }) => p));
  return tests.map((test, i) => {
    const pHolm = adjusted[i] as number;
    return { ...test, pHolm, outcome: pHolm < SIGNIFICANT ? test.outcome : WITHOUT[test.outcome] };
  });
}

/**
 * Rerankers at their deepest against their first stage, against the cross-encoder over the same one, and
 * at their shallowest against their deepest; first stages against the first of them. Every further test
 * would cost these power, so the depths between are only measured.
 */
function pairsOf(measured: readonly Measured[]): [Measured, Measured][] {
  const pairs: [Measured, Measured][] = [];
  const [base] = measured;
  const systems = new Map<string, Measured[]>();
  for (const one of measured) {
    const depths = systems.get(one.row.system);
    if (depths === undefined) systems.set(one.row.system, [one]);
    else depths.push(one);
  }
  const deepest = [...systems.values()].map((depths) => depths.at(-1) as Measured);
  for (const one of deepest) {
    const { firstStage, kind, system } = one.row;
    if (firstStage === null) {
      if (base !== undefined && one !== base) pairs.push([one, base]);
      continue;
    }
    const first = measured.find(({ row }) => row.name === firstStage);
    if (first !== undefined) pairs.push([one, first]);
    const dear = deepest.find(
      ({ row }) => row.kind === 'cross-encoder' && row.firstStage === firstStage,
    );
    if (dear !== undefined && kind !== 'cross-encoder') pairs.push([one, dear]);
    const shallowest = systems.get(system)?.[0];
    if (shallowest !== undefined && shallowest !== one) pairs.push([shallowest, one]);
  }
  return pairs;
}
