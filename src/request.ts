/**
 * What callers may ask of the engine: its options, and the checks that turn what was given into what
 * is run. Everything is checked here, once; the engine trusts it from then on.
 */
import {
  checkArray,
  checkId,
  checkInteger,
  checkOptions,
  checkPayload,
  checkPositive,
  checkText,
  checkVectorShape,
  checkVectors,
  LIMITS,
} from './check.js';
import type { QueryCacheStats } from './encode/query-cache.js';
import type { EncoderOptions, Model } from './encoder.js';
import { invalid, MaxSimError } from './errors.js';
import { checkSearchOptions } from './index/searching.js';
import type {
  BuildSearchOptions,
  CodecOption,
  IndexOptions,
  IndexSearchOptions,
} from './index/store.js';
import type { PoolStats } from './runtime/pool.js';
import type { Candidate, DocumentInput, FieldTypes, Filter } from './types.js';

/** `verify`, `memory` and `compaction` are those of the index. */
export type EngineOptions = Pick<IndexOptions, 'verify' | 'memory' | 'compaction'> &
  EncoderOptions & {
    /**
     * Catalog name or folder of a model, that with options, or an encoder of your own. Default: the model
     * that the index was made with, and for a new one the catalog's default. What is not given is as it
     * was when the index was made.
     */
    model?: Model;
    /** How tokens are stored; fixed when the index is created. Default: int8. */
    codec?: CodecOption;
    /** What documents can be filtered by, from their payloads; fixed when the index is created. */
    fields?: FieldTypes;
    /** Whether every document belongs to a tenant; fixed when the index is created. Default: false. */
    tenants?: boolean;
    /** 'read' takes no lock and refuses writes. Default: 'write'. */
    mode?: 'write' | 'read';
    /** Catalog name or folder of the cross-encoder, loaded at its first use. Default: 'default'. */
    crossEncoder?: string;
    /** Load weights, of model and cross-encoder, whose licence forbids commercial use. Default: false. */
    allowNonCommercial?: boolean;
    /** Bytes of queries whose vectors are kept; 0: none. Default: 16 MiB. */
    queryCacheBytes?: number;
    /** Load the model on every thread before `open` resolves, so that the first query is fast. */
    warmUp?: boolean;
  };

export type EngineStats = {
  /** The model threads. */
  pool: PoolStats;
  /** Null without one. */
  queryCache: QueryCacheStats | null;
};

/** Whose documents are meant: required in an index with tenants, refused in any other. */
export type TenantOption = { tenant?: string };

export type AddOptions = TenantOption & {
  /** Leave documents alone whose text and payload are stored already. Default: false. */
  skipUnchanged?: boolean;
  signal?: AbortSignal;
};

export type AddResult = {
  added: number;
  /** Ids that were stored before, or came more than once in one call (the last one is kept). */
  replaced: number;
  /** Skipped by `skipUnchanged`. */
  unchanged: number;
  /** Documents whose text was longer than the model reads; their ends are not searchable. */
  truncated: number;
};

type RankOptions = TenantOption & {
  /** How many hits to return. Default: 10. */
  topK?: number;
  /** Let the cross-encoder reorder the best candidates: `true` for the best max(topK, 20). */
  crossEncoder?: boolean | { keep: number };
  /** Add to every hit which document token answered each query token. Needs text on both sides. */
  explain?: boolean;
  /**
   * Which documents may be hits, by the fields of the index. `rerank` takes it where every candidate is
   * the id of a stored document.
   */
  filter?: Filter;
  signal?: AbortSignal;
};

export type RerankOptions = RankOptions & {
  /**
   * Answer within this time with the best order there is: cross-encoder, else late interaction, else
   * the order of the candidates; `degraded` says which stage is missing.
   */
  deadlineMs?: number;
};

export type SearchOptions = RankOptions &
  Pick<IndexSearchOptions, 'recall' | 'depth' | 'exact' | 'method'>;

/** As of `Index.buildSearch`; queries are texts, or made of what the stored texts say. */
export type EngineBuildSearchOptions = Omit<BuildSearchOptions, 'queries' | 'queryDocuments'> & {
  queries?: readonly string[];
};

/** A query text, or its token vectors: flat `tokens * dim` values, 1 to 1,024 tokens. */
export type Query = string | Float32Array;

const MAX_CANDIDATES = 100_000;
const CROSS_ENCODER_SLICE = 20;

/** A checked query with what is to be done with it. */
export type RankRequest = {
  text: string | null;
  vectors: Float32Array | null;
  topK: number;
  /** How many of the best the cross-encoder reads; 0: none. */
  slice: number;
  explain: boolean;
  tenant: string | undefined;
  filter: Filter | undefined;
  signal: AbortSignal | undefined;
  deadlineMs: number | undefined;
};

/** A candidate with its late-interaction score; `order` is its place in the list it came in. */
export type Ranked = {
  id: string;
  order: number;
  text: string | null;
  stored: boolean;
  vectors: Float32Array | null;
  score: number;
};

const RANK_OPTIONS = ['topK', 'crossEncoder', 'explain', 'tenant', 'filter', 'signal'] as const;

/** What is asked, and how it is to be searched for. */
export function checkSearch(
  query: Query,
  options: SearchOptions | undefined,
  dim: number,
): { request: RankRequest; how: IndexSearchOptions } {
  const { recall, depth, exact, method, ...rank } = checkOptions<SearchOptions>(
    'options',
    options,
    [...RANK_OPTIONS, 'recall', 'depth', 'exact', 'method'],
  );
  const how = {
    ...(recall === undefined ? {} : { recall }),
    ...(depth === undefined ? {} : { depth }),
    ...(exact === undefined ? {} : { exact }),
    ...(method === undefined ? {} : { method }),
  };
  checkSearchOptions(how);
  return { request: checkRank(query, rank, dim), how };
}

export function checkRerank(
  query: Query,
  options: RerankOptions | undefined,
  dim: number,
): RankRequest {
  return checkRank(
    query,
    checkOptions<RerankOptions>('options', options, [...RANK_OPTIONS, 'deadlineMs']),
    dim,
  );
}

function checkRank(query: Query, options: RerankOptions, dim: number): RankRequest {
  const { topK = 10, crossEncoder = false, explain = false, signal, deadlineMs } = options;
  const { tenant, filter } = options;
  checkInteger('topK', topK, 1, MAX_CANDIDATES);
  if (typeof explain !== 'boolean') throw invalid('explain', 'true or false', explain);
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalid('signal', 'an AbortSignal', signal);
  if (deadlineMs !== undefined) checkPositive('deadlineMs', deadlineMs);
  const slice = checkSlice(crossEncoder, topK);
  const rest = { topK, slice, explain, tenant, filter, signal, deadlineMs };
  if (typeof query === 'string') {
    return { text: checkText('query', query), vectors: null, ...rest };
  }
  if (slice > 0 || explain) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'crossEncoder and explain need the query as text, but token vectors were given.',
    );
  }
  const vectors = checkVectors('query', query, dim, LIMITS.maxQueryTokens);
  return { text: null, vectors, ...rest };
}

export function checkTexts(queries: readonly string[]): { text: string; id: null }[] {
  return checkArray('queries', queries).map((text, i) => ({
    text: checkText(`queries[${i}]`, text),
    id: null,
  }));
}

function checkSlice(crossEncoder: unknown, topK: number): number {
  if (crossEncoder === false) return 0;
  if (crossEncoder === true) return Math.max(topK, CROSS_ENCODER_SLICE);
  if (typeof crossEncoder !== 'object' || crossEncoder === null) {
    throw invalid('crossEncoder', 'true, false or { keep }', crossEncoder);
  }
  const { keep } = checkOptions<{ keep: number }>(
    'crossEncoder',
    crossEncoder as { keep: number },
    ['keep'],
  );
  return checkInteger('crossEncoder.keep', keep, 1, 1000);
}

export function checkDocuments(documents: readonly DocumentInput[], dim: number): DocumentInput[] {
  return checkArray('documents', documents).map((value, i) => {
    const name = `documents[${i}]`;
    const document = checkOptions<DocumentInput>(name, value as DocumentInput, [
      'id',
      'text',
      'vectors',
      'payload',
    ]);
    checkId(`${name}.id`, document.id);
    if (document.payload !== undefined) checkPayload(`${name}.payload`, document.payload);
    if (document.vectors === undefined) checkText(`${name}.text`, document.text);
    else checkVectorShape(`${name}.vectors`, document.vectors, dim);
    return document;
  });
}

/** `filtered`: only what is stored has fields, so all must be ids. */
export function checkCandidates(
  candidates: readonly Candidate[],
  dim: number,
  filtered: boolean,
): Ranked[] {
  const list = checkArray('candidates', candidates);
  if (list.length > MAX_CANDIDATES) {
    throw invalid('candidates', `an array of at most ${MAX_CANDIDATES} candidates`, candidates);
  }
  return list.map((value, order) => {
    const name = `candidates[${order}]`;
    if (typeof value === 'string') {
      return { id: checkId(name, value), order, text: null, stored: true, vectors: null, score: 0 };
    }
    const { id, text, vectors } = checkOptions<{
      id: string;
      text?: string;
      vectors?: Float32Array;
    }>(name, value as never, ['id', 'text', 'vectors']);
    checkId(`${name}.id`, id);
    if (filtered) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `A filter needs candidates that are stored, but ${name} brings its own text or vectors.`,
      );
    }
    if (vectors !== undefined)
      checkVectors(`${name}.vectors`, vectors, dim, LIMITS.maxDocumentTokens);
    else checkText(`${name}.text`, text);
    return { id, order, text: text ?? null, stored: false, vectors: vectors ?? null, score: 0 };
  });
}
