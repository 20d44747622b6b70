/**
 * One rerank or search through its pipeline: stages, gate, floor, hits, and what is said of it. Whatever
 * a stage cannot do, the order of the one before is the answer.
 */
import { type Calibrated, lastScored, matchCalibrations, verdictOf } from './calibrated.js';
import type { Call } from './call.js';
import { MaxSimError } from './errors.js';
import { Documents, toHits, whatIsHeld } from './hits.js';
import type { LateInteraction, LateScores } from './late-interaction.js';
import type { Ranked } from './request.js';
import type { CalibrationFingerprint } from './rerank/calibration.js';
import { type CascadeResult, type RunnableStage, runCascade } from './rerank/cascade.js';
import { countWords, gateFeatures } from './rerank/gate.js';
import type { Pipeline } from './rerank/pipeline.js';
import { within } from './rerank/within.js';
import {
  agreementOf,
  failureOf,
  queryHash,
  type RerankLogger,
  type RerankRecord,
  recordOf,
  regretOf,
  type ShadowRecord,
} from './rerank-record.js';
import { modelOf, spansOf } from './rerank-spans.js';
import { RerankCounts, type RerankStats } from './rerank-stats.js';
import type { ActiveSpan, Tracing } from './runtime/tracing.js';
import { Stages, type StagesOptions } from './stages.js';
import type { Hit, RerankResult, Timings } from './types.js';

/** `found`: of a search, which has scored them already. */
export type Candidates = { list: readonly Ranked[]; found: Found | null };

/** In the order of the candidates, and the time that took. */
export type Found = { scores: Float32Array; ms: number };

type Gated = { skipped: boolean; score: number } | null;

const UNCALIBRATED: Calibrated = { floors: [], calibrators: [] };

/** Nobody waits for a shadow, and it must not wait for ever. */
const SHADOW_MS = 60_000;

export class Reranking {
  private readonly stages: Stages;
  private readonly counts = new RerankCounts();
  private readonly calibrated = new WeakMap<Pipeline, Promise<Calibrated>>();
  private readonly closing = new AbortController();
  private shadow: Promise<void> | null = null;

  constructor(
    private readonly late: LateInteraction,
    options: StagesOptions,
    private readonly logger: RerankLogger | null,
    private readonly tracing: Tracing | null,
  ) {
    this.stages = new Stages(late, options);
  }

  /** Counts, records and traces what becomes of a call, whatever that is. */
  async run(
    event: RerankRecord['event'],
    call: Call,
    find: () => Promise<Candidates>,
  ): Promise<RerankResult> {
    const span = this.tracing?.begin(`${event} ${modelOf(call)}`, call.since) ?? null;
    let count = 0;
    try {
      const { list, found } = await find();
      count = list.length;
      const { result, agreement } = await this.answer(call, list, found);
      this.counts.count(result, agreement);
      this.publish(call, span, () => recordOf(event, call, count, { ...result, agreement }));
      return result;
    } catch (error) {
      this.counts.failed += 1;
      const code = error instanceof MaxSimError ? error.code : 'INTERNAL';
      this.publish(call, span, () => failureOf(event, call, count, code));
      throw error;
    }
  }

  /** Fingerprints that gates, floors and calibrators of a pipeline must have. */
  identify(
    pipeline: Pipeline,
  ): Promise<{ stages: CalibrationFingerprint[]; gate: CalibrationFingerprint }> {
    return this.stages.identify(pipeline);
  }

  /** Opens what the pipeline needs and checks what it was calibrated for. */
  async prepare(pipeline: Pipeline): Promise<void> {
    await this.calibratedFor(pipeline);
    await this.stages.warmUp(pipeline);
  }

  stats(): RerankStats {
    return this.counts.stats(this.stages.stats());
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.shadow;
  }

  private async answer(
    call: Call,
    list: readonly Ranked[],
    found: Found | null,
  ): Promise<{ result: RerankResult; agreement: ReturnType<typeof agreementOf> }> {
    const { pipeline, signal, until } = call;
    const calibrated = await this.calibrationsInTime(call);
    const { floors, calibrators } = calibrated ?? UNCALIBRATED;
    const documents = new Documents(call);
    let late: LateScores | null = null;
    const stages = this.stages.runnable(pipeline, {
      call,
      list,
      documents,
      onLate: (scores) => {
        late = scores;
      },
      found: found?.scores ?? null,
    });
    let gate: Gated = null;
    const cascade = await runCascade({
      count: list.length,
      stages,
      since: call.since,
      until,
      signal,
      firstScores: firstScoresOf(list),
      // What nobody had the time to check is not to be trusted.
      gate:
        pipeline.gate === null || calibrated === null
          ? undefined
          : ({ order, scores }) => {
              const late = order.map((position) => scores[position]?.[0]?.score ?? null);
              if (late.length === 0 || late.some((score) => score === null)) return false;
              gate = decide(call, list, order, late as number[]);
              return gate.skipped;
            },
    });
    const { reports, degraded } = cascade;
    if (found !== null && reports[0] !== undefined)
      Object.assign(reports[0], { startMs: 0, ms: found.ms });
    // What was not scored by late interaction may be unknown to the index.
    const known: Pick<LateScores, 'unknownIds' | 'excludedIds'> =
      late ?? (found === null ? this.dropUnknown(call, list, cascade) : NONE_MISSING);
    const verdict = verdictOf(cascade, floors);
    const hits =
      verdict === 'nothing-relevant' ? [] : this.hits(call, list, documents, cascade, calibrators);
    if (call.explain) await this.explain(call, hits, list);
    call.timings.crossEncoderMs = reports
      .filter((_, i) => pipeline.stages[i]?.kind === 'cross-encoder')
      .reduce((sum, { ms }) => sum + ms, 0);
    const { unknownIds, excludedIds } = known;
    const timings: Timings = call.end();
    const result = {
      hits,
      unknownIds,
      excludedIds,
      degraded,
      verdict,
      gate,
      stages: reports,
      timings,
    };
    if ((gate as Gated)?.skipped && Math.random() < pipeline.shadowShare)
      this.startShadow(call, list, cascade, calibrators);
    return { result, agreement: found === null ? agreementOf(cascade.order) : null };
  }

  private hits(
    call: Call,
    list: readonly Ranked[],
    documents: Documents,
    cascade: CascadeResult,
    calibrators: Calibrated['calibrators'],
  ): Hit[] {
    return toHits(documents, list, cascade, call.topK).map(({ hit, position }) => {
      const at = call.pipeline.stages.findLastIndex((stage) =>
        stage.kind === 'reranker' ? stage.reranker.name === hit.stage : stage.kind === hit.stage,
      );
      const calibrator = calibrators[at];
      if (calibrator && hit.score !== null) hit.probability = calibrator.probability(hit.score);
      const reason = cascade.explanations.get(position);
      if (reason !== undefined) hit.reason = reason;
      return hit;
    });
  }

  /** Takes those out of the order, in place. */
  private dropUnknown(
    call: Call,
    list: readonly Ranked[],
    cascade: CascadeResult,
  ): Pick<LateScores, 'unknownIds' | 'excludedIds'> {
    const { isHeld, unknownIds, excludedIds } = whatIsHeld(call, list);
    const { order } = cascade;
    const held = order.filter((position) => isHeld[position]);
    order.length = 0;
    for (const position of held) order.push(position);
    return { unknownIds, excludedIds };
  }

  /** Without explanations where the time is up. */
  private async explain(call: Call, hits: readonly Hit[], list: readonly Ranked[]): Promise<void> {
    const vectors = new Map(
      list.flatMap(({ id, vectors }) => (vectors === null ? [] : [[id, vectors] as const])),
    );
    try {
      await within(call.until, call.signal, () => this.late.explain(call, hits, vectors));
    } catch (error) {
      if (!(error instanceof MaxSimError) || error.code !== 'DEADLINE_EXCEEDED') throw error;
    }
  }

  /** Once a pipeline; a failure is not remembered. */
  private calibratedFor(pipeline: Pipeline): Promise<Calibrated> {
    let calibrated = this.calibrated.get(pipeline);
    if (calibrated === undefined) {
      calibrated = this.stages.identify(pipeline).then((made) => matchCalibrations(pipeline, made));
      this.calibrated.set(pipeline, calibrated);
      calibrated.catch(() => this.calibrated.delete(pipeline));
    }
    return calibrated;
  }

  /** Null where to read a model's bytes for the first time takes longer than there is. */
  private async calibrationsInTime(call: Call): Promise<Calibrated | null> {
    const { gate, floors, calibrators } = call.pipeline;
    if (gate === null && floors.length === 0 && calibrators.length === 0) return UNCALIBRATED;
    try {
      return await within(call.until, call.signal, () => this.calibratedFor(call.pipeline));
    } catch (error) {
      if (!(error instanceof MaxSimError) || error.code !== 'DEADLINE_EXCEEDED') throw error;
      return null;
    }
  }

  /** One at a time: shadows must not be a load of their own. */
  private startShadow(
    call: Call,
    list: readonly Ranked[],
    answered: CascadeResult,
    calibrators: Calibrated['calibrators'],
  ): void {
    if (this.shadow !== null || this.closing.signal.aborted) return;
    this.shadow = this.runShadow(call, list, answered, calibrators)
      .catch(() => {
        this.counts.shadowsFailed += 1;
      })
      .finally(() => {
        this.shadow = null;
      });
  }

  private async runShadow(
    call: Call,
    list: readonly Ranked[],
    { order, scores }: CascadeResult,
    calibrators: Calibrated['calibrators'],
  ): Promise<void> {
    const since = performance.now();
    // Those that were answered, in their order, with the late-interaction scores they had.
    const among = order.map((position) => list[position] as Ranked);
    const found = Float32Array.from(order, (position) => scores[position]?.[0]?.score ?? 0);
    const documents = new Documents(call);
    const stages = this.stages.runnable(call.pipeline, {
      ...{ call, list: among, documents, found },
      onLate: () => {},
    });
    const reranked = await runCascade({
      count: among.length,
      stages: stages.map((stage): RunnableStage => ({ ...stage, strict: true })),
      since,
      until: since + SHADOW_MS,
      signal: this.closing.signal,
    });
    const at = lastScored(reranked);
    const calibrator = calibrators[at] ?? null;
    const name = stages[at]?.name;
    const scoreOf = (position: number): number | null => {
      const last = reranked.scores[position]?.at(-1);
      if (last?.stage !== name || last === undefined) return null;
      return calibrator === null ? last.score : calibrator.probability(last.score);
    };
    const answered = among.map((_, position) => position);
    const unit = calibrator === null ? 'score' : 'probability';
    const regret = regretOf(answered, reranked.order, scoreOf, unit);
    this.counts.countShadow(regret);
    this.log({ event: 'shadow', queryHash: queryHash(call), ...regret });
  }

  private publish(call: Call, span: ActiveSpan | null, record: () => RerankRecord): void {
    if (this.logger === null && span === null) return;
    const made = record();
    if (span !== null) {
      const { span: own, children } = spansOf(call, made);
      span.end(own, children);
    }
    this.log(made);
  }

  private log(record: RerankRecord | ShadowRecord): void {
    try {
      this.logger?.info(record);
    } catch {
      this.counts.logFailures += 1;
    }
  }
}

const NONE_MISSING = { unknownIds: [], excludedIds: [] };

/** The more the better; undefined without any. */
function firstScoresOf(list: readonly Ranked[]): number[] | undefined {
  if (list[0]?.first == null) return undefined;
  return list.map(({ first }) => {
    if (first === null) return 0;
    return first.kind === 'distance' ? -first.value : first.value;
  });
}

function decide(
  call: Call,
  list: readonly Ranked[],
  order: readonly number[],
  scores: readonly number[],
): { skipped: boolean; score: number } {
  const idOf = (position: number): string => (list[position] as Ranked).id;
  const features = gateFeatures({
    scores,
    ids: order.map(idOf),
    firstStageIds: [...order].sort((a, b) => a - b).map(idOf),
    queryWords: countWords(call.text ?? ''),
  });
  const { skip, score } = (call.pipeline.gate as NonNullable<Pipeline['gate']>).decide(features);
  return { skipped: skip, score };
}
