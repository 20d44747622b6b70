import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { MaxSimError } from '../../dist/errors.js';
import {
  RemoteReranker,
  type RemoteRerankerOptions,
} from '../../dist/rerank/remote/remote-reranker.js';
import { Service, status } from './service.js';

const QUERY = 'red apple pie';
const DOCUMENTS = ['a blue car', 'an apple', 'a red apple pie', 'pie'];
const EXPECTED = [0, 1, 3, 1];

let service: Service;
beforeAll(async () => {
  service = await Service.start();
});
beforeEach(() => service.reset());
afterAll(() => service.stop());

const PROVIDERS = ['cohere', 'jina', 'voyage', 'tei'] as const;

function open(options: Partial<RemoteRerankerOptions> = {}): RemoteReranker {
  return new RemoteReranker({
    provider: 'cohere',
    model: 'rerank-v4.0-fast',
    url: service.url,
    apiKey: 'secret-key',
    ...options,
  });
}

async function failure(attempt: Promise<unknown>): Promise<MaxSimError> {
  return await attempt.then(
    () => {
      throw new Error('nothing was thrown');
    },
    (error: unknown) => error as MaxSimError,
  );
}

describe.each(PROVIDERS)('%s', (provider) => {
  it('is asked in its own format and read in the order of the documents', async () => {
    const { scores } = await open({ provider }).judge(QUERY, DOCUMENTS);
    expect([...scores]).toEqual(EXPECTED);
    const [request] = service.received;
    expect(request?.headers['authorization']).toBe('Bearer secret-key');
    expect(request?.body['query']).toBe(QUERY);
    expect(request?.path).toBe(
      { cohere: '/v2/rerank', jina: '/v1/rerank', voyage: '/v1/rerank', tei: '/rerank' }[provider],
    );
    if (provider === 'tei')
      expect(request?.body).toMatchObject({ raw_scores: true, truncate: true });
    else expect(request?.body['model']).toBe('rerank-v4.0-fast');
  });

  it('is asked in parts where there are more documents than it takes', async () => {
    const many = Array.from({ length: 7 }, (_, i) => DOCUMENTS[i % 4] as string);
    const { scores } = await open({ provider, maxDocuments: 3 }).judge(QUERY, many);
    expect([...scores]).toEqual(many.map((_, i) => EXPECTED[i % 4]));
    expect(service.received).toHaveLength(3);
  });

  it('scores nothing without a request', async () => {
    expect((await open({ provider }).judge(QUERY, [])).scores).toHaveLength(0);
    expect(service.received).toHaveLength(0);
  });

  it.each<[string, (count: number) => unknown]>([
    ['no list', () => ({ message: 'hello' })],
    ['null', () => null],
    ['too few', () => wrap(provider, [{ index: 0, relevance_score: 1, score: 1 }])],
    [
      'one twice',
      (count) =>
        wrap(
          provider,
          Array.from({ length: count }, () => ({ index: 0, relevance_score: 1, score: 1 })),
        ),
    ],
    [
      'an index beyond the documents',
      (count) =>
        wrap(
          provider,
          Array.from({ length: count }, (_, i) => ({ index: i + 1, relevance_score: 1, score: 1 })),
        ),
    ],
    [
      'a score that is no number',
      (count) =>
        wrap(
          provider,
          Array.from({ length: count }, (_, index) => ({
            index,
            relevance_score: 'x',
            score: null,
          })),
        ),
    ],
  ])('an answer with %s is refused, and not asked for again', async (_, body) => {
    service.mishap = (response) => response.end(JSON.stringify(body(DOCUMENTS.length)));
    const error = await failure(open({ provider }).judge(QUERY, DOCUMENTS));
    expect(error.code).toBe('RERANKER_FAILED');
    expect(service.received).toHaveLength(1);
  });
});

function wrap(provider: (typeof PROVIDERS)[number], list: unknown[]): unknown {
  return provider === 'tei' ? list : provider === 'voyage' ? { data: list } : { results: list };
}

describe('when something goes wrong', () => {
  it.each([429, 500, 503, 408])('%i is tried again', async (code) => {
    service.mishaps = [status(code, 'later', { 'retry-after': '0' })];
    expect([...(await open().judge(QUERY, DOCUMENTS)).scores]).toEqual(EXPECTED);
    expect(service.received).toHaveLength(2);
  });

  it.each([400, 401, 403, 404, 422])('%i is not, and its words are passed on', async (code) => {
    service.mishap = status(code, '{"message":"model not found"}');
    const error = await failure(open().judge(QUERY, DOCUMENTS));
    expect(error).toMatchObject({
      code: 'RERANKER_FAILED',
      details: { status: code, retryable: false },
    });
    expect(error.message).toContain('model not found');
    expect(error.message).not.toContain('secret-key');
    expect(service.received).toHaveLength(1);
  });

  it('gives up after its attempts', async () => {
    service.mishap = status(503);
    const error = await failure(open({ attempts: 3 }).judge(QUERY, DOCUMENTS));
    expect(error.details).toMatchObject({ status: 503, retryable: true });
    expect(service.received).toHaveLength(3);
  });

  it('does not wait for a time that lies beyond its budget', async () => {
    service.mishap = status(429, '', { 'retry-after': '60' });
    const error = await failure(open().judge(QUERY, DOCUMENTS, { budgetMs: 1000 }));
    expect(error.details).toMatchObject({ status: 429, retryAfterMs: 60_000 });
    expect(service.received).toHaveLength(1);
  });

  it('ends a request that is not answered', async () => {
    service.mishap = () => true;
    const error = await failure(open({ timeoutMs: 30, attempts: 1 }).judge(QUERY, DOCUMENTS));
    expect(error).toMatchObject({ code: 'RERANKER_FAILED', details: { retryable: true } });
    expect(error.message).toContain('30 ms');
  });

  it('heeds its signal while it waits for an answer and between attempts', async () => {
    service.mishap = () => true;
    const waiting = new AbortController();
    const pending = failure(open().judge(QUERY, DOCUMENTS, { signal: waiting.signal }));
    setTimeout(() => waiting.abort(), 20);
    expect((await pending).code).toBe('ABORTED');
    service.mishap = status(429, '', { 'retry-after': '30' });
    const pausing = new AbortController();
    const paused = failure(open().judge(QUERY, DOCUMENTS, { signal: pausing.signal }));
    setTimeout(() => pausing.abort(), 50);
    expect((await paused).code).toBe('ABORTED');
  });

  it('does not carry its key to where a redirect leads', async () => {
    service.mishap = status(307, '', { location: `${service.url}/elsewhere` });
    const error = await failure(open({ attempts: 1 }).judge(QUERY, DOCUMENTS));
    expect(error.code).toBe('RERANKER_FAILED');
    expect(service.received.map(({ path }) => path)).toEqual(['/v2/rerank']);
  });

  it('says what is not JSON', async () => {
    service.mishap = (response) => response.end('<html>welcome</html>');
    const error = await failure(open().judge(QUERY, DOCUMENTS));
    expect(error.message).toContain('<html>welcome');
  });

  it('says what cannot be reached', async () => {
    const error = await failure(
      open({ url: 'http://127.0.0.1:9', attempts: 1 }).judge(QUERY, DOCUMENTS),
    );
    expect(error.code).toBe('RERANKER_FAILED');
    expect(error.message).toMatch(/cannot be reached: .+/);
  });

  it.each<[string, Partial<RemoteRerankerOptions>]>([
    ['another provider', { provider: 'nobody' as never }],
    ['no model', { model: undefined as never }],
    ['no address', { provider: 'tei', url: undefined as never }],
    ['an address that is none', { url: 'not an address' }],
    ['no attempts', { attempts: 0 }],
    ['an option that is none', { topN: 3 } as never],
  ])('%s: INVALID_ARGUMENT', (_, options) => {
    expect(() => open(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
