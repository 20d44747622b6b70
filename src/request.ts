/**
 * What callers may ask of the engine: its options, and the checks that turn what was given into what
 * is run. Everything is checked here, once; the engine trusts it from then on.
 */
import {
  checkArray,
  checkId,
  checkInteger,
  checkOneOf,
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
import {
  cascade,
  checkDeadline,
  checkPipeline,
  crossEncoder as crossEncoderStage,
  lateInteraction,
  type Pipeline,
} from './rerank/pipeline.js';
import type { RerankLogger } from './rerank-record.js';
import type { RerankStats } from './rerank-stats.js';
import type { PoolStats } from './runtime/pool.js';
import type { Candidate, DocumentInput, FieldTypes, Filter, FirstStageScore } from './types.js';

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
    /**
     * What gates, floors and calibrators know these documents by: they hold for this name only. Default:
     * the name of the index's folder.
     */
    corpus?: string;
    /** Gets one record of every rerank and search: pino, or anything with `info`. */
    logger?: RerankLogger;
  };

export type EngineStats = {
  /** The model threads. */
  pool: PoolStats;
  /** Null without one. */
  queryCache: QueryCacheStats | null;
  /** What became of reranks and searches. */
  rerank: RerankStats;
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
  /** How many hits to return. Default: as the pipeline says, else 10. */
  topK?: number;
  /**
   * Let the cross-encoder reorder the best candidates: `true` for the best max(topK, 20). Short for the
   * pipeline of late interaction and the engine's cross-encoder.
   */
  crossEncoder?: boolean | { keep: number };
  /**
   * What the ranking goes through, made by `cascade`. A stage that fails is left out, and `degraded`
   * says so. Without one an error of late interaction is thrown.
   */
  pipeline?: Pipeline;
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
const TOP_K = 10;
const CROSS_ENCODER_SLICE = 20;

/** A checked query with what is to be done with it. */
export type RankRequest = {
  text: string | null;
  vectors: Float32Array | null;
  topK: number;
  pipeline: Pipeline;
  /** Whether the caller has composed none, and errors of late interaction are thrown. */
  plain: boolean;
  explain: boolean;
  tenant: string | undefined;
  filter: Filter | undefined;
  signal: AbortSignal | undefined;
  deadlineMs: number | undefined;
};

/** A checked candidate; they are in the order of the first stage. */
export type Ranked = {
  id: string;
  text: string | null;
  stored: boolean;
  vectors: Float32Array | null;
  first: FirstStageScore | null;
};

const RANK_OPTIONS = [
  'topK',
  'crossEncoder',
  'pipeline',
  'explain',
  'tenant',
  'filter',
  'signal',
] as const;

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
  const request = checkRank(query, rank, dim);
  if (request.pipeline.stages[0]?.kind !== 'late-interaction') {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'The pipeline of a search must begin with late interaction, which is what searches.',
    );
  }
  return { request, how };
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
  const { crossEncoder, explain = false, signal } = options;
  const { tenant, filter } = options;
  if (options.topK !== undefined) checkInteger('topK', options.topK, 1, MAX_CANDIDATES);
  if (typeof explain !== 'boolean') throw invalid('explain', 'true or false', explain);
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalid('signal', 'an AbortSignal', signal);
  if (options.deadlineMs !== undefined) checkPositive('deadlineMs', options.deadlineMs);
  const plain = options.pipeline === undefined;
  if (!plain && crossEncoder !== undefined) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'crossEncoder and pipeline exclude each other: the pipeline says which cross-encoder reads what.',
    );
  }
  const pipeline = plain
    ? plainPipeline(checkSlice(crossEncoder ?? false, options.topK ?? TOP_K))
    : checkPipeline('pipeline', options.pipeline);
  if (options.deadlineMs !== undefined) checkDeadline(pipeline, 'deadlineMs', options.deadlineMs);
  const topK = options.topK ?? pipeline.topK ?? TOP_K;
  const deadlineMs = options.deadlineMs ?? pipeline.deadlineMs ?? undefined;
  const rest = { topK, pipeline, plain, explain, tenant, filter, signal, deadlineMs };
  if (typeof query === 'string') {
    return { text: checkText('query', query), vectors: null, ...rest };
  }
  if (explain || pipeline.stages.some(({ kind }) => kind !== 'late-interaction')) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'Cross-encoders, other rerankers and explain need the query as text, but token vectors were given.',
    );
  }
  const vectors = checkVectors('query', query, dim, LIMITS.maxQueryTokens);
  return { text: null, vectors, ...rest };
}

const PLAIN_CROSS_ENCODER = crossEncoderStage();
const LATE_ONLY = cascade([lateInteraction()]);

/** Late interaction, and the cross-encoder on so many of the best; 0: none. */
function plainPipeline(slice: number): Pipeline {
  if (slice === 0) return LATE_ONLY;
  return cascade([lateInteraction({ keep: slice }), PLAIN_CROSS_ENCODER]);
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

/**
 * In the order of the first stage: of the scores they came with, or as they came. `filtered`: only what
 * is stored has fields, so all must be ids.
 */
export function checkCandidates(
  candidates: readonly Candidate[],
  dim: number,
  filtered: boolean,
): Ranked[] {
  const list = checkArray('candidates', candidates);
  if (list.length > MAX_CANDIDATES) {
    throw invalid('candidates', `an array of at most ${MAX_CANDIDATES} candidates`, candidates);
  }
  return inFirstOrder(list.map((value, i) => checkCandidate(value, i, dim, filtered)));
}

function checkCandidate(value: unknown, i: number, dim: number, filtered: boolean): Ranked {
  const name = `candidates[${i}]`;
  if (typeof value === 'string') {
    return { id: checkId(name, value), text: null, stored: true, vectors: null, first: null };
  }
  const { id, text, vectors, score } = checkOptions<{
    id: string;
    text?: string;
    vectors?: Float32Array;
    score?: FirstStageScore;
  }>(name, value as never, ['id', 'text', 'vectors', 'score']);
  checkId(`${name}.id`, id);
  const first = score === undefined ? null : checkScore(`${name}.score`, score);
  if (first !== null && text === undefined && vectors === undefined)
    return { id, text: null, stored: true, vectors: null, first };
  if (filtered) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `A filter needs candidates that are stored, but ${name} brings its own text or vectors.`,
    );
  }
  if (vectors !== undefined)
    checkVectors(`${name}.vectors`, vectors, dim, LIMITS.maxDocumentTokens);
  else checkText(`${name}.text`, text);
  return { id, text: text ?? null, stored: false, vectors: vectors ?? null, first };
}

/** A number alone might be a distance: the best would come last, and nobody would notice. */
function checkScore(name: string, score: FirstStageScore): FirstStageScore {
  if (typeof score !== 'object')
    throw invalid(name, "{ value, kind: 'distance' or 'similarity' }", score);
  const { value, kind } = checkOptions<FirstStageScore>(name, score, ['value', 'kind']);
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw invalid(`${name}.value`, 'a finite number', value);
  checkOneOf(`${name}.kind`, kind, ['distance', 'similarity']);
  return { value, kind };
}

function inFirstOrder(list: Ranked[]): Ranked[] {
  const kind = list[0]?.first?.kind;
  const other = list.findIndex(({ first }) => first?.kind !== kind);
  if (other >= 0) {
    const said = (i: number): string => {
      const first = list[i]?.first;
      return first ? `a ${first.kind}` : 'no score';
    };
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `Candidates must all have scores of one kind, or none, but candidates[0] has ${said(0)} and candidates[${other}] ${said(other)}.`,
    );
  }
  if (kind === undefined) return list;
  const sign = kind === 'distance' ? 1 : -1;
  return list.sort((a, b) => sign * ((a.first?.value ?? 0) - (b.first?.value ?? 0)));
}
