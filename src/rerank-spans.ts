/** A call and its stages as spans: names of OpenTelemetry's GenAI conventions and of OpenInference. */
import type { Call } from './call.js';
import type { RerankRecord } from './rerank-record.js';
import type { FinishedSpan, SpanAttributes } from './runtime/tracing.js';

/** Stages in their order: what stands for a model. */
export function modelOf({ pipeline }: Call): string {
  return pipeline.stages
    .map((stage) => (stage.kind === 'reranker' ? stage.reranker.name : stage.kind))
    .join(' > ');
}

export function spansOf(
  call: Call,
  record: RerankRecord,
): { span: Omit<FinishedSpan, 'name' | 'startMs'>; children: FinishedSpan[] } {
  const { event, candidates, topK, hits, stages, degraded, verdict, gate, timings, error } = record;
  const model = modelOf(call);
  const attributes: SpanAttributes = {
    'gen_ai.operation.name': event,
    'gen_ai.provider.name': 'maxsim',
    'gen_ai.request.model': model,
    'gen_ai.retrieval.top_k': topK,
    'openinference.span.kind': 'RERANKER',
    'reranker.model_name': model,
    'reranker.top_k': topK,
    'maxsim.query_hash': record.queryHash,
    'maxsim.candidates': candidates,
    'maxsim.hits': hits.map(({ id }) => id),
    ...(degraded === null
      ? {}
      : { 'maxsim.degraded': degraded.stage, 'maxsim.degraded.cause': degraded.cause }),
    ...(verdict === null ? {} : { 'maxsim.verdict': verdict }),
    ...(gate === null
      ? {}
      : { 'maxsim.gate.skipped': gate.skipped, 'maxsim.gate.score': gate.score }),
    ...(error === null ? {} : { 'error.type': error }),
  };
  const span = { endMs: call.since + timings.totalMs, attributes, error };
  const children = stages.map(
    ({ stage, candidates, scored, startMs, ms, outcome, cause, message }): FinishedSpan => ({
      name: `rerank ${stage}`,
      startMs: call.since + startMs,
      endMs: call.since + startMs + ms,
      attributes: {
        'openinference.span.kind': 'RERANKER',
        'reranker.model_name': stage,
        'maxsim.candidates': candidates,
        'maxsim.scored': scored,
        'maxsim.outcome': outcome,
        ...(cause === null ? {} : { 'maxsim.cause': cause }),
      },
      error: outcome === 'failed' ? (message ?? 'failed') : null,
    }),
  );
  return { span, children };
}
