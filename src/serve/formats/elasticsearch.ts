/**
 * Elasticsearch's `POST /_inference/rerank/<id>` (elastic.co, inference API), whose id names the model.
 * Errors: `{ error: { type, reason }, status }`.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { type Format, TopN } from '../format.js';
import type { Service } from '../service.js';

const Settings = Type.Object({
  top_n: TopN(),
  return_documents: Type.Optional(Type.Boolean()),
});

const Request = Type.Object({
  query: Type.String(),
  input: Type.Unsafe<string | string[]>({
    anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
  }),
  top_n: TopN(),
  return_documents: Type.Optional(Type.Boolean()),
  task_settings: Type.Optional(Settings),
});

const Answer = Type.Object({
  rerank: Type.Array(
    Type.Object({
      index: Type.Integer(),
      relevance_score: Type.Number(),
      text: Type.Optional(Type.String()),
    }),
  ),
});

export const elasticsearch: Format = {
  name: 'elasticsearch',
  errorBody: ({ status, code, message }) => ({
    error: { type: code.toLowerCase(), reason: message },
    status,
  }),
  addRoutes(app: FastifyInstance, service: Service) {
    app.post<{ Body: Static<typeof Request>; Params: { id: string } }>(
      '/_inference/rerank/:id',
      {
        config: { format: 'elasticsearch', action: 'rerank' },
        schema: {
          summary: 'Elasticsearch: the best of the inputs for a query',
          tags: ['rerank'],
          body: Request,
          response: { 200: Answer },
        },
      },
      async (request, reply): Promise<Static<typeof Answer>> => {
        const { query, input, task_settings, ...asked } = request.body;
        const { top_n, return_documents = false } = { ...task_settings, ...asked };
        const { results } = await service.rank(request, reply, {
          query,
          texts: typeof input === 'string' ? [input] : input,
          model: request.params.id,
          topN: top_n,
          listName: 'input',
        });
        // Its clients talk to nothing that does not say so.
        reply.header('x-elastic-product', 'Elasticsearch');
        return {
          rerank: results.map(({ index, relevance, text }) => ({
            index,
            relevance_score: relevance,
            ...(return_documents && text !== null ? { text } : {}),
          })),
        };
      },
    );
  },
};
