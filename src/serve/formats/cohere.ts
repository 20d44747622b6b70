/**
 * Cohere's `POST /v2/rerank` (docs.cohere.com/reference/rerank; cohere-ai 8.1, api/resources/v2). Errors:
 * `{ message, id }`.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { Degraded, type Format, Model, TopN } from '../format.js';
import type { Service } from '../service.js';

/** Of Cohere's own bills: a search is a query with up to 100 documents. */
const SEARCH_DOCUMENTS = 100;

const Request = Type.Object({
  model: Model,
  query: Type.String(),
  documents: Type.Array(Type.String()),
  top_n: TopN(),
  max_tokens_per_doc: Type.Optional(
    Type.Integer({ description: 'Accepted; texts are cut at the length of the model.' }),
  ),
  priority: Type.Optional(Type.Integer({ description: 'Accepted and not used.' })),
});

const Answer = Type.Object({
  id: Type.String(),
  results: Type.Array(Type.Object({ index: Type.Integer(), relevance_score: Type.Number() })),
  meta: Type.Object({
    api_version: Type.Object({ version: Type.String() }),
    billed_units: Type.Object({ search_units: Type.Integer() }),
    warnings: Type.Optional(Type.Array(Type.String())),
  }),
  degraded: Type.Optional(Degraded),
});

export const cohere: Format = {
  name: 'cohere',
  errorBody: ({ message }, id) => ({ message, id }),
  addRoutes(app: FastifyInstance, service: Service) {
    app.post<{ Body: Static<typeof Request> }>(
      '/v2/rerank',
      {
        config: { format: 'cohere', action: 'rerank' },
        schema: {
          summary: 'Cohere: the best of the documents for a query',
          tags: ['rerank'],
          body: Request,
          response: { 200: Answer },
        },
      },
      async (request, reply): Promise<Static<typeof Answer>> => {
        const { model, query, documents, top_n } = request.body;
        const input = { query, texts: documents, model, topN: top_n, listName: 'documents' };
        const { results, degraded } = await service.rank(request, reply, input);
        return {
          id: request.id,
          results: results.map(({ index, relevance }) => ({ index, relevance_score: relevance })),
          meta: {
            api_version: { version: '2' },
            billed_units: { search_units: Math.ceil(documents.length / SEARCH_DOCUMENTS) },
            ...(degraded === null ? {} : { warnings: [degraded.message] }),
          },
          ...(degraded === null ? {} : { degraded }),
        };
      },
    );
  },
};
