/**
 * What the wire formats share: how a format joins the server, and the pieces of schemas. A format is a
 * plugin with an error shape of its own, in which everything that goes wrong on its routes is said.
 */
import { Type } from '@sinclair/typebox';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Failure, failureOf } from './failure.js';
import type { Service } from './service.js';

export type Format = {
  name: string;
  /** The body that says what went wrong. */
  errorBody(failure: Failure, requestId: string): unknown;
  /** Where the format has its own opinion. */
  errorStatus?(failure: Failure): number;
  addRoutes(app: FastifyInstance, service: Service): void;
};

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whose routes are counted, and how. */
    format?: string;
    action?: string;
    /** Whether anybody may ask, without a key: of the health of the server. */
    open?: boolean;
    /** Types of bodies that are streams, which may take as long as they like as long as they go on. */
    streams?: readonly string[];
  }
}

export async function addFormat(
  app: FastifyInstance,
  service: Service,
  format: Format,
): Promise<void> {
  await app.register(async (scope) => {
    sayErrors(scope, service, format);
    format.addRoutes(scope, service);
  });
}

/** Whatever goes wrong on the routes of an app is said in the shape of the format. */
export function sayErrors(
  app: FastifyInstance,
  service: Service,
  { errorBody, errorStatus }: Pick<Format, 'errorBody' | 'errorStatus'>,
): void {
  app.setErrorHandler((error, request, reply) => {
    const failure = failureOf(error, request);
    const status = errorStatus?.(failure) ?? failure.status;
    const left = reply.raw.destroyed;
    service.metrics.failures.inc({ err: left ? 'client_left' : failure.code });
    if (failure.status >= 500 && failure.code !== 'NOT_READY' && !left) request.log.error(error);
    if (failure.retryAfterS !== null) reply.header('retry-after', String(failure.retryAfterS));
    // What is left of the body is not read.
    if (hasBody(request) && !request.raw.complete) reply.header('connection', 'close');
    if (status === 401) reply.header('www-authenticate', 'Bearer');
    return reply.code(status).send(errorBody(failure, request.id));
  });
}

export function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

const nullable = <T>(type: string, description: string) =>
  Type.Unsafe<T | null>({ type: [type, 'null'], description });

export const NullableString = (description: string) => nullable<string>('string', description);
export const NullableNumber = (description: string) => nullable<number>('number', description);

export const TopN = (description = 'How many results; default: all.') =>
  Type.Optional(Type.Integer({ minimum: 1, description }));

/** What an answer lacks, where it lacks something. */
export const Degraded = Type.Object(
  {
    stage: Type.String(),
    cause: Type.String(),
    message: Type.String(),
  },
  { description: 'The stage that is missing from this answer, and why; absent where none is.' },
);

export const Model = Type.Optional(
  Type.String({
    description:
      'late-interaction, cross-encoder, default, the name of the model of the index, or an alias of the server.',
  }),
);
