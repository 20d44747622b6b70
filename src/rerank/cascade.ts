/**
 * A ranking as it goes through its stages, each of which reads the best of the one before. What a stage
 * cannot do in its time, or at all, leaves the order as it was: the worst case is the order that came in.
 */
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import type { Degradation, Judgement, StageReport, StageScore } from '../types.js';
import { checkJudgement } from './judgement.js';
import { within } from './within.js';

/** Puts the scored ones in order: best first, ties by previous rank. */
export type Fuse = (previous: readonly (number | null)[], scores: readonly number[]) => number[];

export type RunnableStage = {
  name: string;
  /** How many of its best the next stage reads; null: all that it read itself. */
  keep: number | null;
  /** Its share of the time; null: all that is left. */
  budgetMs: number | null;
  /** Scores that the order follows, from those of the stage before and its own; null: its own. */
  fuse: Fuse | null;
  /** Whether the gate may skip it. */
  gated: boolean;
  /** Scores that are there already, in the order of the candidates: it need not be run. */
  known: Float32Array | null;
  /** Throw what it raises instead of going on without it; to run out of time is no failure. */
  strict: boolean;
  /** `positions` of candidates, best first; scores in the same order, NaN where it did not get to. */
  judge(positions: readonly number[], limits: StageLimits): Promise<StageJudgement>;
};

/** `until`: when its time is up, of performance.now(); Infinity: never. */
export type StageLimits = { signal: AbortSignal; until: number };

export type StageJudgement = Judgement & {
  /** Which of the positions are no candidates after all: unknown, kept out, deleted meanwhile. */
  absent?: ReadonlySet<number>;
};

export type CascadeRun = {
  /** How many candidates come in, best first. */
  count: number;
  stages: readonly RunnableStage[];
  /** When the call began, and when all must be over, of performance.now(); Infinity: never. */
  since: number;
  until: number;
  signal?: AbortSignal | undefined;
  /** What candidates come with, the more the better; absent: nothing. */
  firstScores?: readonly number[] | undefined;
  /** Whether the order so far is surely right, asked once, before the first gated stage. */
  gate?: ((standing: Standing) => boolean) | undefined;
};

/** The order so far. */
export type Standing = {
  /** Positions of candidates, best first. */
  order: readonly number[];
  /** By position: every score so far, in the order of the stages. */
  scores: readonly (readonly StageScore[])[];
};

export type CascadeResult = {
  order: number[];
  scores: StageScore[][];
  /** By position: why, from a stage that can say. */
  explanations: ReadonlyMap<number, string>;
  reports: StageReport[];
  degraded: Degradation | null;
};

/** Throws ABORTED when the caller's signal fires, and with `strict` what stages raise. */
export async function runCascade(run: CascadeRun): Promise<CascadeResult> {
  const { count, stages, since, until, signal, firstScores, gate } = run;
  const scores = Array.from({ length: count }, (): StageScore[] => []);
  const explanations = new Map<number, string>();
  const reports: StageReport[] = [];
  const order = Array.from({ length: count }, (_, i) => i);
  const standing = { order, scores };
  let head = Number.POSITIVE_INFINITY;
  let degraded: Degradation | null = null;
  let sure: boolean | undefined;
  let spent = false;
  for (const stage of stages) {
    const read = order.slice(0, head);
    head = Math.min(head, stage.keep ?? head);
    const report: StageReport = {
      stage: stage.name,
      candidates: read.length,
      scored: 0,
      startMs: performance.now() - since,
      ms: 0,
      outcome: 'ran',
      cause: null,
    };
    reports.push(report);
    if (read.length === 0) continue;
    if (stage.gated && gate !== undefined) {
      sure ??= gate(standing);
      if (sure) {
        report.outcome = 'skipped';
        continue;
      }
    }
    if (stage.known !== null) {
      report.scored = take(stage, read, { scores: stage.known }, standing, firstScores);
      continue;
    }
    const started = performance.now();
    const end: number = spent ? started : Math.min(until, started + (stage.budgetMs ?? Infinity));
    try {
      const judgement = await within(end, signal, (inner) =>
        stage.judge(read, { signal: inner, until: end }),
      );
      report.candidates -= judgement.absent?.size ?? 0;
      report.scored = take(stage, read, judgement, standing, firstScores);
      explain(read, judgement, explanations);
      if (report.scored < report.candidates) {
        report.outcome = 'partial';
        report.cause = 'deadline';
      }
    } catch (error) {
      if (signal?.aborted || !(error instanceof MaxSimError)) throw error;
      const cause = causeOf(error.code);
      if (cause === null || (stage.strict && cause !== 'deadline')) throw error;
      report.outcome = 'failed';
      report.cause = cause;
      // Timers may fire a little early: what is left by the clock is no time for anybody.
      spent ||= performance.now() > until - 2;
      report.message = error.message;
    }
    report.ms = performance.now() - started;
    if (report.cause !== null) degraded ??= degradation(report);
  }
  return { order, scores, explanations, reports, degraded };
}

/** Puts the head of `order` in the order of a judgement, without those absent; how many it scored. */
function take(
  stage: RunnableStage,
  read: readonly number[],
  judgement: StageJudgement,
  { order, scores }: { order: number[]; scores: StageScore[][] },
  firstScores: readonly number[] | undefined,
): number {
  const own = checkJudgement(stage.name, judgement, read.length).scores;
  const best: { position: number; own: number; by: number }[] = [];
  const rest: number[] = [];
  read.forEach((position, i) => {
    if (judgement.absent?.has(position)) return;
    const score = own[i] as number;
    if (Number.isNaN(score)) rest.push(position);
    else best.push({ position, own: score, by: score });
  });
  if (stage.fuse !== null) {
    const fused = stage.fuse(
      best.map(
        ({ position }) => scores[position]?.at(-1)?.score ?? firstScores?.[position] ?? null,
      ),
      best.map((one) => one.own),
    );
    best.forEach((one, i) => {
      one.by = fused[i] as number;
    });
  }
  // Array.sort is stable: equal scores keep the order of the stage before.
  best.sort((a, b) => b.by - a.by);
  best.forEach(({ position, own: score }, rank) => {
    scores[position]?.push({ stage: stage.name, score, rank: rank + 1 });
  });
  const behind = order.slice(read.length);
  order.length = 0; // not splice: a hundred thousand arguments are too many
  for (const { position } of best) order.push(position);
  for (const position of rest) order.push(position);
  for (const position of behind) order.push(position);
  return best.length;
}

function explain(
  read: readonly number[],
  { explanations }: StageJudgement,
  collected: Map<number, string>,
): void {
  read.forEach((position, i) => {
    const why = explanations?.[i];
    if (typeof why === 'string') collected.set(position, why);
  });
}

/** Null for what is to be thrown. */
function causeOf(code: MaxSimErrorCode): Degradation['cause'] | null {
  if (code === 'DEADLINE_EXCEEDED' || code === 'ABORTED') return 'deadline';
  if (code === 'RERANKER_UNAVAILABLE' || code === 'OVERLOADED') return 'unavailable';
  return THROWN.includes(code) ? null : 'error';
}

/** What the caller asked for cannot be had, or the index is damaged, which must not pass for an order. */
const THROWN: readonly MaxSimErrorCode[] = [
  'INVALID_ARGUMENT',
  'EMPTY_TEXT',
  'CLOSED',
  'MODEL_NOT_FOUND',
  'LICENSE_REFUSED',
  'CALIBRATION_MISMATCH',
  'CORRUPT_INDEX',
  'IO_ERROR',
];

function degradation({
  stage,
  outcome,
  cause,
  candidates,
  scored,
  message,
}: StageReport): Degradation {
  const what =
    outcome === 'partial'
      ? `scored ${scored} of ${candidates} candidates before its time was up.`
      : cause === 'deadline'
        ? 'did not finish within its time.'
        : `failed: ${message ?? 'unknown'}`;
  return { stage, cause: cause as Degradation['cause'], message: `The ${stage} stage ${what}` };
}
