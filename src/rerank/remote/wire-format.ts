/**
 * How reranking services want to be asked, and how they answer. Each format is the provider's public
 * HTTP API: Cohere v2 (docs.cohere.com/reference/rerank), Jina (jina.ai/reranker), Voyage
 * (docs.voyageai.com/reference/reranker-api), text-embeddings-inference (its /rerank route).
 */
import { MaxSimError, show } from '../../errors.js';

export type Question = { model: string | null; query: string; documents: readonly string[] };

export type WireFormat = {
  /** Where the service is; null where everybody runs their own. */
  url: string | null;
  path: string;
  /** The environment variable that people keep the key in; null: a key is not required. */
  keyVariable: string | null;
  /** Models differ too much for a default, but where the server has just one. */
  needsModel: boolean;
  /** Most documents in one request. */
  maxDocuments: number;
  body(question: Question): Record<string, unknown>;
  /** The list of answers within what came back; anything where there is none. */
  answers(body: unknown): unknown;
  /** The name of an answer's score. */
  scoreKey: string;
};

const field = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;

export const WIRE_FORMATS = {
  cohere: {
    url: 'https://api.cohere.com',
    path: '/v2/rerank',
    keyVariable: 'COHERE_API_KEY',
    needsModel: true,
    maxDocuments: 1000,
    body: ({ model, query, documents }) => ({ model, query, documents, top_n: documents.length }),
    answers: (body) => field(body, 'results'),
    scoreKey: 'relevance_score',
  },
  jina: {
    url: 'https://api.jina.ai',
    path: '/v1/rerank',
    keyVariable: 'JINA_API_KEY',
    needsModel: true,
    maxDocuments: 1000,
    body: ({ model, query, documents }) => ({
      model,
      query,
      documents,
      top_n: documents.length,
      return_documents: false,
    }),
    answers: (body) => field(body, 'results'),
    scoreKey: 'relevance_score',
  },
  voyage: {
    url: 'https://api.voyageai.com',
    path: '/v1/rerank',
    keyVariable: 'VOYAGE_API_KEY',
    needsModel: true,
    maxDocuments: 1000,
    body: ({ model, query, documents }) => ({
      model,
      query,
      documents,
      top_k: documents.length,
      return_documents: false,
      truncation: true,
    }),
    answers: (body) => field(body, 'data'),
    scoreKey: 'relevance_score',
  },
  tei: {
    url: null,
    path: '/rerank',
    keyVariable: null,
    needsModel: false,
    maxDocuments: 32, // the server's own default
    // Raw scores: its sigmoid ties what is surely relevant.
    body: ({ query, documents }) => ({ query, texts: documents, raw_scores: true, truncate: true }),
    answers: (body) => body,
    scoreKey: 'score',
  },
} as const satisfies Record<string, WireFormat>;

export type Provider = keyof typeof WIRE_FORMATS;

/**
 * One score a document, in the order the documents were sent. Throws RERANKER_FAILED unless every
 * document has exactly one finite score.
 */
export function readScores(format: WireFormat, body: unknown, count: number): Float32Array {
  const answers = format.answers(body);
  const wrong = (what: string): MaxSimError =>
    new MaxSimError(
      'RERANKER_FAILED',
      `The answer must have a score for each of ${count} documents, but ${what}.`,
    );
  if (!Array.isArray(answers)) throw wrong(`its list of scores is ${show(answers)}`);
  const scores = new Float32Array(count).fill(Number.NaN);
  for (const answer of answers) {
    const index = field(answer, 'index');
    const score = field(answer, format.scoreKey);
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= count)
      throw wrong(`one is for document ${show(index)}`);
    if (typeof score !== 'number' || !Number.isFinite(score))
      throw wrong(`that of document ${index} is ${show(score)}`);
    if (!Number.isNaN(scores[index])) throw wrong(`document ${index} has two`);
    scores[index] = score;
  }
  const without = scores.findIndex(Number.isNaN);
  if (without >= 0) throw wrong(`document ${without} has none`);
  return scores;
}
