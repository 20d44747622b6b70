/**
 * vLLM's `POST /score` and `/v1/score` (vllm/entrypoints/pooling/scoring/protocol.py): scores of one query
 * with many documents, in the order of the documents. Errors as OpenAI has them.
 */
import { type Static, Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { invalid } from '../../errors.js';
import { openAiError } from '../error-body.js';
import { Degraded, type Format, Model } from '../format.js';
import type { Service } from '../service.js';

const Texts = Type.Unsafe<string | string[]>({
  anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
});

const Request = Type.Object({
  model: Model,
  queries: Type.Optional(Texts),
  documents: Type.Optional(Texts),
  text_1: Type.Optional(Texts),
  text_2: Type.Optional(Texts),
});

type Body = Static<typeof Request>;

const Answer = Type.Object({
  id: Type.String(),
  object: Type.Literal('list'),
  created: Type.Integer({ description: 'Seconds since 1970.' }),
  model: Type.String(),
  data: Type.Array(
    Type.Object({ index: Type.Integer(), object: Type.Literal('score'), score: Type.Number() }),
  ),
  usage: Type.Object({
    prompt_tokens: Type.Integer(),
    total_tokens: Type.Integer({ description: 'Estimated.' }),
  }),
  degraded: Type.Optional(Degraded),
});

export const score: Format = {
  name: 'score',
  errorBody: openAiError,
  addRoutes(app: FastifyInstance, service: Service) {
    for (const path of ['/score', '/v1/score'])
      app.post<{ Body: Body }>(
        path,
        {
          config: { format: 'vllm', action: 'score' },
          schema: {
            summary: 'vLLM: scores of a query with documents, in their order',
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
  const { body } = request;
  const [name, list] = body.queries === undefined ? ['text_1', 'text_2'] : ['queries', 'documents'];
  const [query, ...more] = listOf(name, body.queries ?? body.text_1);
  if (query === undefined || more.length > 0)
    throw invalid(name, 'one text, to score all others with', body.queries ?? body.text_1);
  const texts = listOf(list, body.queries === undefined ? body.text_2 : body.documents);
  const input = { query, texts, model: body.model, listName: list };
  const { results, degraded, tokens, model } = await service.rank(request, reply, input);
  return {
    id: request.id,
    object: 'list',
    created: Math.floor(Date.now() / 1000),
    model,
    data: results
      .map(({ index, relevance }) => ({ index, object: 'score' as const, score: relevance }))
      .sort((a, b) => a.index - b.index),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    ...(degraded === null ? {} : { degraded }),
  };
}

function listOf(name: string, given: string | string[] | undefined): string[] {
  if (given === undefined) throw invalid(name, 'a text or an array of texts', given);
  return typeof given === 'string' ? [given] : given;
}
