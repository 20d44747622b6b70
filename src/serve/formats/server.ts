/** What a server says of itself: whether it lives, whether it is ready, what can be asked. */
import { Type } from '@sinclair/typebox';
import type { FastifyInstance } from 'fastify';
import { openAiError } from '../error-body.js';
import type { Format } from '../format.js';
import type { Service } from '../service.js';

const Status = Type.Object({ status: Type.String() });

export const server: Format = {
  name: 'server',
  errorBody: openAiError,
  addRoutes(app: FastifyInstance, service: Service) {
    app.get(
      '/livez',
      {
        config: { open: true },
        schema: {
          summary: '200 as long as the event loop turns',
          tags: ['server'],
          response: { 200: Status },
        },
      },
      async () => ({ status: 'alive' }),
    );
    app.get(
      '/readyz',
      {
        config: { open: true },
        schema: {
          summary: '200 when models and index are loaded, 503 before and while the server drains',
          tags: ['server'],
          response: { 200: Status, 503: Status },
        },
      },
      async (_, reply) => {
        const { state } = service;
        return await reply.code(state === 'ready' ? 200 : 503).send({ status: state });
      },
    );
    app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
  },
};
