/**
 * The HTTP server as an app: what happens to every request before and after its format has it. Order: a
 * request id, readiness, the key, the clock of its body, the route, the metrics.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fastifySwagger from '@fastify/swagger';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { openAiError } from './error-body.js';
import { failureOf, RequestError } from './failure.js';
import { addFormat, hasBody, sayErrors } from './format.js';
import { cohere } from './formats/cohere.js';
import { documents } from './formats/documents.js';
import { elasticsearch } from './formats/elasticsearch.js';
import { rerank } from './formats/rerank.js';
import { score } from './formats/score.js';
import { search } from './formats/search.js';
import { server } from './formats/server.js';
import { tei } from './formats/tei.js';
import { voyage } from './formats/voyage.js';
import { Keys } from './keys.js';
import type { Service } from './service.js';

const FORMATS = [cohere, rerank, tei, voyage, elasticsearch, score, search, documents, server];

/** An id is 512 bytes at most, and each may be three characters of a URL. */
const MAX_PARAM_LENGTH = 3 * 512;

export async function createApp(service: Service): Promise<FastifyInstance> {
  const { logLevel, bodyLimitBytes, clientTimeoutMs } = service.options;
  const app = fastify({
    logger: { level: logLevel, stream: process.stderr },
    bodyLimit: bodyLimitBytes,
    genReqId: requestIdOf,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    // No guesses: "5" is no number, and what is unknown is for the schemas to allow or refuse.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    // Refused by a hook instead, in the shape of the format.
    return503OnClosing: false,
    // The clock of a body is ours, since a stream of documents may take hours; headers have Node's.
    requestTimeout: 0,
    http: {
      headersTimeout: clientTimeoutMs,
      connectionsCheckingInterval: Math.min(1000, clientTimeoutMs),
    },
    frameworkErrors: (error, request, reply) => {
      const failure = failureOf(error, request);
      // Its type is that of no route, which can send nothing.
      const plain = reply as unknown as FastifyReply;
      void plain.code(failure.status).send(openAiError(failure, request.id));
    },
  });
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'maxsim',
        description: 'Reranking by late interaction, in the wire formats that clients speak.',
        version: version(),
      },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      security: service.options.keys.length > 0 ? [{ key: [] }] : [],
    },
  });
  readBodies(app);
  addHooks(app, service);
  sayErrors(app, service, { errorBody: openAiError });
  app.setNotFoundHandler(({ method, url }) => {
    const [path = ''] = url.split('?');
    const message = `There is no ${method} ${path.slice(0, 200)} here; /openapi.json says what there is.`;
    throw new RequestError(404, 'NOT_FOUND', message);
  });
  for (const format of FORMATS) await addFormat(app, service, format);
  return app;
}

/** JSON alone: text/plain, which fastify would take, is what a page of the web can send to any server. */
function readBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser('error', 'error');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) {
      done(new RequestError(400, 'INVALID_ARGUMENT', 'The body must be JSON, but is empty.'));
      return;
    }
    parse(request, body as string, (error, value) => {
      if (error === null) done(null, value);
      else done(new RequestError(400, 'INVALID_ARGUMENT', `The body ${whyNot(body as string)}.`));
    });
  });
}

function whyNot(body: string): string {
  try {
    JSON.parse(body);
  } catch (error) {
    return `is not JSON: ${(error as Error).message.slice(0, 200)}`;
  }
  return 'has a key "__proto__" or "constructor.prototype"';
}

function addHooks(app: FastifyInstance, service: Service): void {
  const { keys, insecure, clientTimeoutMs } = service.options;
  const doors = new Keys(keys, insecure);
  const clocks = new WeakMap<FastifyRequest, NodeJS.Timeout>();
  const stop = (request: FastifyRequest): void => clearTimeout(clocks.get(request));
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    const { open = false } = request.routeOptions.config;
    const labels = labelsOf(request);
    if (labels !== null) service.metrics.requests.inc(labels);
    if (open) return;
    doors.check(request);
    service.checkReady();
    if (hasBody(request) && !isStream(request))
      clocks.set(
        request,
        setTimeout(() => giveUp(reply, clientTimeoutMs), clientTimeoutMs),
      );
  });
  app.addHook('preValidation', async (request) => stop(request));
  app.addHook('onSend', async (_, reply) => {
    // Else a connection that is kept alive would keep a server that closes.
    if (service.state === 'closing') reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    stop(request);
    const labels = labelsOf(request);
    if (labels === null) return;
    service.metrics.duration.observe(reply.elapsedTime / 1000);
    if (reply.statusCode < 400) service.metrics.successes.inc(labels);
  });
  app.addHook('onRequestAbort', async (request) => stop(request));
}

/** Null of routes that are not counted. */
function labelsOf({ routeOptions }: FastifyRequest): { format: string; method: string } | null {
  const { format, action } = routeOptions.config;
  return format === undefined || action === undefined ? null : { format, method: action };
}

function isStream({ headers, routeOptions }: FastifyRequest): boolean {
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  return routeOptions.config.streams?.includes(type.trim().toLowerCase()) === true;
}

/** Answers before the body is there, and hangs up. */
function giveUp(reply: FastifyReply, timeoutMs: number): void {
  if (reply.sent) return;
  reply.header('connection', 'close');
  reply.send(new RequestError(408, 'TIMEOUT', `The body was not there after ${timeoutMs} ms.`));
}

/** The caller's own, where it can stand in a log and a header. */
function requestIdOf({ headers }: { headers: NodeJS.Dict<string | string[]> }): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:/+=-]{1,128}$/.test(given) ? given : randomUUID();
}

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
