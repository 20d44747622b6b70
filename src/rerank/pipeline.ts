/** What a ranking goes through, as the caller composes it: plain descriptions, checked as they are made. */
import {
  checkArray,
  checkBoolean,
  checkInteger,
  checkOptions,
  checkPositive,
  checkText,
} from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import type { Reranker } from '../types.js';
import { checkWithin } from './calibration.js';
import { Calibrator, type CalibratorFile } from './calibrator.js';
import { Floor, type FloorFile } from './floor.js';
import { checkFusion, type FusionMethod } from './fusion.js';
import { Gate, type GateFile } from './gate.js';
import { type ResilienceOptions, ResilientReranker } from './resilient-reranker.js';

export type StageOptions = {
  /** How many of its best the next stage reads. Default: all that it read itself. */
  keep?: number;
  /** Longest time it may take; what it has then counts. Default: what is left of the deadline. */
  budgetMs?: number;
  /**
   * How its order and the one before become one. Default: its own order, ties as before. `weights` are
   * two, of the order before and of the stage.
   */
  fuse?: FusionMethod;
};

export type RerankerStageOptions = StageOptions & {
  /** How many of its best are hits, where the call does not say. */
  topK?: number;
  /** When to stop asking it, and how much at once. */
  resilience?: ResilienceOptions;
};

export type CrossEncoderStageOptions = RerankerStageOptions & {
  /** Catalog name or folder. Default: the cross-encoder of the engine. */
  model?: string;
};

type Common = {
  keep: number | null;
  budgetMs: number | null;
  topK: number | null;
  fuse: FusionMethod;
};

export type LateInteractionStage = Readonly<Common & { kind: 'late-interaction' }>;

export type CrossEncoderStage = Readonly<
  Common & { kind: 'cross-encoder'; model: string | null; resilience: ResilienceOptions }
>;

export type RerankerStage = Readonly<Common & { kind: 'reranker'; reranker: ResilientReranker }>;

export type PipelineStage = LateInteractionStage | CrossEncoderStage | RerankerStage;

export type CascadeOptions = {
  /** How many hits, where the call does not say. Default: the last stage's `topK`, else 10. */
  topK?: number;
  /** Of a call that has none of its own. */
  deadlineMs?: number;
  /** Throw what a stage raises instead of going on without it. Default: false. */
  strict?: boolean;
  /** Skips the stages after late interaction where its order is surely as good; parsed JSON will do. */
  gate?: Gate | GateFile;
  /** Share of skipped calls that are reranked all the same, after they were answered. Default: 0.01. */
  shadowShare?: number;
  /** What nothing relevant scores above, of one or more stages. */
  floor?: Floor | FloorFile | readonly (Floor | FloorFile)[];
  /** From scores to probabilities, of one or more stages. */
  calibrator?: Calibrator | CalibratorFile | readonly (Calibrator | CalibratorFile)[];
};

export type Pipeline = Readonly<{
  stages: readonly PipelineStage[];
  topK: number | null;
  deadlineMs: number | null;
  strict: boolean;
  gate: Gate | null;
  shadowShare: number;
  floors: readonly Floor[];
  calibrators: readonly Calibrator[];
}>;

const MAX_KEPT = 100_000;
const STAGE_OPTIONS = ['keep', 'budgetMs', 'fuse'] as const;
const RERANKER_OPTIONS = [...STAGE_OPTIONS, 'topK', 'resilience'] as const;

/** What `cascade` has made, and nothing that only looks like it. */
const made = new WeakSet<object>();

/** MaxSim over token vectors. Must come first, and comes once. */
export function lateInteraction(options?: StageOptions): LateInteractionStage {
  const checked = checkOptions<StageOptions>('lateInteraction', options, STAGE_OPTIONS);
  return Object.freeze({ kind: 'late-interaction', ...common('lateInteraction', checked) });
}

/** A local cross-encoder, by catalog name or folder; without a name, that of the engine. */
export function crossEncoder(options?: CrossEncoderStageOptions): CrossEncoderStage {
  const checked = checkOptions<CrossEncoderStageOptions>('crossEncoder', options, [
    ...RERANKER_OPTIONS,
    'model',
  ]);
  const { model, resilience = {} } = checked;
  if (model !== undefined) checkText('crossEncoder.model', model);
  ResilientReranker.checkOptions(resilience);
  return Object.freeze({
    kind: 'cross-encoder',
    model: model ?? null,
    resilience,
    ...common('crossEncoder', checked),
  });
}

/** Any other reranker: a service, a chat model, or one of your own. Breaker and bulkhead are the stage's. */
export function reranker(judge: Reranker, options?: RerankerStageOptions): RerankerStage {
  const checked = checkOptions<RerankerStageOptions>('reranker', options, RERANKER_OPTIONS);
  if (typeof judge?.judge !== 'function' || typeof judge.name !== 'string')
    throw invalid('reranker', 'an object with a name and a method judge', judge);
  return Object.freeze({
    kind: 'reranker',
    reranker: new ResilientReranker(judge, checked.resilience),
    ...common('reranker', checked),
  });
}

/**
 * Stages one after the other, each on the best of the one before. Throws INVALID_ARGUMENT.
 *
 * @example
 * const pipeline = cascade([lateInteraction({ keep: 20 }), crossEncoder({ topK: 5 })], { deadlineMs: 200 })
 * const { hits, degraded, stages } = await engine.rerank(query, candidates, { pipeline })
 */
export function cascade(stages: readonly PipelineStage[], options?: CascadeOptions): Pipeline {
  const checked = checkOptions<CascadeOptions>('cascade', options, [
    'topK',
    'deadlineMs',
    'strict',
    'gate',
    'shadowShare',
    'floor',
    'calibrator',
  ]);
  const { topK, deadlineMs, strict = false, gate, shadowShare = 0.01 } = checked;
  const list = checkArray('stages', stages) as readonly PipelineStage[];
  if (list.length === 0) throw invalid('stages', 'an array of one stage or more', stages);
  list.forEach(checkStage);
  if (topK !== undefined) checkInteger('cascade.topK', topK, 1, MAX_KEPT);
  if (gate !== undefined && (list[0]?.kind !== 'late-interaction' || list.length === 1)) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'A gate needs late interaction, whose order it looks at, and a stage after it to skip.',
    );
  }
  if (gate !== undefined && list[0]?.fuse.method !== 'last') {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'A gate reads the scores of late interaction, so its order must not be fused with another.',
    );
  }
  const pipeline: Pipeline = Object.freeze({
    stages: Object.freeze([...list]),
    topK: topK ?? list.at(-1)?.topK ?? null,
    deadlineMs: deadlineMs ?? null,
    strict: checkBoolean('cascade.strict', strict),
    gate: gate === undefined ? null : gate instanceof Gate ? gate : Gate.from(gate),
    shadowShare: checkWithin('cascade.shadowShare', shadowShare, 0, 1),
    floors: listOf(checked.floor).map((one) => (one instanceof Floor ? one : Floor.from(one))),
    calibrators: listOf(checked.calibrator).map((one) =>
      one instanceof Calibrator ? one : Calibrator.from(one),
    ),
  });
  if (deadlineMs !== undefined) checkPositive('cascade.deadlineMs', deadlineMs);
  checkDeadline(pipeline, 'The cascade', deadlineMs ?? Number.POSITIVE_INFINITY);
  made.add(pipeline);
  return pipeline;
}

/** Throws INVALID_ARGUMENT for whatever `cascade` has not made. */
export function checkPipeline(name: string, value: unknown): Pipeline {
  if (typeof value === 'object' && value !== null && made.has(value)) return value as Pipeline;
  throw invalid(name, 'a pipeline that cascade has made', value);
}

/** Throws INVALID_ARGUMENT where a stage takes longer than the deadline in any case. */
export function checkDeadline({ stages }: Pipeline, name: string, deadlineMs: number): void {
  for (const stage of stages) {
    if (stage.kind !== 'reranker') continue;
    const { name: stageName, leastBudgetMs } = stage.reranker;
    const timeMs = Math.min(deadlineMs, stage.budgetMs ?? Number.POSITIVE_INFINITY);
    if (timeMs < leastBudgetMs) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name} leaves the ${stageName} stage ${timeMs} ms, but it needs ${leastBudgetMs} or more; allowShortBudget lets it try.`,
      );
    }
  }
}

function checkStage(stage: PipelineStage, i: number): void {
  const kind: unknown = (stage as { kind?: unknown } | null)?.kind;
  if (kind !== 'late-interaction' && kind !== 'cross-encoder' && kind !== 'reranker') {
    throw invalid(
      `stages[${i}]`,
      'a stage that lateInteraction, crossEncoder or reranker has made',
      stage,
    );
  }
  if (kind === 'late-interaction' && i > 0)
    throw invalid(`stages[${i}]`, 'another stage: late interaction comes first', stage);
}

function listOf<T>(given: T | readonly T[] | undefined): readonly T[] {
  if (given === undefined) return [];
  return Array.isArray(given) ? (given as readonly T[]) : [given as T];
}

function common(name: string, options: RerankerStageOptions): Common {
  const { keep, budgetMs, topK, fuse } = options;
  if (keep !== undefined) checkInteger(`${name}.keep`, keep, 1, MAX_KEPT);
  if (topK !== undefined) checkInteger(`${name}.topK`, topK, 1, MAX_KEPT);
  if (budgetMs !== undefined) checkPositive(`${name}.budgetMs`, budgetMs);
  return {
    keep: keep ?? null,
    budgetMs: budgetMs ?? null,
    topK: topK ?? null,
    fuse: fuse === undefined ? { method: 'last' } : checkFusion(`${name}.fuse`, fuse),
  };
}
