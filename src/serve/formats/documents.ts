/**
 * `/v1/documents`: what the index holds. A format of ours. `POST` takes a list as JSON or MessagePack, or
 * a stream of lines (application/x-ndjson) of any length.
 */
import type { Readable } from 'node:stream';
import { type Static, type TSchema, Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { invalid, MaxSimError } from '../../errors.js';
import type { AddOptions } from '../../maxsim.js';
import { estimateTokens } from '../admission.js';
import { Bulk, BulkError, type BulkResult, documentOf } from '../bulk.js';
import { openAiError } from '../error-body.js';
import { Payload, Text, Vectors } from '../evidence.js';
import { failureOf } from '../failure.js';
import type { Format } from '../format.js';
import { MSGPACK_TYPES, readMsgpack } from '../msgpack.js';
import { readLines } from '../ndjson.js';
import { type Service, tenantOf } from '../service.js';

const STREAM_TYPES = ['application/x-ndjson', 'application/jsonl', 'application/x-jsonlines'];

const List = Type.Object(
  {
    documents: Type.Array(
      Type.Object(
        {
          id: Type.String(),
          text: Type.Optional(Type.String()),
          vectors: Type.Optional(Vectors),
          payload: Type.Optional(Payload),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);

const Stored = Type.Object({
  added: Type.Integer(),
  replaced: Type.Integer(),
  unchanged: Type.Integer(),
  truncated: Type.Integer({ description: 'Longer than the model reads.' }),
  commits: Type.Integer(),
});

const Ids = Type.Object({ ids: Type.Array(Type.String()) }, { additionalProperties: false });

const Deleted = Type.Object({ deleted: Type.Integer(), unknown_ids: Type.Array(Type.String()) });

const Document = Type.Object({
  id: Type.String(),
  text: Text,
  payload: Payload,
  token_count: Type.Integer(),
});

type ById = { Params: { id: string } };

export const documents: Format = {
  name: 'documents',
  errorBody: openAiError,
  addRoutes(app: FastifyInstance, service: Service) {
    readMsgpack(app);
    app.addContentTypeParser(STREAM_TYPES, (_, payload, done) => done(null, payload));
    app.post(
      '/v1/documents',
      {
        config: { format: 'v1', action: 'add', streams: STREAM_TYPES },
        schema: {
          summary: 'Store documents; those whose id is known are replaced',
          description: 'Or a document a line, application/x-ndjson. ?skip_unchanged=true.',
          tags: ['documents'],
          body: { content: { 'application/json': { schema: List }, ...msgpackContent(List) } },
          response: { 200: Stored },
        },
      },
      (request, reply) => add(service, request, reply),
    );
    app.post<{ Body: Static<typeof Ids> }>(
      '/v1/documents/delete',
      {
        config: { format: 'v1', action: 'delete' },
        schema: {
          summary: 'Delete documents',
          tags: ['documents'],
          body: Ids,
          response: { 200: Deleted },
        },
      },
      async (request) => await remove(service, request, request.body.ids),
    );
    app.delete<ById>(
      '/v1/documents/:id',
      {
        config: { format: 'v1', action: 'delete' },
        schema: { summary: 'Delete a document', tags: ['documents'], response: { 200: Deleted } },
      },
      async (request) => await remove(service, request, [request.params.id]),
    );
    app.get<ById>(
      '/v1/documents/:id',
      {
        config: { format: 'v1', action: 'get' },
        schema: { summary: 'A stored document', tags: ['documents'], response: { 200: Document } },
      },
      async (request) => get(service, request),
    );
  },
};

async function add(
  service: Service,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<BulkResult> {
  const { engine } = service;
  const { body, query } = request;
  const options = { ...tenantOption(request), skipUnchanged: skipUnchangedOf(query) };
  if (!isStream(body)) return await addList(service, reply, body as Static<typeof List>, options);
  const { bodyLimitBytes, clientTimeoutMs } = service.options;
  return await service.run(reply, async (signal) => {
    const bulk = new Bulk(engine, service.admission, { ...options, signal });
    try {
      const limits = { maxBytes: bodyLimitBytes, timeoutMs: clientTimeoutMs };
      return await bulk.take(readLines(body, limits));
    } catch (error) {
      throw new BulkError(failureOf(error, request), bulk.stored, error);
    }
  });
}

async function addList(
  service: Service,
  reply: FastifyReply,
  body: Static<typeof List>,
  options: AddOptions,
): Promise<BulkResult> {
  const list = service
    .checkList('documents', body.documents)
    .map((one, i) => documentOf(`documents[${i}]`, one));
  const tokens = estimateTokens(list.map(({ text }) => text ?? ''));
  return await service.run(reply, (signal) =>
    service.admitted(tokens, null, async () => {
      const added = await service.engine.add(list, { ...options, signal });
      return { ...added, commits: 1 };
    }),
  );
}

async function remove(
  service: Service,
  request: FastifyRequest,
  ids: readonly string[],
): Promise<Static<typeof Deleted>> {
  service.checkList('ids', ids);
  const { deleted, unknownIds } = await service.engine.delete(ids, tenantOption(request));
  return { deleted, unknown_ids: unknownIds };
}

function get(service: Service, request: FastifyRequest<ById>): Static<typeof Document> {
  const { id } = request.params;
  const document = service.engine.get(id, tenantOption(request));
  if (document === undefined)
    throw new MaxSimError('UNKNOWN_ID', `The index holds no document ${JSON.stringify(id)}.`);
  const { text, payload, tokenCount } = document;
  return { id, text, payload, token_count: tokenCount };
}

function tenantOption(request: FastifyRequest): { tenant?: string } {
  const tenant = tenantOf(request);
  return tenant === undefined ? {} : { tenant };
}

function skipUnchangedOf(query: unknown): boolean {
  const { skip_unchanged: given = 'false' } = query as { skip_unchanged?: unknown };
  if (given === 'true' || given === 'false') return given === 'true';
  throw invalid('skip_unchanged', 'true or false', given);
}

function msgpackContent(schema: TSchema) {
  return Object.fromEntries(MSGPACK_TYPES.map((type) => [type, { schema }]));
}

function isStream(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body;
}
