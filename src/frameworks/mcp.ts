/**
 * `maxsim/mcp`: an engine as a server of the Model Context Protocol, with the tools `search`, `rerank`
 * and `explain_match`. Needs `@modelcontextprotocol/sdk`; connect it to a transport of yours, or run
 * `maxsim mcp <dir>`.
 */
import { readFileSync } from 'node:fs';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import {
  CallToolRequestSchema,
  type CallToolResult,
  ListToolsRequestSchema,
  type Tool,
} from '@modelcontextprotocol/sdk/types.js';
import { checkArray, checkInteger, checkOptions, checkString, checkText } from '../check.js';
import { type Engine, type Hit, MaxSimError, type Pipeline } from '../maxsim.js';
import { type Reranking, relevanceOf, rerankTexts } from './rerank-texts.js';

export type McpServerOptions = Reranking & {
  /** Whose documents, in an index with tenants. */
  tenant?: string;
};

const TOP_K = 5;
const MOST = 100;

/** Throws INVALID_ARGUMENT. */
export function createMcpServer(engine: Engine, options?: McpServerOptions): Server {
  const { tenant, ...reranking } = checkOptions<McpServerOptions>('options', options, [
    'pipeline',
    'deadlineMs',
    'tenant',
  ]);
  const server = new Server(
    { name: 'maxsim', version: packageVersion() },
    { capabilities: { tools: {} } },
  );
  const tools = new Tools(engine, reranking, tenant);
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: TOOLS }));
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { signal }) => {
    try {
      return answer(await tools.call(params.name, params.arguments ?? {}, signal));
    } catch (error) {
      if (!(error instanceof MaxSimError)) throw error;
      // What a model can put right it must be told; an error of the protocol it does not see.
      return {
        isError: true,
        content: [{ type: 'text', text: `${error.code}: ${error.message}` }],
      };
    }
  });
  return server;
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

type Given = Record<string, unknown>;

class Tools {
  constructor(
    private readonly engine: Engine,
    private readonly reranking: { pipeline?: Pipeline; deadlineMs?: number },
    private readonly tenant: string | undefined,
  ) {}

  async call(name: string, given: Given, signal: AbortSignal): Promise<Given> {
    if (name === 'search') return await this.search(given, signal);
    if (name === 'rerank') return await this.rerank(given, signal);
    if (name === 'explain_match') return await this.explain(given, signal);
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `There is no tool "${name}"; there are ${TOOLS.map((tool) => tool.name).join(', ')}.`,
    );
  }

  private async search(given: Given, signal: AbortSignal): Promise<Given> {
    const { pipeline } = this.reranking;
    const { hits, verdict, degraded } = await this.engine.search(queryOf(given), {
      ...this.scope(),
      ...{ topK: topKOf(given), signal },
      ...(pipeline === undefined ? {} : { pipeline }),
    });
    const { scores, kind } = relevanceOf(hits);
    return {
      hits: hits.map((hit, i) => ({ ...shown(hit), score: scores[i] })),
      ...{ scores: kind, verdict, degraded: degraded?.message ?? null },
    };
  }

  private async rerank(given: Given, signal: AbortSignal): Promise<Given> {
    const texts = checkArray('documents', given['documents']).map((text, i) =>
      checkString(`documents[${i}]`, text),
    );
    const { ranking, kind, verdict, degraded } = await rerankTexts(
      this.engine,
      queryOf(given),
      texts,
      { ...this.reranking, topK: topKOf(given), signal },
    );
    return {
      ranking: ranking.map(({ index, score }) => ({ index, score })),
      ...{ scores: kind, verdict, degraded: degraded?.message ?? null },
    };
  }

  private async explain(given: Given, signal: AbortSignal): Promise<Given> {
    const id = checkText('id', given['id']);
    const query = queryOf(given);
    const { hits } = await this.engine.rerank(query, [id], {
      ...this.scope(),
      ...{ explain: true, signal },
    });
    const [hit] = hits;
    if (hit === undefined)
      throw new MaxSimError('UNKNOWN_ID', `The index holds no document ${JSON.stringify(id)}.`);
    return {
      ...shown(hit),
      score: hit.score,
      matches: (hit.explanation ?? []).flatMap(({ querySpan, documentSpan, contribution }) =>
        querySpan === null
          ? []
          : [
              {
                query: query.slice(...querySpan),
                document: documentSpan === null ? null : (hit.text?.slice(...documentSpan) ?? null),
                contribution,
              },
            ],
      ),
    };
  }

  private scope(): { tenant?: string } {
    return this.tenant === undefined ? {} : { tenant: this.tenant };
  }
}

function queryOf(given: Given): string {
  return checkText('query', given['query']);
}

function topKOf(given: Given): number {
  return given['topK'] === undefined ? TOP_K : checkInteger('topK', given['topK'], 1, MOST);
}

function shown({ id, text, payload }: Hit): Given {
  return { id, text, payload };
}

function answer(result: Given): CallToolResult {
  // Clients that know no output schemas read the text.
  return {
    structuredContent: result,
    content: [{ type: 'text', text: JSON.stringify(result) }],
  };
}

const query = { type: 'string', description: 'What the documents may answer' } as const;
const topK = { type: 'integer', minimum: 1, maximum: MOST, default: TOP_K } as const;
const nullable = (type: string): object => ({ type: [type, 'null'] });
const about = {
  scores: { enum: ['probability', 'score', 'place'], description: 'What scores are' },
  verdict: { enum: ['relevant', 'nothing-relevant', null] },
  degraded: nullable('string'),
};

const TOOLS: Tool[] = [
  {
    name: 'search',
    description: 'Finds the passages of the index that answer a question best.',
    annotations: { readOnlyHint: true },
    inputSchema: { type: 'object', required: ['query'], properties: { query, topK } },
    outputSchema: {
      type: 'object',
      required: ['hits', 'scores', 'verdict', 'degraded'],
      properties: {
        hits: {
          type: 'array',
          items: {
            type: 'object',
            required: ['id', 'text', 'payload', 'score'],
            properties: {
              id: { type: 'string' },
              text: nullable('string'),
              payload: {},
              score: { type: 'number' },
            },
          },
        },
        ...about,
      },
    },
  },
  {
    name: 'rerank',
    description: 'Orders given texts by how well they answer a question.',
    annotations: { readOnlyHint: true },
    inputSchema: {
      type: 'object',
      required: ['query', 'documents'],
      properties: { query, documents: { type: 'array', items: { type: 'string' } }, topK },
    },
    outputSchema: {
      type: 'object',
      required: ['ranking', 'scores', 'verdict', 'degraded'],
      properties: {
        ranking: {
          type: 'array',
          items: {
            type: 'object',
            required: ['index', 'score'],
            properties: { index: { type: 'integer' }, score: { type: 'number' } },
          },
        },
        ...about,
      },
    },
  },
  {
    name: 'explain_match',
    description: 'Says which words of a stored passage answered each word of a question.',
    annotations: { readOnlyHint: true },
    inputSchema: {
      type: 'object',
      required: ['query', 'id'],
      properties: { query, id: { type: 'string', description: 'Of a document of the index' } },
    },
    outputSchema: {
      type: 'object',
      required: ['id', 'text', 'payload', 'score', 'matches'],
      properties: {
        id: { type: 'string' },
        text: nullable('string'),
        payload: {},
        score: nullable('number'),
        matches: {
          type: 'array',
          items: {
            type: 'object',
            required: ['query', 'document', 'contribution'],
            properties: {
              query: { type: 'string' },
              document: nullable('string'),
              contribution: { type: 'number' },
            },
          },
        },
      },
    },
  },
];
