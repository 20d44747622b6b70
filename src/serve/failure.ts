/**
 * What is said of a request that failed: a status, a code and a sentence, from whatever was thrown. Each
 * wire format puts them into its own shape. Nothing of an unforeseen error gets out but its request id.
 */
import type { FastifyError, FastifyRequest } from 'fastify';
import { MaxSimError, type MaxSimErrorCode, show } from '../errors.js';

/** Codes that only a server has, beside those of MaxSimError. */
export type ServeErrorCode =
  | 'UNAUTHORIZED' // no API key, or none that is known
  | 'FORBIDDEN_HOST' // a Host header that is no loopback name, on a server without keys
  | 'NOT_FOUND' // no such route
  | 'TOO_LARGE' // a body, a line or a list over its limit
  | 'UNSUPPORTED_MEDIA_TYPE' // a body of a type that the route does not read
  | 'TIMEOUT' // the client took too long to send its body
  | 'NOT_READY'; // the model or the index is being loaded, or the server is going down

export type Failure = {
  status: number;
  code: MaxSimErrorCode | ServeErrorCode;
  message: string;
  details: Readonly<Record<string, unknown>>;
  /** Seconds until another try makes sense. */
  retryAfterS: number | null;
};

/** A failure that the server itself finds. */
export class RequestError extends Error {
  override readonly name = 'RequestError';

  constructor(
    readonly status: number,
    readonly code: ServeErrorCode | MaxSimErrorCode,
    message: string,
    readonly retryAfterS: number | null = null,
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
  }
}

const STATUS: Partial<Record<MaxSimErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_VECTORS: 400,
  VECTOR_OUT_OF_RANGE: 400,
  EMPTY_TEXT: 400,
  TENANT_REQUIRED: 400,
  INVALID_SOURCE: 400,
  UNKNOWN_ID: 404,
  READ_ONLY: 403,
  // Nobody reads it: the client has left, or the drain has come to its end.
  ABORTED: 503,
  CLOSED: 503,
  OVERLOADED: 429,
  DEADLINE_EXCEEDED: 504,
  DISK_FULL: 507,
};

/** What a caller may know of any error. 500 and INTERNAL: it is for the log. */
export function failureOf(error: unknown, request: FastifyRequest): Failure {
  if (error instanceof RequestError) {
    const { status, code, message, details, retryAfterS } = error;
    return { status, code, message, details, retryAfterS };
  }
  if (error instanceof MaxSimError) {
    const status = STATUS[error.code];
    // Sentences of the others name files of this machine.
    if (status === undefined) return internal(error.code, request.id);
    const retryAfterS = status === 429 || status === 503 ? 1 : null;
    return { status, code: error.code, message: error.message, details: {}, retryAfterS };
  }
  const { statusCode, message, validation, validationContext } = error as Partial<FastifyError>;
  const [wrong] = validation ?? [];
  if (wrong !== undefined) {
    const given = validationContext === 'body' ? request.body : request.params;
    const sentence = schemaSentence(wrong, given, validationContext ?? 'request');
    return failure(400, 'INVALID_ARGUMENT', sentence);
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return failure(
      statusCode,
      codeOf(statusCode),
      httpSentence(statusCode, request) ?? `${message}`,
    );
  return internal('INTERNAL', request.id);
}

function failure(status: number, code: Failure['code'], message: string): Failure {
  return { status, code, message, details: {}, retryAfterS: null };
}

function internal(code: MaxSimErrorCode, requestId: string): Failure {
  return failure(
    500,
    code,
    `The server failed (${code}); its log says why at request ${requestId}.`,
  );
}

/** Of what fastify says in three words. */
function httpSentence(status: number, request: FastifyRequest): string | null {
  if (status === 413)
    return `The body must be at most ${request.routeOptions.bodyLimit} bytes, but is longer.`;
  if (status === 415)
    return `The content-type must be application/json, or another that the route reads, but ${show(request.headers['content-type'])} was given.`;
  return null;
}

function codeOf(status: number): Failure['code'] {
  if (status === 404) return 'NOT_FOUND';
  if (status === 413) return 'TOO_LARGE';
  if (status === 415) return 'UNSUPPORTED_MEDIA_TYPE';
  return 'INVALID_ARGUMENT';
}

type SchemaError = NonNullable<FastifyError['validation']>[number];

/** A sentence for the first thing in a body, or its parameters, that does not fit the schema. */
function schemaSentence(error: SchemaError, given: unknown, where: string): string {
  const path = error.instancePath.split('/').slice(1).map(unescapePointer);
  const name = path.reduce(
    (sum, part) => (/^\d+$/.test(part) ? `${sum}[${part}]` : sum === '' ? part : `${sum}.${part}`),
    '',
  );
  const value = path.reduce<unknown>(
    (at, part) => (typeof at === 'object' && at !== null ? at[part as keyof typeof at] : undefined),
    given,
  );
  const subject = name === '' ? `The ${where}` : name;
  if (error.keyword === 'required')
    return `${subject} must have ${String(error.params['missingProperty'])}, but ${show(value)} was given.`;
  if (error.keyword === 'additionalProperties')
    return `${subject} has a field "${String(error.params['additionalProperty'])}", which is unknown here.`;
  return `${subject} ${error.message ?? 'is not as expected'}, but ${show(value)} was given.`;
}

function unescapePointer(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~');
}
