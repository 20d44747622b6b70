/** A reranking service on loopback that speaks every format, and fails as it is told. */
import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

export type Received = {
  path: string;
  headers: IncomingHttpHeaders;
  body: Record<string, unknown>;
};

/** Answers instead of the service; undefined: the service answers after all. */
export type Mishap = (response: ServerResponse, received: Received) => unknown;

/** How many words of the query are in the document: what every format answers with. */
export function overlap(query: string, document: string): number {
  const words = new Set(query.toLowerCase().split(/\W+/));
  return document
    .toLowerCase()
    .split(/\W+/)
    .filter((word) => words.has(word)).length;
}

export class Service {
  readonly received: Received[] = [];
  /** What happens to the next requests, one each; then all is well. */
  mishaps: Mishap[] = [];
  /** What happens to every request. */
  mishap: Mishap | null = null;
  private constructor(
    readonly url: string,
    private readonly server: Server,
  ) {}

  static async start(): Promise<Service> {
    let service: Service | undefined;
    const server = createServer(async (request, response) => {
      let text = '';
      for await (const piece of request) text += piece;
      const received = {
        path: request.url ?? '',
        headers: request.headers,
        body: JSON.parse(text) as Record<string, unknown>,
      };
      service?.answer(received, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    service = new Service(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, server);
    return service;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  reset(): void {
    this.received.length = 0;
    this.mishaps = [];
    this.mishap = null;
  }

  private answer(received: Received, response: ServerResponse): void {
    this.received.push(received);
    const mishap = this.mishap ?? this.mishaps.shift();
    if (mishap !== undefined && mishap(response, received) !== undefined) return;
    response.end(JSON.stringify(answerOf(received)));
  }
}

function answerOf({ path, body }: Received): unknown {
  const query = String(body['query']);
  const scored = (documents: unknown, key: string) =>
    (documents as string[])
      .map((document, index) => ({ index, [key]: overlap(query, document) }))
      .sort((a, b) => (b[key] as number) - (a[key] as number));
  if (path === '/v2/rerank')
    return {
      id: 'r',
      results: scored(body['documents'], 'relevance_score'),
      meta: { billed_units: { search_units: 1 } },
    };
  if (path === '/v1/rerank' && 'top_k' in body)
    return {
      object: 'list',
      data: scored(body['documents'], 'relevance_score'),
      model: body['model'],
    };
  if (path === '/v1/rerank')
    return { model: body['model'], results: scored(body['documents'], 'relevance_score') };
  if (path === '/rerank') return scored(body['texts'], 'score');
  return { error: 'no such route' };
}

/** `return status(503)` in a mishap. */
export function status(code: number, body = '', headers: Record<string, string> = {}): Mishap {
  return (response) => response.writeHead(code, headers).end(body);
}
