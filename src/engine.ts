/**
 * START HERE: add, rerank and search as the few steps they are. The rooms know nothing of each other;
 * they meet in this file.
 */
import { basename, resolve } from 'node:path';
import { Call } from './call.js';
import { checkBoolean, checkInteger, checkOptions, checkString } from './check.js';
import { ModelEncoder } from './encode/encoder.js';
import { QueryCache } from './encode/query-cache.js';
import { encoderFor, newPool } from './encoder.js';
import { invalid, MaxSimError } from './errors.js';
import { contentHashes } from './index/content-hash.js';
import {
  type BuiltSearch,
  Index,
  type IndexSearchOptions,
  SAMPLED_QUERIES,
  type TenantView,
} from './index/store.js';
import { LateInteraction } from './late-interaction.js';
import { pseudoQuery } from './pseudo-queries.js';
import { seededRandom } from './random.js';
import {
  type AddOptions,
  type AddResult,
  checkCandidates,
  checkDocuments,
  checkRerank,
  checkSearch,
  checkTexts,
  type EngineBuildSearchOptions,
  type EngineOptions,
  type EngineStats,
  type Query,
  type RerankOptions,
  type SearchOptions,
  type TenantOption,
} from './request.js';
import type { CalibrationFingerprint } from './rerank/calibration.js';
import { checkPipeline, type Pipeline } from './rerank/pipeline.js';
import { type Candidates, Reranking } from './reranking.js';
import { aborted, type WorkerPool } from './runtime/pool.js';
import { loadTracing } from './runtime/tracing.js';
import type {
  Candidate,
  CodecName,
  DocumentInput,
  Encoder,
  RerankResult,
  SearchPlan,
  SearchResult,
  StoredDocument,
} from './types.js';

/** About a thousand queries of 32 tokens of 128 dims. */
const QUERY_CACHE_BYTES = 16 * 2 ** 20;

export class Engine {
  readonly index: Index;
  readonly encoder: Encoder;
  private closed = false;

  private constructor(
    index: Index,
    encoder: Encoder,
    private readonly pool: WorkerPool,
    private readonly queryCache: QueryCache | null,
    private readonly reranking: Reranking,
    private readonly late: LateInteraction,
  ) {
    this.index = index;
    this.encoder = encoder;
  }

  /**
   * Opens the index at a directory, and creates it in write mode where there is none. Throws
   * MODEL_MISMATCH when another model made it, INDEX_LOCKED when another writer has it,
   * NOT_AN_INDEX, CORRUPT_INDEX, UNSUPPORTED_FORMAT, MODEL_NOT_FOUND, INVALID_MODEL.
   */
  static async open(directory: string, options?: EngineOptions): Promise<Engine> {
    const {
      model,
      codec,
      fields,
      tenants,
      mode = 'write',
      crossEncoder = 'default',
      allowNonCommercial = false,
      threads,
      threadsPerRun,
      maxQueuedTokens,
      runtime,
      queryCacheBytes = QUERY_CACHE_BYTES,
      warmUp = false,
      corpus = basename(resolve(directory)),
      logger,
      ...reading
    } = checkOptions<EngineOptions>('options', options, [
      'model',
      'codec',
      'fields',
      'tenants',
      'mode',
      'crossEncoder',
      'allowNonCommercial',
      'threads',
      'threadsPerRun',
      'maxQueuedTokens',
      'runtime',
      'queryCacheBytes',
      'warmUp',
      'corpus',
      'logger',
      'verify',
      'memory',
      'compaction',
    ]);
    checkBoolean('allowNonCommercial', allowNonCommercial);
    checkInteger('queryCacheBytes', queryCacheBytes, 0, Number.MAX_SAFE_INTEGER);
    checkString('corpus', corpus);
    if (logger !== undefined && typeof logger?.info !== 'function')
      throw invalid('logger', 'an object with a method info', logger);
    const threading = {
      ...(threads === undefined ? {} : { threads }),
      ...(threadsPerRun === undefined ? {} : { threadsPerRun }),
      ...(maxQueuedTokens === undefined ? {} : { maxQueuedTokens }),
      ...(runtime === undefined ? {} : { runtime }),
    };
    const pool = newPool(threading);
    try {
      const opened = await encoderFor(directory, model, pool, { ...threading, allowNonCommercial });
      const cache = queryCacheBytes === 0 ? null : new QueryCache(opened, queryCacheBytes);
      const encoder = cache ?? opened;
      const index = await Index.open(directory, {
        mode,
        dim: encoder.dim,
        encoder: { fingerprint: encoder.fingerprint, recipe: encoder.recipe },
        ...(codec === undefined ? {} : { codec }),
        ...(fields === undefined ? {} : { fields }),
        ...(tenants === undefined ? {} : { tenants }),
        ...reading,
      });
      const late = new LateInteraction(encoder);
      const scores = lateFingerprint(encoder, index.codec.name, corpus);
      const reranking = new Reranking(
        late,
        { pool, crossEncoder, allowNonCommercial, late: scores },
        logger ?? null,
        await loadTracing(),
      );
      const engine = new Engine(index, encoder, pool, cache, reranking, late);
      if (warmUp && opened instanceof ModelEncoder) await opened.warmUp();
      return engine;
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  /**
   * Stores documents, encoding those given as text; an id that is there already is replaced. One
   * durable, all-or-nothing commit: when it resolves, the documents survive a crash.
   */
  async add(documents: readonly DocumentInput[], options?: AddOptions): Promise<AddResult> {
    this.checkOpen();
    const {
      skipUnchanged = false,
      tenant,
      signal,
    } = checkOptions<AddOptions>('options', options, ['skipUnchanged', 'tenant', 'signal']);
    this.index.checkWritable();
    const view = this.index.view(tenant);
    const given = checkDocuments(documents, this.index.dim);
    view.checkPayloads(given); // before anything is encoded
    // The last document of an id is kept; the others need not be encoded.
    const inputs = [...new Map(given.map((document) => [document.id, document])).values()];
    const repeated = given.length - inputs.length;
    const hashes = await contentHashes(inputs);
    const stored = skipUnchanged ? view.contentHashes(inputs.map(({ id }) => id)) : [];
    const isFresh = (_: unknown, i: number): boolean => !skipUnchanged || stored[i] !== hashes[i];
    const fresh = inputs.filter(isFresh);
    const freshHashes = hashes.filter(isFresh);
    const texts = fresh.filter((document) => document.vectors === undefined);
    const encoded = await this.encoder.encodeDocuments(
      texts.map((document) => document.text as string),
      { signal },
    );
    if (signal?.aborted) throw aborted(signal);
    const vectorsOf = new Map(texts.map((document, i) => [document, encoded[i]?.vectors]));
    const { added, replaced } = await view.add(
      fresh.map((document, i) => ({
        id: document.id,
        vectors: (document.vectors ?? vectorsOf.get(document)) as Float32Array,
        contentHash: freshHashes[i] as string,
        ...(document.text === undefined ? {} : { text: document.text }),
        ...(document.payload === undefined ? {} : { payload: document.payload }),
      })),
    );
    return {
      added,
      replaced: replaced + repeated,
      unchanged: inputs.length - fresh.length,
      truncated: encoded.filter((text) => text.truncatedTokens > 0).length,
    };
  }

  /** Removes documents, durably, in one commit. Ids that the index does not hold are reported. */
  async delete(
    ids: readonly string[],
    options?: TenantOption,
  ): Promise<{ deleted: number; unknownIds: string[] }> {
    const { deleted, unknownIds } = await this.viewOf(options).delete(ids);
    return { deleted, unknownIds };
  }

  /** A stored document, or undefined. */
  get(id: string, options?: TenantOption): StoredDocument | undefined {
    return this.viewOf(options).get(id);
  }

  /**
   * Orders candidates by late interaction and, if asked, lets the cross-encoder reorder the best.
   * Candidates are ids of stored documents, `{ id, text }` or `{ id, vectors }`; ids that the index
   * does not hold come back in `unknownIds`, those that the filter keeps out in `excludedIds`.
   *
   * @example
   * const { hits } = await engine.rerank('who approves travel?', ['policy-7', 'policy-9'], { topK: 5 })
   */
  async rerank(
    query: Query,
    candidates: readonly Candidate[],
    options?: RerankOptions,
  ): Promise<RerankResult> {
    this.checkOpen();
    const request = checkRerank(query, options, this.index.dim);
    const list = checkCandidates(candidates, this.index.dim, request.filter !== undefined);
    const call = new Call(request, this.index.view(request.tenant));
    call.view.checkFilter(call.filter);
    return await this.reranking.run('rerank', call, async () => ({ list, found: null }));
  }

  /**
   * The best documents of the whole index, or of those that match a filter; `plan` says how they were
   * found. All are scored, or after `buildSearch` the candidates among them.
   *
   * @example
   * const { hits, plan } = await engine.search('who approves travel?', { topK: 5, recall: 0.99 })
   */
  async search(query: Query, options?: SearchOptions): Promise<SearchResult> {
    this.checkOpen();
    const { request, how } = checkSearch(query, options, this.index.dim);
    const call = new Call(request, this.index.view(request.tenant));
    call.view.checkFilter(call.filter); // before anything is encoded
    let plan: SearchPlan | undefined;
    const { unknownIds, excludedIds, ...result } = await this.reranking.run(
      'search',
      call,
      async () => {
        const found = await this.find(call, how);
        plan = found.plan;
        return found;
      },
    );
    return { ...result, plan: plan as SearchPlan };
  }

  /**
   * `Index.buildSearch`, measured with questions: those given, or sentences of stored texts, encoded as
   * queries are.
   *
   * @example
   * await engine.buildSearch()
   */
  async buildSearch(options?: EngineBuildSearchOptions): Promise<BuiltSearch> {
    this.checkOpen();
    const { queries, ...rest } = checkOptions<EngineBuildSearchOptions>('options', options, [
      'retrain',
      'centroids',
      'seed',
      'lists',
      'queries',
      'signal',
      'onProgress',
    ]);
    this.index.checkWritable();
    const questions = queries === undefined ? this.sentences(rest.seed) : checkTexts(queries);
    if (questions.length === 0) return await this.index.buildSearch(rest);
    const { signal } = rest;
    const encoded = await this.encoder.encodeQueries(
      questions.map(({ text }) => text),
      { signal },
    );
    return await this.index.buildSearch({
      ...rest,
      queries: encoded.map(({ vectors }) => vectors),
      queryDocuments: questions.map(({ id }) => id),
    });
  }

  /** What the model threads and the cache of queries hold and have done. */
  stats(): EngineStats {
    return {
      pool: this.pool.stats(),
      queryCache: this.queryCache?.stats() ?? null,
      rerank: this.reranking.stats(),
    };
  }

  /**
   * Opens the models of a pipeline on every thread and checks that its gate, floors and calibrators are
   * for them, so that the first call is as fast as the others. Throws CALIBRATION_MISMATCH,
   * MODEL_NOT_FOUND, LICENSE_REFUSED, INVALID_MODEL.
   */
  async prepare(pipeline: Pipeline): Promise<void> {
    this.checkOpen();
    await this.reranking.prepare(checkPipeline('pipeline', pipeline));
  }

  /** What gates, floors and calibrators of a pipeline must have been made for: its stages, in order. */
  async fingerprints(
    pipeline: Pipeline,
  ): Promise<{ stages: CalibrationFingerprint[]; gate: CalibrationFingerprint }> {
    this.checkOpen();
    return await this.reranking.identify(checkPipeline('pipeline', pipeline));
  }

  /** Stops the model threads and lets go of the index. Everything after it throws CLOSED. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.reranking.close();
    await this.pool.close();
    await this.index.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What somebody might ask of stored texts; none of an index with tenants, whose ids say nothing. */
  private sentences(seed = 0): { text: string; id: string }[] {
    if (this.index.hasTenants || this.index.documentCount === 0) return [];
    const random = seededRandom(seed);
    return this.index.sample(SAMPLED_QUERIES, seed).flatMap((document) => {
      // No titles: documents are easier to find by them than by what is asked.
      const text = pseudoQuery({ text: document.text, payload: null }, random);
      return text === null ? [] : [{ text, id: document.id }];
    });
  }

  private async find(
    call: Call,
    how: IndexSearchOptions,
  ): Promise<Candidates & { plan: SearchPlan }> {
    const vectors = await this.late.encodeQuery(call, { signal: call.signal });
    const scoring = performance.now();
    const { hits, plan } = await call.view.search(vectors, {
      ...how,
      topK: Math.max(call.topK, call.pipeline.stages[0]?.keep ?? 0),
      ...(call.filter === undefined ? {} : { filter: call.filter }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    });
    call.timings.scoreMs += performance.now() - scoring;
    return {
      list: hits.map(({ id }) => ({ id, text: null, stored: true, vectors: null, first: null })),
      found: {
        scores: Float32Array.from(hits, ({ score }) => score),
        ms: performance.now() - call.since,
      },
      plan,
    };
  }

  private viewOf(options: TenantOption | undefined): Index | TenantView {
    this.checkOpen();
    const { tenant } = checkOptions<TenantOption>('options', options, ['tenant']);
    return this.index.view(tenant);
  }

  private checkOpen(): void {
    if (this.closed) throw new MaxSimError('CLOSED', 'The engine is closed.');
  }
}

/** An encoder of one's own need not say how long its documents may be. */
function lateFingerprint(
  { fingerprint, recipe }: Encoder,
  codec: CodecName,
  corpus: string,
): CalibrationFingerprint {
  const length = recipe['documentLength'];
  const maxLength = typeof length === 'number' && length > 0 ? length : 0;
  return { model: fingerprint, quantisation: codec, maxLength, corpus };
}
