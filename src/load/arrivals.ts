/** When requests come, whatever becomes of those before them: an open loop. */
import { seededRandom } from '../random.js';

export const ARRIVALS = ['poisson', 'constant'] as const;
export type ArrivalKind = (typeof ARRIVALS)[number];

/**
 * Milliseconds from the start, ascending, below `seconds`. poisson: gaps are exponential, as of many
 * people who know nothing of each other. constant: one gap for all, which queues far less.
 */
export function* arrivals(
  kind: ArrivalKind,
  ratePerSecond: number,
  seconds: number,
  seed: number,
): Generator<number, void> {
  const gap = 1000 / ratePerSecond;
  const random = seededRandom(seed);
  const end = 1000 * seconds;
  for (let at = 0; ; ) {
    at += kind === 'constant' ? gap : -gap * Math.log(1 - random());
    if (at >= end) return;
    yield at;
  }
}
