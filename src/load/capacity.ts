/** The largest rate at which the target keeps its promise. */
import { openLoop, type RunOptions, type RunReport } from './run.js';

export type CapacityOptions = Omit<RunOptions, 'ratePerSecond'> & {
  /** What p99 may be. */
  sloMs: number;
  onProbe?(probe: Probe): void;
};

export type Probe = {
  ratePerSecond: number;
  p99Ms: number | null;
  kept: boolean;
  why: string | null;
};

export type Capacity = { ratePerSecond: number; probes: Probe[] };

/** Between the rate that is kept and the one that is not, at the end. */
const WITHIN = 0.05;
const MOST_PROBES = 14;
/** Requests that may be shed or fail. */
const MOST_REFUSED = 0.01;
/** Callers that ask again as soon as they are answered, for a first guess. */
const CALLERS = 16;

/** By doubling and halving the interval. A target that keeps no rate at all has the capacity 0. */
export async function findCapacity(options: CapacityOptions): Promise<Capacity> {
  const probes: Probe[] = [];
  const tried = async (ratePerSecond: number): Promise<boolean> => {
    const { report, latencies } = await openLoop({ ...options, ratePerSecond });
    const p99Ms = latencies.percentileMs(99) ?? (latencies.count === 0 ? null : latencies.maxMs);
    const why = brokenBy(report, p99Ms, options.sloMs);
    const probe = { ratePerSecond, p99Ms, kept: why === null, why };
    probes.push(probe);
    options.onProbe?.(probe);
    return why === null;
  };
  let rate = Math.max(1, 0.7 * (await closedLoop(options)));
  let low = 0;
  let high = Number.POSITIVE_INFINITY;
  while (probes.length < MOST_PROBES && !(low > 0 && high / low - 1 < WITHIN)) {
    if (await tried(rate)) low = rate;
    else high = rate;
    if (high <= 0.5) break;
    rate = low === 0 ? high / 2 : high === Number.POSITIVE_INFINITY ? low * 1.5 : (low + high) / 2;
  }
  return { ratePerSecond: low, probes };
}

function brokenBy(report: RunReport, p99Ms: number | null, sloMs: number): string | null {
  const { unstable, outcomes, sent } = report;
  if (unstable !== null) return unstable;
  const refused = outcomes.shed + outcomes.failed;
  if (refused > MOST_REFUSED * sent) return `${refused} of ${sent} requests were shed or failed.`;
  if (p99Ms === null) return 'Nothing was answered.';
  return p99Ms <= sloMs ? null : `p99 was ${p99Ms.toFixed(1)} ms.`;
}

/** Answers a second to callers that wait for each. */
async function closedLoop({ target, request, warmUpSeconds }: CapacityOptions): Promise<number> {
  const started = performance.now();
  const end = started + 1000 * Math.max(1, warmUpSeconds);
  let next = 0;
  let done = 0;
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (; performance.now() < end; done++) await target.send(request(next++));
    }),
  );
  return (1000 * done) / (performance.now() - started);
}
