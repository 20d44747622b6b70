/** What is under load: something that takes a request and says what became of it. */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { MaxSimError } from '../errors.js';
import type { Engine, RerankOptions } from '../maxsim.js';

/**
 * ok: answered. degraded: answered, with a stage missing. shed: refused at once, as too much was waiting.
 * failed: anything else.
 */
export const OUTCOMES = ['ok', 'degraded', 'shed', 'failed'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export type LoadRequest = { query: string; ids: readonly string[] };

export interface LoadTarget {
  readonly name: string;
  send(request: LoadRequest): Promise<Outcome>;
  close(): Promise<void>;
}

/** An engine in this process, whose index holds the candidates. It stays the caller's. */
export function engineTarget(engine: Engine, options: RerankOptions = {}): LoadTarget {
  return {
    name: 'engine',
    async send({ query, ids }) {
      try {
        const { degraded } = await engine.rerank(query, [...ids], options);
        return degraded === null ? 'ok' : 'degraded';
      } catch (error) {
        return error instanceof MaxSimError && error.code === 'OVERLOADED' ? 'shed' : 'failed';
      }
    },
    async close() {},
  };
}

export type HttpTargetOptions = {
  headers?: Readonly<Record<string, string>>;
  /** The body of a request. Default: `{ query, doc_ids }`. */
  body?(request: LoadRequest): unknown;
};

/** Answers that are read for "degraded" are no longer than this. */
const MOST_BYTES = 1 << 20;

/** A URL that is sent a POST with JSON. 429 and 503 are shed, other answers than 2xx failed. */
export function httpTarget(url: string, options: HttpTargetOptions = {}): LoadTarget {
  const to = new URL(url);
  const isSecure = to.protocol === 'https:';
  // As many connections as requests under way: to wait for one would be a queue of the driver's own.
  const agent = isSecure
    ? new HttpsAgent({ keepAlive: true, maxFreeSockets: 1024 })
    : new HttpAgent({ keepAlive: true, maxFreeSockets: 1024 });
  const body = options.body ?? (({ query, ids }: LoadRequest) => ({ query, doc_ids: ids }));
  const send = (request: LoadRequest): Promise<Outcome> =>
    new Promise((resolve) => {
      const bytes = Buffer.from(JSON.stringify(body(request)));
      const headers = {
        'content-type': 'application/json',
        'content-length': String(bytes.length),
        ...options.headers,
      };
      const call = (isSecure ? httpsRequest : httpRequest)(
        to,
        { method: 'POST', headers, agent },
        (response) => {
          const { statusCode = 0 } = response;
          const pieces: Buffer[] = [];
          let size = 0;
          response.on('data', (piece: Buffer) => {
            size += piece.length;
            if (size <= MOST_BYTES) pieces.push(piece);
          });
          response.on('error', () => resolve('failed'));
          response.on('end', () => {
            if (statusCode === 429 || statusCode === 503) resolve('shed');
            else if (statusCode < 200 || statusCode > 299) resolve('failed');
            else resolve(isDegraded(pieces, size) ? 'degraded' : 'ok');
          });
        },
      );
      call.on('error', () => resolve('failed'));
      call.end(bytes);
    });
  return {
    name: url,
    send,
    async close() {
      agent.destroy();
    },
  };
}

function isDegraded(pieces: readonly Buffer[], size: number): boolean {
  if (size > MOST_BYTES) return false;
  const bytes = Buffer.concat(pieces);
  if (!bytes.includes('"degraded"')) return false;
  try {
    const { degraded } = JSON.parse(bytes.toString()) as { degraded?: unknown };
    return degraded !== undefined && degraded !== null && degraded !== false;
  } catch {
    return false;
  }
}
