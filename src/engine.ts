/**
 * START HERE: add, rerank and search as the few steps they are. The rooms know nothing of each other;
 * they meet in this file.
 */
import { Call } from './call.js';
import { checkBoolean, checkInteger, checkOptions } from './check.js';
import { ModelEncoder } from './encode/encoder.js';
import { QueryCache } from './encode/query-cache.js';
import { encoderFor, newPool } from './encoder.js';
import { MaxSimError } from './errors.js';
import { type Held, isScored, toHits, whatIsHeld } from './hits.js';
import { contentHashes } from './index/content-hash.js';
import { type BuiltSearch, Index, SAMPLED_QUERIES, type TenantView } from './index/store.js';
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
  type Ranked,
  type RerankOptions,
  type SearchOptions,
  type TenantOption,
} from './request.js';
import { CrossEncoder } from './rerank/cross-encoder.js';
import { aborted, type WorkerPool } from './runtime/pool.js';
import type {
  Candidate,
  DocumentInput,
  EncodedText,
  Encoder,
  Hit,
  RerankResult,
  SearchResult,
  StoredDocument,
  TextToken,
} from './types.js';

/** About a thousand queries of 32 tokens of 128 dims. */
const QUERY_CACHE_BYTES = 16 * 2 ** 20;

export class Engine {
  readonly index: Index;
  readonly encoder: Encoder;
  private crossEncoder: Promise<CrossEncoder> | undefined;
  private closed = false;

  private constructor(
    index: Index,
    encoder: Encoder,
    private readonly pool: WorkerPool,
    private readonly crossEncoderModel: string,
    private readonly allowNonCommercial: boolean,
    private readonly queryCache: QueryCache | null,
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
      'verify',
      'memory',
      'compaction',
    ]);
    checkBoolean('allowNonCommercial', allowNonCommercial);
    checkInteger('queryCacheBytes', queryCacheBytes, 0, Number.MAX_SAFE_INTEGER);
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
      const engine = new Engine(index, encoder, pool, crossEncoder, allowNonCommercial, cache);
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
    const scored = await call.stage('late-interaction', () => this.scoreLate(call, list));
    const { known, unknownIds, excludedIds } = scored ?? whatIsHeld(call, list);
    const missing = { unknownIds, excludedIds };
    if (scored === undefined) {
      const hits = toHits(call, known.slice(0, call.topK), 'first-stage');
      return { hits, ...missing, ...call.end() };
    }
    known.sort((a, b) => b.score - a.score || a.order - b.order);
    return { hits: await this.finish(call, known), ...missing, ...call.end() };
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
    const vectors = await this.encodeQuery(call);
    const scoring = performance.now();
    const { hits: found, plan } = await call.view.search(vectors, {
      ...how,
      topK: Math.max(call.topK, call.slice),
      ...(call.filter === undefined ? {} : { filter: call.filter }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    });
    call.timings.scoreMs += performance.now() - scoring;
    const ranked = found.map(({ id, score }, order) => ({
      id,
      order,
      text: null,
      stored: true,
      vectors: null,
      score,
    }));
    return { hits: await this.finish(call, ranked), plan, ...call.end() };
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
    return { pool: this.pool.stats(), queryCache: this.queryCache?.stats() ?? null };
  }

  /** Stops the model threads and lets go of the index. Everything after it throws CLOSED. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
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

  /** Fills in `score` of every candidate that may be a hit: from the index, or encoded first. */
  private async scoreLate(call: Call, candidates: readonly Ranked[]): Promise<Held> {
    const texts = candidates.filter((candidate) => !candidate.stored && candidate.vectors === null);
    const encoding = performance.now();
    const [queryVectors, encoded] = await Promise.all([
      this.encodeQuery(call),
      this.encoder.encodeDocuments(
        texts.map((candidate) => candidate.text as string),
        { signal: call.signal, deadlineMs: call.leftMs },
      ),
    ]);
    call.timings.encodeMs = performance.now() - encoding;
    texts.forEach((candidate, i) => {
      candidate.vectors = (encoded[i] as EncodedText).vectors;
    });
    const scoring = performance.now();
    const stored = candidates.filter((candidate) => candidate.stored);
    const given = candidates.filter((candidate) => !candidate.stored);
    const ids = stored.map((candidate) => candidate.id);
    const { scores, unknownIds, excludedIds } = await call.view.scoreAsync(
      queryVectors,
      ids,
      call.filter === undefined ? {} : { filter: call.filter },
    );
    stored.forEach((candidate, i) => {
      candidate.score = scores[i] as number;
    });
    const others = await call.view.scoreVectors(
      queryVectors,
      given.map((candidate) => candidate.vectors as Float32Array),
    );
    given.forEach((candidate, i) => {
      candidate.score = others[i] as number;
    });
    call.timings.scoreMs += performance.now() - scoring;
    return { known: candidates.filter(isScored), unknownIds, excludedIds };
  }

  /** From candidates in late-interaction order to hits: the cross-encoder's turn, texts, evidence. */
  private async finish(call: Call, ranked: Ranked[]): Promise<Hit[]> {
    const top = ranked.slice(0, Math.max(call.topK, call.slice));
    let hits = toHits(call, top, 'late-interaction');
    if (call.slice > 0 && hits.length > 0) {
      const slice = hits.slice(0, call.slice);
      const logits = await call.stage('cross-encoder', () => this.scoreCross(call, slice));
      if (logits !== undefined) {
        slice.forEach((hit, i) => {
          hit.stage = 'cross-encoder';
          hit.score = logits[i] as number;
        });
        // Array.sort is stable: equal logits keep the order of late interaction.
        slice.sort((a, b) => (b.score as number) - (a.score as number));
        slice.forEach((hit, i) => {
          hit.scores.push({ stage: 'cross-encoder', score: hit.score as number, rank: i + 1 });
        });
        hits = [...slice, ...hits.slice(call.slice)];
      }
    }
    hits = hits.slice(0, call.topK);
    if (call.explain)
      await this.explain(call, hits, new Map(top.map((candidate) => [candidate.id, candidate])));
    return hits;
  }

  private async scoreCross(call: Call, slice: readonly Hit[]): Promise<Float32Array> {
    const started = performance.now();
    const texts = slice.map((hit) => {
      if (hit.text !== null) return hit.text;
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `The cross-encoder needs text, but ${JSON.stringify(hit.id)} was given or stored as vectors only.`,
      );
    });
    this.crossEncoder ??= CrossEncoder.open(this.crossEncoderModel, this.pool, {
      allowNonCommercial: this.allowNonCommercial,
    });
    this.crossEncoder.catch(() => {
      this.crossEncoder = undefined;
    });
    const logits = await (await this.crossEncoder).score(call.text as string, texts, {
      signal: call.signal,
      deadlineMs: call.leftMs,
    });
    call.timings.crossEncoderMs += performance.now() - started;
    return logits;
  }

  private async explain(
    call: Call,
    hits: readonly Hit[],
    ranked: ReadonlyMap<string, Ranked>,
  ): Promise<void> {
    const vectors = await this.encodeQuery(call);
    const query = await this.tokensOf(call.text as string, 'query');
    await Promise.all(
      hits.map(async (hit) => {
        const given = ranked.get(hit.id)?.vectors;
        // Without text there is nothing to point at; and it may have been deleted meanwhile.
        if (hit.text === null || (!given && !call.view.has(hit.id))) return;
        const matches = given
          ? call.view.explainVectors(vectors, given)
          : call.view.explain(vectors, hit.id);
        const document = await this.tokensOf(hit.text, 'document');
        hit.explanation = matches.map(({ documentToken, contribution }, i) => ({
          queryToken: query[i]?.token ?? '',
          querySpan: query[i]?.span ?? null,
          documentToken: document[documentToken]?.token ?? '',
          documentSpan: document[documentToken]?.span ?? null,
          contribution,
        }));
      }),
    );
  }

  private async tokensOf(text: string, kind: 'query' | 'document'): Promise<TextToken[]> {
    return (await this.encoder.explainTokens?.(text, kind)) ?? [];
  }

  private async encodeQuery(call: Call): Promise<Float32Array> {
    if (call.vectors === null) {
      const started = performance.now();
      const [encoded] = await this.encoder.encodeQueries([call.text as string], {
        signal: call.signal,
        deadlineMs: call.leftMs,
      });
      call.vectors = (encoded as EncodedText).vectors;
      call.timings.encodeMs += performance.now() - started;
    }
    return call.vectors;
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
