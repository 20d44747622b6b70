/**
 * text-embeddings-inference 1.9: `POST /rerank`, `GET /info`, `/health`, `/metrics`
 * (router/src/http/types.rs, server.rs). Errors: `{ error, error_type }`, 413 for a list that is too
 * long, 424 where the model fails.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import type { Failure } from '../failure.js';
import type { Format } from '../format.js';
import type { Service } from '../service.js';

const Request = Type.Object({
  query: Type.String(),
  texts: Type.Array(Type.String()),
  raw_scores: Type.Optional(
    Type.Boolean({ description: 'MaxSim or the logit, instead of a score from 0 to 1.' }),
  ),
  return_text: Type.Optional(Type.Boolean()),
  truncate: Type.Optional(
    Type.Boolean({ description: 'Accepted; texts are cut at the length of the model.' }),
  ),
  truncation_direction: Type.Optional(
    Type.Unsafe<'Right' | 'right'>({ type: 'string', enum: ['Right', 'right'] }),
  ),
});

const Answer = Type.Array(
  Type.Object({
    index: Type.Integer(),
    score: Type.Number(),
    text: Type.Optional(Type.String()),
  }),
);

function errorType({ status, code }: Failure): string {
  if (code === 'EMPTY_TEXT') return 'empty';
  if (status === 429) return 'overloaded';
  if (status === 503) return 'unhealthy';
  return status >= 500 ? 'backend' : 'validation';
}

export const tei: Format = {
  name: 'tei',
  errorBody: (failure) => ({ error: failure.message, error_type: errorType(failure) }),
  errorStatus: ({ status }) => (status === 500 ? 424 : status),
  addRoutes(app: FastifyInstance, service: Service) {
    app.post<{ Body: Static<typeof Request> }>(
      '/rerank',
      {
        config: { format: 'tei', action: 'rerank' },
        schema: {
          summary: 'text-embeddings-inference: all texts, best first',
          tags: ['rerank'],
          body: Request,
          response: { 200: Answer },
        },
      },
      async (request, reply): Promise<Static<typeof Answer>> => {
        const started = performance.now();
        const { query, texts, raw_scores = false, return_text = false } = request.body;
        const input = { query, texts, listName: 'texts' };
        const { results, engineMs } = await service.rank(request, reply, input);
        reply.header('x-compute-type', 'cpu');
        reply.header('x-compute-characters', String(characters(query, texts)));
        reply.header('x-total-time', String(Math.round(performance.now() - started)));
        reply.header('x-inference-time', String(Math.round(engineMs)));
        return results.map(({ index, relevance, score, text }) => ({
          index,
          score: raw_scores ? (score ?? 0) : relevance,
          ...(return_text && text !== null ? { text } : {}),
        }));
      },
    );
    app.get('/info', { schema: { summary: 'What is served', tags: ['server'] } }, async () =>
      info(service),
    );
    app.get(
      '/health',
      { config: { open: true }, schema: { summary: '200 when ready', tags: ['server'] } },
      async (_, reply) => {
        service.checkReady();
        return await reply.code(200).send();
      },
    );
    app.get(
      '/metrics',
      { schema: { summary: 'Metrics, for Prometheus', tags: ['server'] } },
      async (_, reply) => {
        reply.type(service.metrics.contentType);
        return await service.metrics.text();
      },
    );
  },
};

function characters(query: string, texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + query.length + text.length, 0);
}

function info(service: Service) {
  const { encoder, index } = service.engine;
  const { maxDocuments, maxTokens, bodyLimitBytes, defaultModel } = service.options;
  return {
    model_id: service.nameOf(defaultModel),
    model_sha: null,
    model_dtype: index.codec.name,
    model_type: { reranker: { id2label: { '0': 'LABEL_0' }, label2id: { LABEL_0: 0 } } },
    max_batch_tokens: maxTokens,
    max_client_batch_size: maxDocuments,
    max_input_length: lengthOf(encoder.recipe),
    payload_limit: bodyLimitBytes,
    auto_truncate: true,
    late_interaction_model: service.lateInteractionModel,
    dim: index.dim,
    documents: index.documentCount,
    generation: index.generation,
  };
}

function lengthOf(recipe: Readonly<Record<string, unknown>>): number | null {
  const { documentLength } = recipe as { documentLength?: unknown };
  return typeof documentLength === 'number' ? documentLength : null;
}
