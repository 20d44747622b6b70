/**
 * `POST /v1/rerank` as Jina, vLLM and infinity have it (vllm/entrypoints/pooling/scoring/protocol.py;
 * jina.ai/reranker), and Cohere's v1, whose answer is part of it; with more of ours: ids of stored
 * documents in place of texts, vectors in place of the query, a deadline, a filter, explanations.
 * Errors: `{ error: { message, type, code, … } }`, as OpenAI has them.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { invalid } from '../../errors.js';
import type { Filter } from '../../maxsim.js';
import { openAiError } from '../error-body.js';
import { Explanation, explanationOf, Payload, Stage, Vectors, vectorsOf } from '../evidence.js';
import { Degraded, type Format, Model, NullableNumber, TopN } from '../format.js';
import { readMsgpack } from '../msgpack.js';
import type { RankedResult, RankInput, Service } from '../service.js';

const Document = Type.Unsafe<string | { text: string }>({
  anyOf: [
    { type: 'string' },
    { type: 'object', required: ['text'], properties: { text: { type: 'string' } } },
  ],
});

const Request = Type.Object({
  model: Model,
  query: Type.Optional(Type.String({ description: 'Required unless query_vectors are given.' })),
  query_vectors: Type.Optional(Vectors),
  documents: Type.Optional(Type.Array(Document)),
  doc_ids: Type.Optional(
    Type.Array(Type.String(), { description: 'Stored documents, in place of documents.' }),
  ),
  top_n: TopN(),
  return_documents: Type.Optional(Type.Boolean({ description: 'Default: true.' })),
  explain: Type.Optional(Type.Boolean()),
  filter: Type.Optional(Type.Unsafe<Filter>({ type: 'object', description: 'With doc_ids.' })),
  deadline_ms: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
});

type Body = Static<typeof Request>;

const Answer = Type.Object({
  id: Type.String(),
  model: Type.String(),
  usage: Type.Object({
    prompt_tokens: Type.Integer(),
    total_tokens: Type.Integer({ description: 'Estimated.' }),
  }),
  results: Type.Array(
    Type.Object({
      index: Type.Integer(),
      relevance_score: Type.Number(),
      raw_score: NullableNumber('MaxSim, or the logit of the cross-encoder.'),
      stage: Stage,
      id: Type.Optional(Type.String()),
      document: Type.Optional(Type.Object({ text: Type.String() })),
      payload: Type.Optional(Payload),
      explanation: Type.Optional(Explanation),
    }),
  ),
  unknown_ids: Type.Optional(Type.Array(Type.String())),
  excluded_ids: Type.Optional(Type.Array(Type.String())),
  degraded: Type.Optional(Degraded),
});

export const rerank: Format = {
  name: 'rerank',
  errorBody: openAiError,
  addRoutes(app: FastifyInstance, service: Service) {
    readMsgpack(app);
    app.post<{ Body: Body }>(
      '/v1/rerank',
      {
        config: { format: 'v1', action: 'rerank' },
        schema: {
          summary: 'Jina, vLLM: the best of documents, or of stored ones, for a query',
          tags: ['rerank'],
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
  const { return_documents = true, doc_ids } = request.body;
  const ranking = await service.rank(request, reply, inputOf(request.body));
  const { results, degraded, tokens, model, unknownIds, excludedIds } = ranking;
  return {
    id: request.id,
    model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    results: results.map((result) => resultOf(result, return_documents)),
    ...(doc_ids === undefined ? {} : { unknown_ids: unknownIds, excluded_ids: excludedIds }),
    ...(degraded === null ? {} : { degraded }),
  };
}

function resultOf(result: RankedResult, withDocument: boolean) {
  const { index, relevance, score, stage, id, text, payload, explanation } = result;
  return {
    index,
    relevance_score: relevance,
    raw_score: score,
    stage,
    ...(id === null ? {} : { id }),
    ...(withDocument && text !== null ? { document: { text } } : {}),
    ...(withDocument && payload !== null ? { payload } : {}),
    ...(explanation === null ? {} : { explanation: explanationOf(explanation) }),
  };
}

/** Throws INVALID_ARGUMENT where there are both kinds of documents, or none. */
function inputOf(body: Body): RankInput {
  const { model, documents, doc_ids, top_n, explain, filter, deadline_ms } = body;
  if ((documents === undefined) === (doc_ids === undefined))
    throw invalid('documents', 'there, or else doc_ids, and not both', documents);
  return {
    query: queryOf(body),
    ...(documents === undefined
      ? { ids: doc_ids as string[], listName: 'doc_ids' }
      : {
          texts: documents.map((one) => (typeof one === 'string' ? one : one.text)),
          listName: 'documents',
        }),
    model,
    topN: top_n,
    explain,
    filter,
    deadlineMs: deadline_ms,
  };
}

/** Throws INVALID_ARGUMENT where there are both, or neither. */
export function queryOf(body: { query?: string; query_vectors?: unknown }): string | Float32Array {
  const { query, query_vectors } = body;
  if ((query === undefined) === (query_vectors === undefined))
    throw invalid('query', 'there, or else query_vectors, and not both', query);
  return query ?? vectorsOf('query_vectors', query_vectors);
}
