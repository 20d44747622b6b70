/** `POST /v1/search`: the best documents of the whole index. A format of ours; unknown fields are refused. */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { MaxSimError } from '../../errors.js';
import type { Filter, Hit, SearchMethod, SearchOptions, SearchResult } from '../../maxsim.js';
import { estimateTokens } from '../admission.js';
import { openAiError } from '../error-body.js';
import { Explanation, explanationOf, Payload, Stage, Text, Vectors } from '../evidence.js';
import { Degraded, type Format, Model, NullableNumber } from '../format.js';
import { readMsgpack } from '../msgpack.js';
import { checkExplained, deadlineOf, type Service, tenantOf } from '../service.js';
import { queryOf } from './rerank.js';

/** How many of the best the cross-encoder reads. */
const SLICE = 20;

const Request = Type.Object(
  {
    model: Model,
    query: Type.Optional(Type.String({ description: 'Required unless query_vectors are given.' })),
    query_vectors: Type.Optional(Vectors),
    top_k: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Default: 10.' })),
    filter: Type.Optional(Type.Unsafe<Filter>({ type: 'object', description: 'docs/filters.md.' })),
    explain: Type.Optional(Type.Boolean()),
    recall: Type.Optional(Type.Number({ description: 'docs/search.md. Default: 0.99.' })),
    depth: Type.Optional(Type.Integer({ minimum: 1 })),
    exact: Type.Optional(Type.Boolean()),
    method: Type.Optional(
      Type.Unsafe<SearchMethod | 'auto'>({
        type: 'string',
        enum: ['auto', 'exhaustive', 'scan', 'lists'],
      }),
    ),
    deadline_ms: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        description: 'What is not found by then fails, with 504.',
      }),
    ),
  },
  { additionalProperties: false },
);

type Body = Static<typeof Request>;

const Answer = Type.Object({
  id: Type.String(),
  model: Type.String(),
  hits: Type.Array(
    Type.Object({
      id: Type.String(),
      score: NullableNumber('MaxSim, or the logit of the cross-encoder.'),
      stage: Stage,
      scores: Type.Array(
        Type.Object({ stage: Type.String(), score: Type.Number(), rank: Type.Integer() }),
      ),
      text: Text,
      payload: Payload,
      explanation: Type.Optional(Explanation),
    }),
  ),
  plan: Type.Object({
    method: Type.String(),
    reason: Type.String(),
    certified: Type.Boolean(),
    documents: Type.Integer(),
    scored: Type.Integer(),
  }),
  timings_ms: Type.Object({
    encode: Type.Number(),
    score: Type.Number(),
    cross_encoder: Type.Number(),
    total: Type.Number(),
  }),
  degraded: Type.Optional(Degraded),
});

export const search: Format = {
  name: 'search',
  errorBody: openAiError,
  addRoutes(app: FastifyInstance, service: Service) {
    readMsgpack(app);
    app.post<{ Body: Body }>(
      '/v1/search',
      {
        config: { format: 'v1', action: 'search' },
        schema: {
          summary: 'The best documents of the index',
          tags: ['search'],
          body: Request,
          response: { 200: Answer },
        },
      },
      (request, reply) => answer(service, request, reply),
    );
  },
};

async function answer(
  service: Service,
  request: FastifyRequest<{ Body: Body }>,
  reply: FastifyReply,
): Promise<Static<typeof Answer>> {
  const { body } = request;
  const { engine } = service;
  const query = service.checkQuery(queryOf(body));
  const judge = service.judge(body.model);
  const options = { ...optionsOf(body, judge === 'cross-encoder'), ...tenantOption(request) };
  const deadlineMs = body.deadline_ms ?? deadlineOf(request);
  const tokens = estimateTokens(typeof query === 'string' ? [query] : []);
  const result = await service.run(reply, (signal) =>
    service.admitted(tokens, deadlineMs ?? null, () =>
      within(deadlineMs, signal, (both) => engine.search(query, { ...options, signal: both })),
    ),
  );
  const degraded = service.note(reply, result.degraded);
  return answerOf(request.id, body.model ?? service.nameOf(judge), { ...result, degraded });
}

function tenantOption(request: FastifyRequest): Pick<SearchOptions, 'tenant'> {
  const tenant = tenantOf(request);
  return tenant === undefined ? {} : { tenant };
}

function optionsOf(body: Body, crossEncoder: boolean): SearchOptions {
  const { top_k = 10, filter, explain = false, recall, depth, exact, method } = body;
  if (explain) checkExplained('top_k', top_k);
  return {
    topK: top_k,
    explain,
    crossEncoder: crossEncoder ? { keep: Math.max(top_k, SLICE) } : false,
    ...(filter === undefined ? {} : { filter }),
    ...(recall === undefined ? {} : { recall }),
    ...(depth === undefined ? {} : { depth }),
    ...(exact === undefined ? {} : { exact }),
    ...(method === undefined ? {} : { method }),
  };
}

/** Half a search is no search: one that is late fails. Throws DEADLINE_EXCEEDED. */
async function within<T>(
  deadlineMs: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (deadlineMs === undefined) return await work(signal);
  const deadline = AbortSignal.timeout(Math.ceil(deadlineMs));
  try {
    return await work(AbortSignal.any([signal, deadline]));
  } catch (error) {
    const late = error instanceof MaxSimError && error.code === 'ABORTED' && !signal.aborted;
    if (!late) throw error;
    throw new MaxSimError(
      'DEADLINE_EXCEEDED',
      `The search did not finish within the deadline of ${deadlineMs} ms.`,
    );
  }
}

function answerOf(id: string, model: string, result: SearchResult): Static<typeof Answer> {
  const { hits, plan, timings, degraded } = result;
  const { method, reason, certified, documents, scored } = plan;
  return {
    id,
    model,
    hits: hits.map(hitOf),
    plan: { method, reason, certified, documents, scored },
    timings_ms: {
      encode: timings.encodeMs,
      score: timings.scoreMs,
      cross_encoder: timings.crossEncoderMs,
      total: timings.totalMs,
    },
    ...(degraded === null ? {} : { degraded }),
  };
}

function hitOf({ explanation, ...hit }: Hit) {
  return {
    ...hit,
    ...(explanation === undefined ? {} : { explanation: explanationOf(explanation) }),
  };
}
