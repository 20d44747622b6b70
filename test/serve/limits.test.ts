import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serve } from '../../dist/serve/serve.js';
import { type Answer, ask, type Fixture, get, QUESTION, startFixture, TEXTS } from './fixture.js';

const CLIENT_TIMEOUT_MS = 300;
const BODY_LIMIT = 200_000;

let fixture: Fixture;
let url: string;

beforeAll(async () => {
  fixture = await startFixture({ clientTimeoutMs: CLIENT_TIMEOUT_MS, bodyLimitBytes: BODY_LIMIT });
  url = fixture.url;
});
afterAll(() => fixture.close());

/** The sentence of an error, in whatever format. */
function sentence({ body }: Answer): string {
  return body.message ?? body.detail ?? body.error?.message ?? body.error?.reason ?? body.error;
}

const FORMATS = [
  { path: '/v2/rerank', list: 'documents' },
  { path: '/v1/rerank', list: 'documents' },
  { path: '/rerank', list: 'texts' },
  { path: '/voyage/v1/rerank', list: 'documents' },
];

describe.each(FORMATS)('bad input for $path', ({ path, list }) => {
  const wrong = async (body: unknown, headers?: Record<string, string>): Promise<Answer> =>
    await ask(`${url}${path}`, body, headers === undefined ? {} : { headers });

  it.each([
    ['{"query": "a', 400, 'The body is not JSON: Unterminated string'],
    ['', 400, 'The body must be JSON, but is empty.'],
    ['[]', 400, 'The body must be object, but an array of length 0 was given.'],
    [JSON.stringify({ query: 'q', [list]: 'text' }), 400, `${list} must be array, but "text"`],
    [JSON.stringify({ query: null, [list]: TEXTS }), 400, 'query must be string, but null'],
    [JSON.stringify({ query: ' ', [list]: TEXTS }), 400, 'query must hold some text'],
    [JSON.stringify({ query: 'q', [list]: ['a', ''] }), 400, `${list}[1] must hold some text`],
    [JSON.stringify({ query: 'q', [list]: ['a', 5] }), 400, `${list}[1] must be string, but 5`],
    [JSON.stringify({ query: 'q', [list]: [] }), 400, `${list} must hold at least one`],
    [JSON.stringify({ query: 'q', [list]: Array(1001).fill('a') }), 413, 'at most 1000'],
    [`{"query":"q","${list}":["a"],"__proto__":{"x":1}}`, 400, 'proto'],
  ])('%s', async (body, status, says) => {
    const answer = await wrong(body);
    expect(sentence(answer)).toContain(says);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('x-request-id')).toBeTruthy();
  });

  it('a body that is no JSON, or of no known type', async () => {
    const answer = await wrong('query=a', { 'content-type': 'text/plain' });
    expect(answer.status).toBe(415);
  });

  it('a deadline that is none', async () => {
    const body = { query: 'q', [list]: TEXTS };
    const answer = await wrong(body, { 'x-deadline-ms': 'soon' });
    expect(answer.status).toBe(400);
    expect(sentence(answer)).toBe(
      'x-deadline-ms must be a positive number of milliseconds, but "soon" was given.',
    );
  });

  it('a tenant, of an index that has none', async () => {
    const body = { query: 'q', [list]: TEXTS };
    const answer = await wrong(body, { 'x-tenant': 'acme' });
    expect(answer.status).toBe(400);
    expect(sentence(answer)).toContain('tenant');
  });
});

describe('bad input for ours', () => {
  it.each([
    ['/v1/rerank', { query: 'q' }, 400, 'documents must be there, or else doc_ids, and not both'],
    ['/v1/rerank', { query: 'q', documents: ['a'], doc_ids: ['b'] }, 400, 'not both'],
    ['/v1/rerank', { documents: ['a'] }, 400, 'query must be there, or else query_vectors'],
    ['/v1/rerank', { query: 'q', documents: ['a'], model: 'gpt' }, 404, 'cross-encoder, but "gpt"'],
    ['/v1/rerank', { query: 'q', documents: ['a'], filter: { topic: 'l' } }, 400, 'stored'],
    ['/v1/rerank', { query: 'q', doc_ids: ['a'], filter: { nothing: 1 } }, 400, 'nothing'],
    ['/v1/rerank', { query_vectors: [1, 2], doc_ids: ['a'] }, 400, 'which 96 does not divide'],
    [
      '/v1/rerank',
      { query: 'q', documents: Array(101).fill('a'), explain: true },
      400,
      'top_n must be at most 100',
    ],
    ['/v1/search', { query: 'q', top_k: 101, explain: true }, 400, 'top_k must be at most 100'],
    ['/score', { text_1: 'q' }, 400, 'text_2 must be a text or an array of texts'],
    ['/score', { text_1: 'q', text_2: ['a', ''] }, 400, 'text_2[1] must hold some text'],
    ['/v1/search', { query: 'q', topk: 3 }, 400, 'a field "topk", which is unknown here'],
    ['/v1/search', { query: 'q', top_k: 0 }, 400, 'top_k must be >= 1, but 0 was given'],
    ['/v1/search', { query: 'q', recall: 2 }, 400, 'recall'],
    ['/v1/search', { query: 'q', method: 'luck' }, 400, 'method must be equal to one of'],
    ['/v1/search', { query: 'q', deadline_ms: 0.001 }, 504, 'did not finish within the deadline'],
    ['/v1/documents', { documents: [{ id: 'a' }] }, 400, 'documents[0].text must be'],
    ['/v1/documents', { documents: [{ id: '', text: 'a' }] }, 400, 'documents[0].id must be'],
    ['/v1/documents', { documents: [{ id: 'a', text: 'b', tags: [] }] }, 400, '"tags"'],
    ['/v1/documents', { documents: [{ id: 'a', vectors: 'x' }] }, 400, 'vectors must be an array'],
    ['/v1/documents', { documents: [{ id: 'a', vectors: [1, 2] }] }, 400, 'vectors must hold'],
    ['/v1/documents?skip_unchanged=yes', { documents: [{ id: 'a', text: 'b' }] }, 400, '"yes"'],
    ['/v1/documents/delete', { ids: 'a' }, 400, 'ids must be array, but "a"'],
    ['/v1/nowhere', {}, 404, 'There is no POST /v1/nowhere here'],
  ])('%s %j', async (path, body, status, says) => {
    const answer = await ask(`${url}${path}`, body);
    expect(sentence(answer)).toContain(says);
    expect(answer.status).toBe(status);
    expect(answer.body.error.code).toMatch(/^[A-Z_]+$/);
    expect(answer.body.error.request_id).toBe(answer.headers.get('x-request-id'));
  });

  it('MessagePack that is none', async () => {
    const headers = { 'content-type': 'application/msgpack' };
    const answer = await ask(`${url}/v1/search`, '\u00c1', { headers });
    expect(answer.status).toBe(400);
  });

  it('a URL that is none', async () => {
    const answer = await get(`${url}/v1/documents/%E0%A4%A`);
    expect(answer.status).toBe(400);
    expect(answer.body.error.code).toBe('INVALID_ARGUMENT');
  });

  it('takes over the id of a request, but not one that could break a log', async () => {
    const own = await get(`${url}/livez`, { headers: { 'x-request-id': 'trace-7' } });
    expect(own.headers.get('x-request-id')).toBe('trace-7');
    const bad = await get(`${url}/livez`, { headers: { 'x-request-id': 'a b"c' } });
    expect(bad.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });
});

/** The status line of what a socket says until it is closed. */
async function rawAnswer(send: (socket: ReturnType<typeof connect>) => void): Promise<string> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.on('data', (data) => {
    answer += String(data);
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => {
    socket.on('close', resolve);
  });
  await once(socket, 'connect');
  send(socket);
  await closed;
  return answer;
}

describe('clients that do harm', () => {
  it('a body of 100 MB is refused by its length, unread', async () => {
    const answer = await rawAnswer((socket) => {
      socket.write(
        'POST /v2/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{"query":"',
      );
    });
    expect(answer).toContain(' 413 ');
  });

  it('so is one that says nothing of its length, at the limit', async () => {
    let sent = 0;
    const answer = await rawAnswer((socket) => {
      socket.write(
        'POST /v2/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      const piece = `c350\r\n${'x'.repeat(0xc350)}\r\n`;
      const pump = (): void => {
        while (!socket.destroyed && sent < 100_000_000) {
          sent += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on('drain', pump);
      pump();
    });
    // Who goes on sending may get the reset of the connection before the answer.
    if (answer !== '') expect(answer).toContain('The body must be at most 200000 bytes');
    expect(sent).toBeLessThan(100_000_000);
  });

  it('headers that never end are given up', async () => {
    const answer = await rawAnswer((socket) => {
      socket.write('GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ');
    });
    expect(answer).toContain(' 408 ');
  });

  it('a body that comes a byte at a time is given up', async () => {
    const answer = await rawAnswer((socket) => {
      socket.write(
        'POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n',
      );
      const drip = setInterval(() => socket.write('{'), 20);
      socket.on('close', () => clearInterval(drip));
    });
    expect(answer).toContain(' 408 ');
    expect(answer).toContain('"error":"The body was not there after 300 ms."');
  });

  it('so is a list of documents, which is no stream', async () => {
    const answer = await rawAnswer((socket) => {
      socket.write(
        'POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
      );
    });
    expect(answer).toContain(' 408 ');
  });

  it('so is a stream of documents that stops; what came before is kept', async () => {
    const answer = await rawAnswer((socket) => {
      socket.write(
        'POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      const line = '{"id":"kept","text":"kept"}\n';
      socket.write(`${line.length.toString(16)}\r\n${line}\r\n`);
    });
    expect(answer).toContain(' 408 ');
    expect(answer).toContain('"added":1');
    expect(fixture.engine.get('kept')?.text).toBe('kept');
    await fixture.engine.delete(['kept']);
  });

  it('what is no HTTP gets 400, and the server goes on', async () => {
    expect(await rawAnswer((socket) => socket.write('hello\r\n\r\n'))).toContain(' 400 ');
    expect((await get(`${url}/livez`)).status).toBe(200);
  });

  it('a name that was made to point here is refused where there are no keys', async () => {
    const { port, hostname } = new URL(url);
    const request = httpRequest({ port, hostname, path: '/info', headers: { host: 'evil.test' } });
    request.end();
    const [response] = await once(request, 'response');
    response.resume();
    expect(response.statusCode).toBe(403);
  });

  it('work of a client that has left is dropped', async () => {
    const documents = Array.from({ length: 400 }, (_, i) => `${TEXTS[i % 6]} ${i} `.repeat(4));
    const leaving = new AbortController();
    const left = ask(
      `${url}/v2/rerank`,
      { query: QUESTION, documents },
      { signal: leaving.signal },
    );
    const inFlight = async (): Promise<number> => {
      const { body } = await get(`${url}/metrics`);
      return Number(/^maxsim_requests_in_flight (\d+)$/m.exec(body)?.[1]);
    };
    while ((await inFlight()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    leaving.abort();
    await expect(left).rejects.toThrow();
    while ((await inFlight()) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(fixture.engine.stats().pool.queuedJobs).toBe(0);
    const { body } = await get(`${url}/metrics`);
    expect(body).toContain('te_request_failure{err="client_left"} 1');
  });
});

describe('documents', () => {
  const ndjson = { headers: { 'content-type': 'application/x-ndjson' } };

  it('come as a stream, are found, replaced, skipped and deleted', async () => {
    const lines = Array.from({ length: 150 }, (_, i) =>
      JSON.stringify({
        id: `stream-${i}`,
        text: `Paragraph ${i} of a stream.`,
        payload: { topic: 's' },
      }),
    );
    const added = await ask(`${url}/v1/documents`, `${lines.join('\n\n')}\n`, ndjson);
    expect(added.body).toEqual({ added: 150, replaced: 0, unchanged: 0, truncated: 0, commits: 3 });
    const again = await ask(`${url}/v1/documents?skip_unchanged=true`, lines.join('\n'), ndjson);
    expect(again.body).toMatchObject({ added: 0, unchanged: 150 });
    const found = await get(`${url}/v1/documents/stream-149`);
    expect(found.body).toMatchObject({
      text: 'Paragraph 149 of a stream.',
      payload: { topic: 's' },
    });
    const one = await get(`${url}/v1/documents/stream-149`, { method: 'DELETE' });
    expect(one.body).toEqual({ deleted: 1, unknown_ids: [] });
    const ids = Array.from({ length: 150 }, (_, i) => `stream-${i}`);
    const all = await ask(`${url}/v1/documents/delete`, { ids });
    expect(all.body).toEqual({ deleted: 149, unknown_ids: ['stream-149'] });
    const gone = await get(`${url}/v1/documents/stream-1`);
    expect([gone.status, gone.body.error.code]).toEqual([404, 'UNKNOWN_ID']);
  });

  it('before a bad line are kept, and the answer names it', async () => {
    const lines = ['{"id":"one","text":"One."}', '{"id":"two","text":"Two."}', '{"id":3}'];
    const { status, body } = await ask(`${url}/v1/documents`, lines.join('\n'), ndjson);
    expect(status).toBe(400);
    expect(body.error.message).toMatch(/^Line 3: document.id must be a string, but 3/);
    expect(body.error.details).toMatchObject({ line: 3, stored: { added: 2, commits: 1 } });
    expect(fixture.engine.get('two')?.text).toBe('Two.');
    await fixture.engine.delete(['one', 'two']);
  });

  it.each([
    ['{"id":"a"', 400, 'Line 1: it is not JSON'],
    [`{"id":"a","text":"${'x'.repeat(BODY_LIMIT)}"}`, 413, 'Line 1 is longer than'],
    ['{"id":"a","text":"b","payload":{"topic":7}}', 400, 'Lines 1 to 1 were not stored'],
  ])('%.40s', async (body, status, says) => {
    const answer = await ask(`${url}/v1/documents`, body, ndjson);
    expect(sentence(answer)).toContain(says);
    expect(answer.status).toBe(status);
    expect(fixture.engine.get('a')).toBeUndefined();
  });

  it('come with vectors of their own too', async () => {
    const [encoded] = await fixture.engine.encoder.encodeDocuments(['A vector of my own.']);
    const vectors = [...(encoded as { vectors: Float32Array }).vectors];
    const documents = [{ id: 'own', vectors }];
    expect((await ask(`${url}/v1/documents`, { documents })).body.added).toBe(1);
    const { body } = await ask(`${url}/v1/rerank`, { query: 'own', doc_ids: ['own'] });
    expect(body.results[0].document).toBeUndefined();
    await fixture.engine.delete(['own']);
  });
});

describe('keys', () => {
  const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');

  it('let in who has one, and nobody else, in the shape of the format', async () => {
    const { engine } = fixture;
    const keys = [sha256('other'), sha256('secret')];
    await using server = await serve({ engine, port: 0, keys });
    const asked = { query: QUESTION, documents: TEXTS };
    const none = await ask(`${server.url}/v2/rerank`, asked);
    expect(none.status).toBe(401);
    expect(none.headers.get('www-authenticate')).toBe('Bearer');
    expect(none.body.message).toContain('none was given');
    const bad = await ask(`${server.url}/rerank`, {}, { headers: { authorization: 'Bearer no' } });
    expect([bad.status, bad.body.error_type]).toEqual([401, 'validation']);
    for (const headers of [{ authorization: 'Bearer secret' }, { 'x-api-key': 'other' }]) {
      expect((await ask(`${server.url}/v2/rerank`, asked, { headers })).status).toBe(200);
    }
    // A body of somebody who may not ask is not read.
    const { port, hostname } = new URL(server.url);
    const unread = httpRequest({ port, hostname, path: '/v2/rerank', method: 'POST' });
    unread.setHeader('content-length', '100000000');
    unread.flushHeaders();
    const [response] = await once(unread, 'response');
    expect([response.statusCode, response.headers.connection]).toEqual([401, 'close']);
    unread.on('error', () => {}).destroy();
    expect((await get(`${server.url}/metrics`)).status).toBe(401);
    expect((await get(`${server.url}/nowhere`)).status).toBe(401);
    for (const path of ['/livez', '/readyz', '/health'])
      expect((await get(`${server.url}${path}`)).status).toBe(200);
  });

  it('must be there where others can connect', async () => {
    const { engine } = fixture;
    await expect(serve({ engine, host: '0.0.0.0', port: 0 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Give keys, or insecure: true.'),
    });
    await using open = await serve({ engine, host: '0.0.0.0', port: 0, insecure: true });
    expect((await get(open.url.replace('0.0.0.0', '127.0.0.1'))).status).toBe(404);
  });

  it('are never repeated in an error', async () => {
    const wrong = serve({ engine: fixture.engine, keys: ['plain-key'] });
    await expect(wrong).rejects.toThrow('keys[0] must be the SHA-256');
    await expect(wrong).rejects.not.toThrow('plain-key');
  });
});

it('a failure of the server is told by its code and the id of the request, without a path of its own', async () => {
  const index = `${fixture.root}/without`;
  const crossEncoder = `${fixture.root}/no-such-model`;
  await using server = await serve({
    engine: { index, mode: 'write', threads: 1, warmUp: false, crossEncoder },
    port: 0,
  });
  const { status, body } = await ask(`${server.url}/v1/rerank`, {
    model: 'cross-encoder',
    query: QUESTION,
    documents: TEXTS,
  });
  expect(status).toBe(500);
  expect(body.error).toMatchObject({ code: 'MODEL_NOT_FOUND', type: 'server_error' });
  expect(body.error.message).toContain(`its log says why at request ${body.error.request_id}`);
  expect(JSON.stringify(body)).not.toContain(fixture.root);
});

describe('overload', () => {
  it('is refused with 429 and when to come again; what was let in is answered', async () => {
    const { engine } = fixture;
    await using server = await serve({ engine, port: 0, maxTokens: 6_000 });
    const documents = Array.from({ length: 100 }, (_, i) => `${TEXTS[i % 6]} ${i}`);
    const answers = await Promise.all(
      Array.from({ length: 12 }, () =>
        ask(`${server.url}/v1/rerank`, { query: QUESTION, documents }),
      ),
    );
    const statuses = answers.map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    for (const { status, headers, body } of answers) {
      if (status === 200) expect(body.results).toHaveLength(100);
      else {
        expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
        expect(body.error.code).toBe('OVERLOADED');
      }
    }
    const after = await ask(`${server.url}/v1/rerank`, { query: QUESTION, documents });
    expect(after.status).toBe(200);
    const tei = await Promise.all(
      Array.from({ length: 6 }, () =>
        ask(`${server.url}/rerank`, { query: 'q', texts: documents }),
      ),
    );
    expect(tei.find(({ status }) => status === 429)?.body.error_type).toBe('overloaded');
  });

  it('of the engine itself is said in the same way', async () => {
    await using server = await serve({
      engine: { index: `${fixture.root}/small`, mode: 'write', threads: 1, maxQueuedTokens: 100 },
      port: 0,
    });
    const documents = Array.from({ length: 60 }, (_, i) => `${TEXTS[i % 6]} ${i}`);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        ask(`${server.url}/v1/rerank`, { query: QUESTION, documents }),
      ),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(answers.some(({ status }) => status === 200)).toBe(true);
    for (const { headers } of refused)
      expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  });
});
