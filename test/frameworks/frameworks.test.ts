import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Document } from '@langchain/core/documents';
import { BaseDocumentCompressor } from '@langchain/core/retrievers/document_compressors';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { rerank } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rerankingModel } from '../../dist/frameworks/ai.js';
import { MaxSimRerank, MaxSimRetriever } from '../../dist/frameworks/langchain.js';
import { createMcpServer } from '../../dist/frameworks/mcp.js';
import { relevanceOf } from '../../dist/frameworks/rerank-texts.js';
import { cascade, Engine, type Hit, lateInteraction } from '../../dist/maxsim.js';

const TEXTS = [
  'The enterprise plan costs 40 dollars per seat and month, billed yearly.',
  '',
  'Business class is booked only for flights longer than seven hours.',
  'Parental leave is sixteen weeks, paid in full, in one part or two.',
];
const QUESTION = 'can I fly business class to Tokyo?';
const pipeline = cascade([lateInteraction()]);

// That objects are read as JSON is said in the result, too.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

let root: string;
let engine: Engine;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-frameworks-'));
  engine = await Engine.open(join(root, 'index'), { threads: 1 });
  await engine.add([
    { id: 'travel', text: TEXTS[2] as string, payload: { page: 7 } },
    { id: 'leave', text: TEXTS[3] as string },
  ]);
});

afterAll(async () => {
  await engine.close();
  await rm(root, { recursive: true, force: true });
});

describe('scores for frameworks', () => {
  const hit = (score: number | null, stage: string, probability?: number): Hit => ({
    ...{ id: 'x', score, stage, scores: [], text: null, payload: null },
    ...(probability === undefined ? {} : { probability }),
  });

  it('are probabilities, else those of one stage, else places: what compares, and falls', () => {
    expect(relevanceOf([hit(3, 'a', 0.9), hit(2, 'a', 0.4)])).toEqual({
      ...{ kind: 'probability', scores: [0.9, 0.4] },
    });
    expect(relevanceOf([hit(3, 'a'), hit(2, 'a')])).toEqual({ kind: 'score', scores: [3, 2] });
    const places = { kind: 'place', scores: [1, 0.5] };
    expect(relevanceOf([hit(-3, 'b'), hit(9, 'a')])).toEqual(places);
    expect(relevanceOf([hit(null, 'first-stage'), hit(null, 'first-stage')])).toEqual(places);
    expect(relevanceOf([hit(2, 'a'), hit(3, 'a')])).toEqual(places);
  });
});

describe('LangChain', () => {
  it('has a compressor that keeps the best documents, with all that they are', async () => {
    const documents = TEXTS.map(
      (pageContent, i) => new Document({ id: `d${i}`, pageContent, metadata: { i } }),
    );
    const compressor = new MaxSimRerank({ engine, pipeline, topN: 2 });
    expect(BaseDocumentCompressor.isBaseDocumentCompressor(compressor)).toBe(true);
    const [best, ...rest] = await compressor.compressDocuments(documents, QUESTION);
    expect(rest).toHaveLength(1);
    expect(best).toMatchObject({
      ...{ id: 'd2', pageContent: TEXTS[2] },
      metadata: { i: 2, relevanceScore: expect.any(Number) },
    });
    expect(documents[2]?.metadata).toEqual({ i: 2 });
    const ranking = await compressor.rerank(TEXTS, QUESTION, { topN: 9 });
    expect(ranking.map(({ index }) => index).sort()).toEqual([0, 2, 3]); // nothing in the other
    expect(await compressor.compressDocuments([], QUESTION)).toEqual([]);
  });

  it('has a retriever of the index', async () => {
    const retriever = new MaxSimRetriever({ engine, topK: 1 });
    expect(await retriever.invoke(QUESTION)).toMatchObject([
      { id: 'travel', pageContent: TEXTS[2], metadata: { page: 7 } },
    ]);
  });
});

describe('the AI SDK', () => {
  it('reranks texts and objects', async () => {
    const model = rerankingModel(engine, { pipeline });
    const texts = await rerank({ model, query: QUESTION, documents: TEXTS, topN: 2 });
    expect(texts.ranking).toHaveLength(2);
    expect(texts.ranking[0]).toMatchObject({ originalIndex: 2, document: TEXTS[2] });
    expect(texts.providerMetadata?.['maxsim']).toMatchObject({ scores: 'score', degraded: null });
    const documents = TEXTS.map((text) => ({ text }));
    const objects = await rerank({ model, query: QUESTION, documents });
    expect(objects.rerankedDocuments[0]).toEqual(documents[2]);
    expect(rerankingModel(engine, { version: 'v4' }).specificationVersion).toBe('v4');
    expect(() => rerankingModel(engine, { version: 'v5' as never })).toThrow(/one of v3, v4/);
  });
});

describe('the Model Context Protocol', () => {
  const connected = async (): Promise<Client> => {
    const [ours, theirs] = InMemoryTransport.createLinkedPair();
    const client = new Client({ name: 'test', version: '1' });
    await createMcpServer(engine, { pipeline }).connect(ours);
    await client.connect(theirs);
    return client;
  };

  it('has tools that answer as their schemas say', async () => {
    const client = await connected();
    const { tools } = await client.listTools(); // the client then checks answers against the schemas
    expect(tools.map(({ name }) => name)).toEqual(['search', 'rerank', 'explain_match']);
    const call = async (name: string, args: Record<string, unknown>) =>
      (await client.callTool({ name, arguments: args })).structuredContent;
    expect(await call('search', { query: QUESTION, topK: 1 })).toMatchObject({
      hits: [{ id: 'travel', text: TEXTS[2], payload: { page: 7 } }],
      ...{ scores: 'score', verdict: null, degraded: null },
    });
    expect(await call('rerank', { query: QUESTION, documents: TEXTS, topK: 1 })).toMatchObject({
      ranking: [{ index: 2 }],
    });
    const { matches } = (await call('explain_match', { query: QUESTION, id: 'travel' })) as {
      matches: { query: string; document: string }[];
    };
    expect(matches.find(({ query }) => query === 'business')?.document).toBe('Business');
    await client.close();
  });

  it('tells a model what it did wrong', async () => {
    const client = await connected();
    const failure = async (name: string, args: Record<string, unknown>) => {
      const { isError, content } = await client.callTool({ name, arguments: args });
      return [isError, (content as { text: string }[])[0]?.text.split(':')[0]];
    };
    expect(await failure('search', { query: ' ' })).toEqual([true, 'EMPTY_TEXT']);
    expect(await failure('rerank', { query: 'q' })).toEqual([true, 'INVALID_ARGUMENT']);
    expect(await failure('explain_match', { query: 'q', id: 'none' })).toEqual([
      true,
      'UNKNOWN_ID',
    ]);
    expect(await failure('dance', {})).toEqual([true, 'INVALID_ARGUMENT']);
    await client.close();
  });

  it('is served by maxsim mcp over standard input and output', async () => {
    const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
    const args = [main, 'mcp', join(root, 'index'), '--threads', '1'];
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(new StdioClientTransport({ command: process.execPath, args }));
    const { structuredContent } = await client.callTool({
      ...{ name: 'search', arguments: { query: QUESTION } },
    });
    expect(structuredContent).toMatchObject({ hits: [{ id: 'travel' }, { id: 'leave' }] });
    await client.close();
  });
});
