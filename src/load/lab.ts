/**
 * Targets under load, step by step: first the capacity of each, then steady runs at shares of it. Targets
 * take turns in every round, so that what disturbs the machine disturbs all of them.
 */
import { cpus } from 'node:os';
import type { ArrivalKind } from './arrivals.js';
import { type Capacity, findCapacity, type Probe } from './capacity.js';
import { Latencies, PERCENTILES, type Percentile } from './latencies.js';
import { openLoop, type RunReport } from './run.js';
import type { LoadRequest, LoadTarget } from './target.js';

export type LabOptions = {
  targets: readonly LoadTarget[];
  request(i: number): LoadRequest;
  /** What p99 may be at capacity. */
  sloMs: number;
  /** Shares of the capacity; above 1 more comes than can be done. */
  utilisations: readonly number[];
  /** Requests a second instead of shares of a capacity, which then is not looked for. */
  rates?: readonly number[] | undefined;
  seconds: number;
  warmUpSeconds: number;
  repeats: number;
  arrivals: ArrivalKind;
  seed: number;
  signal?: AbortSignal | undefined;
  onProbe?(target: string, probe: Probe): void;
  onRun?(target: string, step: LoadStep, repeat: number): void;
};

/** Over the repeats: the median of their percentiles, the least and the most. */
export type Spread = { median: number; low: number; high: number };

export type LoadStep = {
  /** Null where rates were given. */
  utilisation: number | null;
  ratePerSecond: number;
  runs: RunReport[];
  /** Null where a run was unstable, or has fewer than ten requests above it. */
  latencyMs: Record<`p${Percentile}`, Spread | null>;
  meanMs: number | null;
  maxMs: number;
  /** Why there are no percentiles. */
  unstable: string | null;
  /** Answered in the order asked for, of all that were sent. */
  okShare: number;
};

export type TargetReport = { name: string; capacity: Capacity | null; steps: LoadStep[] };

export type LoadReport = {
  machine: { cpu: string; cores: number; node: string; platform: string };
  sloMs: number;
  seconds: number;
  repeats: number;
  arrivals: ArrivalKind;
  targets: TargetReport[];
};

/** Of one step, all runs together: for HdrHistogram's plotter. */
export type StepHistogram = { target: string; ratePerSecond: number; hgrm: string };

/** Throws ABORTED. */
export async function runLab(
  options: LabOptions,
): Promise<{ report: LoadReport; histograms: StepHistogram[] }> {
  const { targets, rates, utilisations, repeats } = options;
  const reports: TargetReport[] = [];
  for (const target of targets) {
    const capacity =
      rates === undefined
        ? await findCapacity({
            ...runOf(options, target, 0),
            sloMs: options.sloMs,
            onProbe: (probe) => options.onProbe?.(target.name, probe),
          })
        : null;
    reports.push({ name: target.name, capacity, steps: [] });
  }
  const histograms: StepHistogram[] = [];
  const count = rates?.length ?? utilisations.length;
  for (let s = 0; s < count; s++) {
    const steps = reports.map(({ capacity }) => {
      const utilisation = rates === undefined ? (utilisations[s] as number) : null;
      const rate = rates?.[s] ?? (utilisation as number) * (capacity?.ratePerSecond ?? 0);
      return { step: newStep(utilisation, rate), latencies: [] as Latencies[] };
    });
    for (let repeat = 0; repeat < repeats; repeat++) {
      for (const [t, target] of targets.entries()) {
        const { step, latencies } = steps[t] as (typeof steps)[number];
        if (step.ratePerSecond === 0) continue;
        const run = await openLoop({
          ...runOf(options, target, 1 + s * repeats + repeat),
          ratePerSecond: step.ratePerSecond,
        });
        step.runs.push(run.report);
        latencies.push(run.latencies);
        options.onRun?.(target.name, step, repeat);
      }
    }
    for (const [t, { step, latencies }] of steps.entries()) {
      sumUp(step, latencies);
      reports[t]?.steps.push(step);
      const all = new Latencies();
      for (const one of latencies) all.add(one);
      const { ratePerSecond } = step;
      const name = targets[t]?.name ?? '';
      if (all.count > 0) histograms.push({ target: name, ratePerSecond, hgrm: all.hgrm() });
    }
  }
  const { sloMs, seconds, arrivals } = options;
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
  return { report: { machine, sloMs, seconds, repeats, arrivals, targets: reports }, histograms };
}

function runOf(options: LabOptions, target: LoadTarget, round: number) {
  const { request, seconds, warmUpSeconds, arrivals, signal } = options;
  // Other arrivals in every round, the same for all targets.
  return { target, request, seconds, warmUpSeconds, arrivals, signal, seed: options.seed + round };
}

function newStep(utilisation: number | null, ratePerSecond: number): LoadStep {
  const latencyMs = Object.fromEntries(PERCENTILES.map((p) => [`p${p}`, null]));
  return {
    utilisation,
    ratePerSecond,
    runs: [],
    latencyMs: latencyMs as LoadStep['latencyMs'],
    meanMs: null,
    maxMs: 0,
    unstable: ratePerSecond === 0 ? 'The target has no capacity within the SLO.' : null,
    okShare: 0,
  };
}

function sumUp(step: LoadStep, latencies: readonly Latencies[]): void {
  const sent = step.runs.reduce((sum, run) => sum + run.sent, 0);
  const ok = step.runs.reduce((sum, run) => sum + run.outcomes.ok, 0);
  step.okShare = ok / Math.max(1, sent);
  step.maxMs = Math.max(0, ...latencies.map(({ maxMs }) => maxMs));
  step.unstable ??= step.runs.find(({ unstable }) => unstable !== null)?.unstable ?? null;
  if (step.unstable !== null || latencies.some(({ count }) => count === 0)) return;
  step.meanMs = median(latencies.map(({ meanMs }) => meanMs));
  for (const percentile of PERCENTILES) {
    const values = latencies.map((one) => one.percentileMs(percentile));
    if (values.includes(null)) continue;
    const numbers = values as number[];
    step.latencyMs[`p${percentile}`] = {
      median: median(numbers),
      low: Math.min(...numbers),
      high: Math.max(...numbers),
    };
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
