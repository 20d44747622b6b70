import { createCohere } from '@ai-sdk/cohere';
import { rerank } from 'ai';
import { CohereClientV2, CohereError } from 'cohere-ai';
import { pack } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VoyageAIClient } from 'voyageai';
import {
  ANSWER,
  ask,
  type Fixture,
  get,
  PASSAGES,
  QUESTION,
  startFixture,
  TEXTS,
} from './fixture.js';

let fixture: Fixture;
let url: string;

beforeAll(async () => {
  fixture = await startFixture({ aliases: { 'rerank-v3.5': 'late-interaction' } });
  url = fixture.url;
});
afterAll(() => fixture.close());

const falling = (scores: readonly number[]): boolean =>
  scores.every((score, i) => i === 0 || score <= (scores[i - 1] as number));

/** What the engine itself says of the texts. */
async function reference(): Promise<{ order: number[]; scores: number[] }> {
  const candidates = TEXTS.map((text, i) => ({ id: String(i), text }));
  const { hits } = await fixture.engine.rerank(QUESTION, candidates, { topK: TEXTS.length });
  return {
    order: hits.map(({ id }) => Number(id)),
    scores: hits.map(({ score }) => score as number),
  };
}

describe('Cohere', () => {
  it('serves its own client', async () => {
    const client = new CohereClientV2({ token: 'any', environment: url });
    const { results, id, meta } = await client.rerank({
      model: 'rerank-v3.5',
      query: QUESTION,
      documents: TEXTS,
      topN: 2,
    });
    expect(results).toHaveLength(2);
    expect(results[0]?.index).toBe(ANSWER);
    expect(results[0]?.relevanceScore).toBeGreaterThan(results[1]?.relevanceScore as number);
    expect(results[0]?.relevanceScore).toBeLessThanOrEqual(1);
    expect(id).toBeTruthy();
    expect(meta?.billedUnits?.searchUnits).toBe(1);
  });

  it('serves the AI SDK', async () => {
    const cohere = createCohere({ apiKey: 'any', baseURL: `${url}/v2` });
    const { ranking } = await rerank({
      model: cohere.reranking('rerank-v3.5'),
      query: QUESTION,
      documents: TEXTS,
      topN: 3,
    });
    expect(ranking.map(({ originalIndex }) => originalIndex)).toEqual(
      (await reference()).order.slice(0, 3),
    );
  });

  it('says what is wrong so that its client understands', async () => {
    const client = new CohereClientV2({ token: 'any', environment: url, maxRetries: 0 });
    const wrong = client.rerank({ model: 'command', query: QUESTION, documents: TEXTS });
    const error = await wrong.then(
      () => null,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(CohereError);
    const { statusCode, body } = error as CohereError;
    expect(statusCode).toBe(404);
    expect((body as { message: string }).message).toContain('rerank-v3.5');
  });
});

describe('Voyage', () => {
  it('serves its own client', async () => {
    const client = new VoyageAIClient({ apiKey: 'any', environment: `${url}/voyage/v1` });
    const { data, usage, model } = await client.rerank({
      model: 'default',
      query: QUESTION,
      documents: TEXTS,
      topK: 2,
      returnDocuments: true,
    });
    expect(data?.map(({ index }) => index)).toEqual((await reference()).order.slice(0, 2));
    expect(data?.[0]?.document).toBe(TEXTS[ANSWER]);
    expect(model).toBe('default');
    expect(usage?.totalTokens).toBeGreaterThan(0);
  });

  it('says what is wrong as Voyage does', async () => {
    const { status, body } = await ask(`${url}/voyage/v1/rerank`, { query: 7, documents: TEXTS });
    expect(status).toBe(400);
    expect(body).toEqual({ detail: 'query must be string, but 7 was given.' });
  });
});

describe('text-embeddings-inference', () => {
  it('gives a bare list of all texts, best first', async () => {
    const { status, headers, body } = await ask(`${url}/rerank`, {
      query: QUESTION,
      texts: TEXTS,
      return_text: true,
    });
    expect(status).toBe(200);
    expect(body.map(({ index }: { index: number }) => index)).toEqual((await reference()).order);
    expect(body[0].text).toBe(TEXTS[ANSWER]);
    expect(falling(body.map(({ score }: { score: number }) => score))).toBe(true);
    expect(Number(headers.get('x-total-time'))).toBeGreaterThanOrEqual(0);
  });

  it('gives the scores of the engine as raw scores', async () => {
    const asked = { query: QUESTION, texts: TEXTS, raw_scores: true };
    const { body } = await ask(`${url}/rerank`, asked);
    expect(body.map(({ score }: { score: number }) => score)).toEqual((await reference()).scores);
    expect(body[0].text).toBeUndefined();
  });

  it('says what is wrong as TEI does', async () => {
    const empty = await ask(`${url}/rerank`, { query: QUESTION, texts: [] });
    expect([empty.status, empty.body.error_type]).toEqual([400, 'empty']);
    const many = await ask(`${url}/rerank`, { query: 'x', texts: Array(1001).fill('y') });
    expect([many.status, many.body.error_type]).toEqual([413, 'validation']);
    expect(many.body.error).toBe('texts must hold at most 1000, but has 1001.');
  });

  it('says what it is, how it is and what it has done', async () => {
    const info = await get(`${url}/info`);
    expect(info.body).toMatchObject({ max_client_batch_size: 1000, dim: 96, documents: 6 });
    expect((await get(`${url}/health`)).status).toBe(200);
    const { body, headers } = await get(`${url}/metrics`);
    expect(headers.get('content-type')).toContain('text/plain');
    expect(body).toMatch(/^te_request_count\{format="tei",method="rerank"\} \d+$/m);
    expect(body).toMatch(/^te_request_duration_count \d+$/m);
    expect(body).toMatch(/^te_queue_size 0$/m);
    expect(body).toMatch(/^maxsim_event_loop_delay_seconds\{quantile="0.99"\} [\d.e-]+$/m);
    expect(body).toMatch(/^maxsim_documents \d+$/m);
  });
});

describe('Elasticsearch', () => {
  it('names the model in the path', async () => {
    const { status, body } = await ask(`${url}/_inference/rerank/rerank-v3.5`, {
      query: QUESTION,
      input: TEXTS,
      task_settings: { top_n: 2, return_documents: true },
    });
    expect(status).toBe(200);
    expect(body.rerank).toHaveLength(2);
    expect(body.rerank[0]).toMatchObject({ index: ANSWER, text: TEXTS[ANSWER] });
    const wrong = await ask(`${url}/_inference/rerank/elser`, { query: 'q', input: 'a' });
    expect(wrong.status).toBe(404);
    expect(wrong.body).toMatchObject({ error: { type: 'model_not_found' }, status: 404 });
  });
});

describe('scores of vLLM', () => {
  it('come in the order of the documents, by either name', async () => {
    const { order } = await reference();
    const old = await ask(`${url}/score`, { text_1: QUESTION, text_2: TEXTS });
    const indices = old.body.data.map(({ index }: { index: number }) => index);
    expect(indices).toEqual(TEXTS.map((_, i) => i));
    const best = [...old.body.data].sort((a, b) => b.score - a.score);
    expect(best.map(({ index }) => index)).toEqual(order);
    const asked = { queries: [QUESTION], documents: TEXTS };
    expect((await ask(`${url}/v1/score`, asked)).body.data).toEqual(old.body.data);
  });

  it('are refused of many queries at once', async () => {
    const { status, body } = await ask(`${url}/score`, { text_1: ['a', 'b'], text_2: ['c', 'd'] });
    expect(status).toBe(400);
    expect(body.error.message).toBe(
      'text_1 must be one text, to score all others with, but an array of length 2 was given.',
    );
  });
});

describe('Jina, vLLM and ours', () => {
  it('takes strings and objects, and gives documents back', async () => {
    const documents = TEXTS.map((text, i) => (i % 2 === 0 ? text : { text }));
    const { status, body } = await ask(`${url}/v1/rerank`, {
      model: 'default',
      query: QUESTION,
      documents,
      top_n: 3,
    });
    expect(status).toBe(200);
    const { order, scores } = await reference();
    expect(body.results.map(({ index }: { index: number }) => index)).toEqual(order.slice(0, 3));
    expect(body.results[0]).toMatchObject({
      document: { text: TEXTS[ANSWER] },
      raw_score: scores[0],
      stage: 'late-interaction',
    });
    expect(body.usage.total_tokens).toBe(body.usage.prompt_tokens);
    expect(body.degraded).toBeUndefined();
  });

  it('lets the cross-encoder judge where the model names it', async () => {
    const { body } = await ask(`${url}/v1/rerank`, {
      model: 'cross-encoder',
      query: QUESTION,
      documents: TEXTS,
      return_documents: false,
    });
    expect(body.model).toBe('cross-encoder');
    for (const { stage, raw_score, relevance_score, document } of body.results) {
      expect(stage).toBe('cross-encoder');
      expect(relevance_score).toBeCloseTo(1 / (1 + Math.exp(-raw_score)), 12);
      expect(document).toBeUndefined();
    }
    expect(body.results[0].index).toBe(ANSWER);
  });

  it('ranks stored documents by id, names the unknown, and explains', async () => {
    const { body } = await ask(`${url}/v1/rerank`, {
      query: QUESTION,
      doc_ids: ['travel', 'nobody', 'laptop'],
      explain: true,
    });
    expect(body.results.map(({ index, id }: { index: number; id: string }) => [index, id])).toEqual(
      [
        [2, 'laptop'],
        [0, 'travel'],
      ],
    );
    expect(body.unknown_ids).toEqual(['nobody']);
    const [{ explanation, raw_score, payload }] = body.results;
    expect(payload).toEqual({ topic: 'l' });
    const sum = explanation.reduce(
      (all: number, { contribution }: { contribution: number }) => all + contribution,
      0,
    );
    expect(sum).toBeCloseTo(raw_score, 3);
    const computer = explanation.find(
      ({ query_token }: { query_token: string }) => query_token === 'computer',
    );
    expect(QUESTION.slice(...computer.query_span)).toBe('computer');
  });

  it('gives both places of an id that comes twice', async () => {
    const { body } = await ask(`${url}/v1/rerank`, { query: 'x', doc_ids: ['leave', 'leave'] });
    const places = body.results.map(({ index }: { index: number }) => index);
    expect(places.sort()).toEqual([0, 1]);
  });

  it('keeps out by a filter what it reranks and what it searches', async () => {
    const filter = { topic: 'l' };
    const ids = PASSAGES.map(({ id }) => id);
    const { body } = await ask(`${url}/v1/rerank`, { query: QUESTION, doc_ids: ids, filter });
    expect(body.results.map(({ id }: { id: string }) => id)).toEqual(['laptop', 'leave']);
    expect(body.excluded_ids).toHaveLength(4);
    const found = await ask(`${url}/v1/search`, { query: QUESTION, filter });
    expect(found.body.hits.map(({ id }: { id: string }) => id)).toEqual(['laptop', 'leave']);
  });

  it('searches, with text or with vectors', async () => {
    const { body } = await ask(`${url}/v1/search`, { query: QUESTION, top_k: 2, exact: true });
    expect(body.hits).toHaveLength(2);
    expect(body.hits[0]).toMatchObject({
      id: 'laptop',
      text: TEXTS[ANSWER],
      payload: { topic: 'l' },
    });
    expect(body.plan).toMatchObject({ certified: true, documents: 6 });
    const [encoded] = await fixture.engine.encoder.encodeQueries([QUESTION]);
    const { vectors } = encoded as { vectors: Float32Array };
    const asJson = await ask(`${url}/v1/search`, { query_vectors: [...vectors], top_k: 2 });
    const hits = ({ id, score }: { id: string; score: number }): unknown => [id, score];
    expect(asJson.body.hits.map(hits)).toEqual(body.hits.map(hits));
    const packed = await fetch(`${url}/v1/search`, {
      method: 'POST',
      headers: { 'content-type': 'application/msgpack' },
      body: new Uint8Array(
        pack({ query_vectors: Buffer.from(vectors.buffer, 0, vectors.byteLength), top_k: 2 }),
      ),
    });
    expect(((await packed.json()) as typeof body).hits.map(hits)).toEqual(body.hits.map(hits));
  });

  it('answers in time with the best order there is, and says what is missing', async () => {
    const documents = Array.from({ length: 200 }, (_, i) => `${TEXTS[i % 6]} ${i} `.repeat(8));
    const asked = { query: QUESTION, documents, top_n: 2 };
    const { status, headers, body } = await ask(`${url}/v1/rerank`, { ...asked, deadline_ms: 20 });
    expect(status).toBe(200);
    expect(body.degraded).toMatchObject({ stage: 'late-interaction', cause: 'deadline' });
    expect(headers.get('x-degraded')).toBe('late-interaction');
    expect(body.results.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
    expect(body.results[0]).toMatchObject({
      raw_score: null,
      relevance_score: 0,
      stage: 'first-stage',
    });
    const cohere = await ask(`${url}/v2/rerank`, asked, { headers: { 'x-deadline-ms': '20' } });
    expect(cohere.body.meta.warnings[0]).toContain('did not finish within');
    const { body: metrics } = await get(`${url}/metrics`);
    expect(metrics).toContain('maxsim_degraded_total{stage="late-interaction",cause="deadline"} 2');
  });

  it('describes itself', async () => {
    const { body } = await get(`${url}/openapi.json`);
    expect(body.openapi).toBe('3.1.0');
    const asked = body.paths['/v2/rerank'].post.requestBody.content['application/json'].schema;
    expect(asked.required).toEqual(['query', 'documents']);
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining(['/v1/rerank', '/v1/search', '/v1/documents', '/rerank', '/livez']),
    );
  });
});
