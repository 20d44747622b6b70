/** The stages of a pipeline as they are run within a call, and what is known of their models. */
import type { Call } from './call.js';
import { MaxSimError } from './errors.js';
import type { Documents } from './hits.js';
import type { LateInteraction, LateScores } from './late-interaction.js';
import type { Ranked } from './request.js';
import type { CalibrationFingerprint } from './rerank/calibration.js';
import type { RunnableStage, StageJudgement, StageLimits } from './rerank/cascade.js';
import { CrossEncoder } from './rerank/cross-encoder.js';
import { fuser } from './rerank/fusion.js';
import type { CrossEncoderStage, Pipeline, PipelineStage } from './rerank/pipeline.js';
import { type ResilienceStats, ResilientReranker } from './rerank/resilient-reranker.js';
import type { WorkerPool } from './runtime/pool.js';
import type { Judgement, JudgeOptions, Reranker } from './types.js';

export type StagesOptions = {
  pool: WorkerPool;
  /** Catalog name or folder of the cross-encoder that a stage without a model means. */
  crossEncoder: string;
  allowNonCommercial: boolean;
  /** What the late-interaction scores of this engine depend on. */
  late: CalibrationFingerprint;
};

/** What a stage is run on. */
type Within = {
  call: Call;
  list: readonly Ranked[];
  documents: Documents;
  /** Told what late interaction found; or what a search has found already. */
  onLate(scores: LateScores): void;
  found: Float32Array | null;
};

/** The queue of the model threads bounds what waits for a local model; the bulkhead need not. */
const CROSS_ENCODER_CALLS = 10_000;

export class Stages {
  private readonly crossEncoders = new Map<string, Promise<CrossEncoder>>();
  /** By what they ask and how, so that stages composed anew for every call share their breakers. */
  private readonly rerankers = new Map<string, ResilientReranker>();

  constructor(
    private readonly late: LateInteraction,
    private readonly options: StagesOptions,
  ) {}

  /** `pipeline.stages`, in their order. */
  runnable({ stages, strict, gate }: Pipeline, within: Within): RunnableStage[] {
    return stages.map((stage) => {
      const { keep, budgetMs, kind } = stage;
      const fuse = fuser(stage.fuse);
      if (kind === 'late-interaction') {
        const judge: RunnableStage['judge'] = (positions, limits) =>
          this.judgeLate(positions, limits, within);
        const lateStrict = strict || within.call.plain;
        const { found: known } = within;
        const own = { name: kind, keep, budgetMs, fuse, gated: false, known };
        return { ...own, strict: lateStrict, judge };
      }
      const reranker = this.rerankerOf(stage);
      const judge: RunnableStage['judge'] = (positions, limits) =>
        judgeTexts(reranker, positions, limits, within);
      const own = { name: reranker.name, keep, budgetMs, fuse, gated: gate !== null, known: null };
      return { ...own, strict, judge };
    });
  }

  /** What the scores of each stage depend on; of the gate, what its choice depends on. */
  async identify(
    pipeline: Pipeline,
  ): Promise<{ stages: CalibrationFingerprint[]; gate: CalibrationFingerprint }> {
    const stages = await Promise.all(pipeline.stages.map((stage) => this.identifyStage(stage)));
    const join = (parts: readonly string[]): string => parts.join(' > ');
    // What a stage gains depends on how many it reads, too.
    const read = pipeline.stages.map(({ keep }) => (keep === null ? '' : `, keep ${keep}`));
    return {
      stages,
      gate: {
        model: join(stages.map(({ model }, i) => `${model}${read[i]}`)),
        quantisation: join(stages.map(({ quantisation }) => quantisation)),
        maxLength: Math.max(...stages.map(({ maxLength }) => maxLength)),
        corpus: this.options.late.corpus,
      },
    };
  }

  /** Opens the cross-encoders of a pipeline and runs each once on every thread. */
  async warmUp({ stages }: Pipeline): Promise<void> {
    for (const stage of stages) {
      if (stage.kind === 'cross-encoder') await (await this.open(stage)).warmUp();
    }
  }

  stats(): Record<string, ResilienceStats> {
    return Object.fromEntries([...this.rerankers].map(([key, one]) => [key, one.stats()]));
  }

  private async judgeLate(
    positions: readonly number[],
    { signal, until }: StageLimits,
    { call, list, onLate }: Within,
  ): Promise<StageJudgement> {
    const candidates = positions.map((position) => list[position] as Ranked);
    const late = await this.late.score(call, candidates, { signal, budgetMs: leftUntil(until) });
    // Nobody waits for it any more, and what is missing has been said.
    if (!signal.aborted) onLate(late);
    // The index scores as NaN what it does not hold, and what a filter keeps out.
    if (!late.scores.some(Number.isNaN)) return { scores: late.scores };
    const absent = new Set(positions.filter((_, i) => Number.isNaN(late.scores[i])));
    return { scores: late.scores, absent };
  }

  private rerankerOf(
    stage: Exclude<PipelineStage, { kind: 'late-interaction' }>,
  ): ResilientReranker {
    if (stage.kind === 'reranker') {
      this.rerankers.set(`${stage.reranker.name} ${stage.reranker.fingerprint}`, stage.reranker);
      return stage.reranker;
    }
    const model = this.modelOf(stage);
    const said = Object.keys(stage.resilience).length === 0 ? '' : JSON.stringify(stage.resilience);
    const key = `cross-encoder ${model}${said === '' ? '' : ` ${said}`}`;
    let reranker = this.rerankers.get(key);
    if (reranker === undefined) {
      reranker = new ResilientReranker(new UnopenedCrossEncoder(model, () => this.open(stage)), {
        concurrency: CROSS_ENCODER_CALLS,
        ...stage.resilience,
      });
      this.rerankers.set(key, reranker);
    }
    return reranker;
  }

  private modelOf({ model }: CrossEncoderStage): string {
    return model ?? this.options.crossEncoder;
  }

  /** Once; a failure is not remembered. */
  private open(stage: CrossEncoderStage): Promise<CrossEncoder> {
    const model = this.modelOf(stage);
    const { pool, allowNonCommercial } = this.options;
    let opening = this.crossEncoders.get(model);
    if (opening === undefined) {
      opening = CrossEncoder.open(model, pool, { allowNonCommercial });
      this.crossEncoders.set(model, opening);
      opening.catch(() => this.crossEncoders.delete(model));
    }
    return opening;
  }

  private async identifyStage(stage: PipelineStage): Promise<CalibrationFingerprint> {
    const { late } = this.options;
    if (stage.kind === 'late-interaction') return late;
    if (stage.kind === 'cross-encoder')
      return { ...(await (await this.open(stage)).identify()), corpus: late.corpus };
    const { fingerprint } = stage.reranker;
    return { model: fingerprint, quantisation: 'unknown', maxLength: 0, corpus: late.corpus };
  }
}

/** Loads at its first use: composing a pipeline reads no files. */
class UnopenedCrossEncoder implements Reranker {
  readonly name = 'cross-encoder';
  readonly fingerprint: string;

  constructor(
    model: string,
    private readonly open: () => Promise<CrossEncoder>,
  ) {
    this.fingerprint = model;
  }

  async judge(
    query: string,
    documents: readonly string[],
    { signal, budgetMs }: JudgeOptions = {},
  ): Promise<Judgement> {
    const started = performance.now();
    const opened = await this.open();
    const left = budgetMs === undefined ? undefined : budgetMs - (performance.now() - started);
    return await opened.judge(query, documents, { signal, budgetMs: left });
  }
}

/** Undefined where there is no end. */
function leftUntil(until: number): number | undefined {
  return until === Number.POSITIVE_INFINITY ? undefined : until - performance.now();
}

async function judgeTexts(
  reranker: Reranker,
  positions: readonly number[],
  { signal, until }: StageLimits,
  { call, list, documents }: Within,
): Promise<StageJudgement> {
  const candidates = positions.map((position) => list[position] as Ranked);
  const stored = documents.of(candidates);
  const absent = new Set<number>();
  const texts: string[] = [];
  const read: number[] = [];
  candidates.forEach((candidate, i) => {
    const document = stored[i];
    if (candidate.stored && document === undefined) {
      absent.add(positions[i] as number);
      return;
    }
    const text = candidate.stored ? (document?.text ?? null) : candidate.text;
    if (text === null) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `The ${reranker.name} stage needs text, but ${JSON.stringify(candidate.id)} was given or stored as vectors only.`,
      );
    }
    read.push(i);
    texts.push(text);
  });
  const scores = new Float32Array(positions.length).fill(Number.NaN);
  if (texts.length === 0) return { scores, absent };
  const limits = { signal, budgetMs: leftUntil(until) };
  const judgement = await reranker.judge(call.text as string, texts, limits);
  const explanations = new Array<string | null>(positions.length).fill(null);
  read.forEach((at, i) => {
    scores[at] = judgement.scores[i] as number;
    explanations[at] = judgement.explanations?.[i] ?? null;
  });
  return { scores, absent, ...(judgement.explanations === undefined ? {} : { explanations }) };
}
