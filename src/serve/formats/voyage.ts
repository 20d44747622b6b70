/**
 * Voyage's `POST /v1/rerank`, under /voyage (docs.voyageai.com/reference/reranker-api; voyageai 0.4).
 * Errors: `{ detail }`.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { Degraded, type Format, Model } from '../format.js';
import type { Service } from '../service.js';

const Request = Type.Object({
  model: Model,
  query: Type.String(),
  documents: Type.Array(Type.String()),
  top_k: Type.Optional(Type.Unsafe<number | null>({ type: ['integer', 'null'], minimum: 1 })),
  return_documents: Type.Optional(Type.Boolean()),
  truncation: Type.Optional(
    Type.Boolean({ description: 'Accepted; texts are cut at the length of the model.' }),
  ),
});

const Answer = Type.Object({
  object: Type.Literal('list'),
  data: Type.Array(
    Type.Object({
      index: Type.Integer(),
      relevance_score: Type.Number(),
      document: Type.Optional(Type.String()),
    }),
  ),
  model: Type.String(),
  usage: Type.Object({ total_tokens: Type.Integer({ description: 'Estimated.' }) }),
  degraded: Type.Optional(Degraded),
});

export const voyage: Format = {
  name: 'voyage',
  errorBody: ({ message }) => ({ detail: message }),
  addRoutes(app: FastifyInstance, service: Service) {
    app.post<{ Body: Static<typeof Request> }>(
      '/voyage/v1/rerank',
      {
        config: { format: 'voyage', action: 'rerank' },
        schema: {
          summary: 'Voyage: the best of the documents for a query',
          tags: ['rerank'],
          body: Request,
          response: { 200: Answer },
        },
      },
      async (request, reply): Promise<Static<typeof Answer>> => {
        const { model, query, documents, return_documents = false } = request.body;
        const { results, degraded, ...rest } = await service.rank(request, reply, {
          query,
          texts: documents,
          model,
          topN: request.body.top_k ?? undefined,
          listName: 'documents',
        });
        return {
          object: 'list',
          data: results.map(({ index, relevance, text }) => ({
            index,
            relevance_score: relevance,
            ...(return_documents && text !== null ? { document: text } : {}),
          })),
          model: rest.model,
          usage: { total_tokens: rest.tokens },
          ...(degraded === null ? {} : { degraded }),
        };
      },
    );
  },
};
