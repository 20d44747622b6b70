/**
 * How fast graphs run side by side: every round runs each of them once, so that what slows the machine
 * down for a while slows all of them.
 */
import type { GraphSpec } from '../runtime/session.js';
import type { ModelRunner } from './model-runner.js';
import type { Trial } from './model-trial.js';

export type Candidate = { graph: GraphSpec; runner: ModelRunner };

export type GraphSpeed = {
  runs: number;
  /** Of one short text alone. */
  shortMedianMs: number;
  shortP99Ms: number;
  /** Long texts, one at a time on every model thread. */
  longPerSecond: number;
};

const LEAST_ROUNDS = 3;
const MOST_ROUNDS = 100;
const SHORT_RUNS_A_ROUND = 3;

/** Speeds in the order of the candidates. At least three rounds, whatever time they take. */
export async function measureSpeed(
  trial: Trial,
  candidates: readonly Candidate[],
  milliseconds: number,
): Promise<GraphSpeed[]> {
  const until = performance.now() + milliseconds;
  const short = candidates.map((): number[] => []);
  const long = candidates.map((): number[] => []);
  for (const candidate of candidates) {
    await runLong(trial, candidate);
    await trial.runShort(candidate.runner, candidate.graph);
  }
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= LEAST_ROUNDS && performance.now() > until) break;
    for (const [i, candidate] of candidates.entries()) {
      for (let run = 0; run < SHORT_RUNS_A_ROUND; run++) {
        short[i]?.push(await timed(() => trial.runShort(candidate.runner, candidate.graph)));
      }
      long[i]?.push(await timed(() => runLong(trial, candidate)));
    }
  }
  return candidates.map(({ runner }, i) => {
    const shortMs = sorted(short[i] as number[]);
    return {
      runs: shortMs.length,
      shortMedianMs: quantile(shortMs, 0.5),
      shortP99Ms: quantile(shortMs, 0.99),
      longPerSecond: (1000 * runner.workers) / quantile(sorted(long[i] as number[]), 0.5),
    };
  });
}

/** On all threads at once. */
async function runLong(trial: Trial, { runner, graph }: Candidate): Promise<void> {
  await Promise.all(Array.from({ length: runner.workers }, () => trial.runLong(runner, graph)));
}

async function timed(run: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

function sorted(values: readonly number[]): number[] {
  return [...values].sort((a, b) => a - b);
}

function quantile(ascending: readonly number[], share: number): number {
  return ascending[Math.ceil(share * ascending.length) - 1] ?? Number.NaN;
}

/**
 * The fastest, by both loads: least product of the short text's latency and the long text's time. The
 * first is what is used anyway, and stays unless another is better by more than chance would have it.
 */
export function fastestOf<T extends { speed: GraphSpeed }>(measured: readonly T[]): T | undefined {
  const cost = ({ speed }: T): number => speed.shortMedianMs / speed.longPerSecond;
  const [usual] = measured;
  const [best] = [...measured].sort((a, b) => cost(a) - cost(b));
  return usual === undefined || best === undefined || cost(best) > (1 - CHANCE) * cost(usual)
    ? usual
    : best;
}

const CHANCE = 0.1;
