/**
 * START HERE: add, rerank and search as the few steps they are. The rooms know nothing of each other;
 * they meet in this file.
 */
import { Call, type RankRequest } from './call.js';
import {
  checkArray,
  checkId,
  checkInteger,
  checkOptions,
  checkPositive,
  checkText,
  checkVectors,
  LIMITS,
} from './check.js';
import { ModelEncoder } from './encode/encoder.js';
import { invalid, MaxSimError } from './errors.js';
import { contentHash } from './index/content-hash.js';
import { type CodecOption, Index } from './index/store.js';
import { CrossEncoder } from './rerank/cross-encoder.js';
import { aborted, WorkerPool } from './runtime/pool.js';
import type {
  Candidate,
  DocumentInput,
  EncodedText,
  Encoder,
  Hit,
  RerankResult,
  SearchResult,
  Stage,
  StoredDocument,
} from './types.js';

export type EngineOptions = {
  /** Catalog name, folder of a model, or an encoder of your own. Default: 'default'. */
  model?: string | Encoder;
  /** How tokens are stored; fixed when the index is created. Default: int8. */
  codec?: CodecOption;
  /** 'read' takes no lock and refuses writes. Default: 'write'. */
  mode?: 'write' | 'read';
  /** Catalog name or folder of the cross-encoder, loaded at its first use. Default: 'default'. */
  crossEncoder?: string;
  /** Model threads. Default: one per core, at most 8. */
  threads?: number;
  /** Load the model on every thread before `open` resolves, so that the first query is fast. */
  warmUp?: boolean;
};

export type AddOptions = {
  /** Leave documents alone whose text and payload are stored already. Default: false. */
  skipUnchanged?: boolean;
  signal?: AbortSignal;
};

export type AddResult = {
  added: number;
  replaced: number;
  /** Skipped by `skipUnchanged`. */
  unchanged: number;
  /** Documents whose text was longer than the model reads; their ends are not searchable. */
  truncated: number;
};

type RankOptions = {
  /** How many hits to return. Default: 10. */
  topK?: number;
  /** Let the cross-encoder reorder the best candidates: `true` for the best max(topK, 20). */
  crossEncoder?: boolean | { keep: number };
  /** Add to every hit which document token answered each query token. Needs text on both sides. */
  explain?: boolean;
  signal?: AbortSignal;
};

export type RerankOptions = RankOptions & {
  /**
   * Answer within this time with the best order there is: cross-encoder, else late interaction, else
   * the order of the candidates; `degraded` says which stage is missing.
   */
  deadlineMs?: number;
};

export type SearchOptions = RankOptions;

/** A query text, or its token vectors: flat `tokens * dim` values, 1 to 1,024 tokens. */
export type Query = string | Float32Array;

/** Up to this many stored candidates are scored on the calling thread: about 0.3 ms at 180 tokens. */
const SYNC_CANDIDATES = 256;
const MAX_CANDIDATES = 100_000;
const CROSS_ENCODER_SLICE = 20;

/** A candidate with its late-interaction score; `order` is its place in the list it came in. */
type Ranked = {
  id: string;
  order: number;
  text: string | null;
  stored: boolean;
  vectors: Float32Array | null;
  score: number;
};

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
      model = 'default',
      codec,
      mode = 'write',
      crossEncoder = 'default',
      threads,
      warmUp = false,
    } = checkOptions<EngineOptions>('options', options, [
      'model',
      'codec',
      'mode',
      'crossEncoder',
      'threads',
      'warmUp',
    ]);
    if (threads !== undefined) checkInteger('threads', threads, 1, 256);
    const pool = new WorkerPool(new URL('./worker.js', import.meta.url), { threads });
    try {
      const encoder = typeof model === 'string' ? await ModelEncoder.open(model, pool) : model;
      const index = await Index.open(directory, {
        mode,
        dim: encoder.dim,
        encoder: { fingerprint: encoder.fingerprint, recipe: encoder.recipe },
        ...(codec === undefined ? {} : { codec }),
      });
      const engine = new Engine(index, encoder, pool, crossEncoder);
      if (warmUp)
        await encoder.encodeQueries(Array.from({ length: pool.threadCount }, () => 'warm up'));
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
    const { skipUnchanged = false, signal } = checkOptions<AddOptions>('options', options, [
      'skipUnchanged',
      'signal',
    ]);
    const inputs = checkArray('documents', documents).map((document, i) =>
      this.checkDocument(document, `documents[${i}]`),
    );
    const hashes = inputs.map(contentHash);
    const fresh: number[] = [];
    const stored = skipUnchanged
      ? this.index.contentHashes(inputs.map((document) => document.id))
      : [];
    for (let i = 0; i < inputs.length; i++)
      if (!skipUnchanged || stored[i] !== hashes[i]) fresh.push(i);
    const texts = fresh
      .map((i) => inputs[i] as DocumentInput)
      .filter((document) => document.vectors === undefined);
    const encoded = await this.encoder.encodeDocuments(
      texts.map((document) => document.text as string),
      { signal },
    );
    const vectorsOf = new Map(texts.map((document, i) => [document, encoded[i] as EncodedText]));
    if (signal?.aborted) throw aborted(signal);
    const { added, replaced } = await this.index.add(
      fresh.map((i) => {
        const { id, text, vectors, payload } = inputs[i] as DocumentInput;
        return {
          id,
          vectors: vectors ?? (vectorsOf.get(inputs[i] as DocumentInput) as EncodedText).vectors,
          contentHash: hashes[i] as string,
          ...(text === undefined ? {} : { text }),
          ...(payload === undefined ? {} : { payload }),
        };
      }),
    );
    return {
      added,
      replaced,
      unchanged: inputs.length - fresh.length,
      truncated: encoded.filter((text) => text.truncatedTokens > 0).length,
    };
  }

  /** Removes documents, durably, in one commit. Ids that the index does not hold are reported. */
  async delete(ids: readonly string[]): Promise<{ deleted: number; unknownIds: string[] }> {
    this.checkOpen();
    return await this.index.delete([...ids]);
  }

  /** A stored document, or undefined. */
  get(id: string): StoredDocument | undefined {
    this.checkOpen();
    return this.index.get(id);
  }

  /**
   * Orders candidates by late interaction and, if asked, lets the cross-encoder reorder the best.
   * Candidates are ids of stored documents, `{ id, text }` or `{ id, vectors }`; ids that the index
   * does not hold come back in `unknownIds`.
   *
   * @example
   * const { hits } = await engine.rerank('who approves travel?', ['policy-7', 'policy-9'], { topK: 5 })
   */
  async rerank(
    query: Query,
    candidates: readonly Candidate[],
    options?: RerankOptions,
  ): Promise<RerankResult> {
    const started = performance.now();
    const { deadlineMs, ...rest } = checkOptions<RerankOptions>('options', options, [
      'topK',
      'crossEncoder',
      'explain',
      'signal',
      'deadlineMs',
    ]);
    if (deadlineMs !== undefined) checkPositive('deadlineMs', deadlineMs);
    const call = new Call(this.checkRank(query, rest), started, deadlineMs);
    const given = checkArray('candidates', candidates);
    if (given.length > MAX_CANDIDATES)
      throw invalid('candidates', `at most ${MAX_CANDIDATES} candidates`, candidates);
    const list = given.map((candidate, i) => this.checkCandidate(candidate, `candidates[${i}]`, i));
    const held = this.index.hasMany(
      list.filter((candidate) => candidate.stored).map((candidate) => candidate.id),
    );
    let next = 0;
    const known: Ranked[] = [];
    const unknownIds: string[] = [];
    for (const candidate of list) {
      if (candidate.stored && held[next++] !== true) unknownIds.push(candidate.id);
      else known.push(candidate);
    }
    const scored = await call.stage('late-interaction', () => this.scoreLate(call, known));
    if (scored === undefined) {
      return {
        hits: this.toHits(known.slice(0, call.topK), 'first-stage'),
        unknownIds,
        ...call.end(),
      };
    }
    known.sort((a, b) => b.score - a.score || a.order - b.order);
    return { hits: await this.finish(call, known), unknownIds, ...call.end() };
  }

  /** The best documents of the whole index, every token scanned. */
  async search(query: Query, options?: SearchOptions): Promise<SearchResult> {
    const started = performance.now();
    const rest = checkOptions<SearchOptions>('options', options, [
      'topK',
      'crossEncoder',
      'explain',
      'signal',
    ]);
    const call = new Call(this.checkRank(query, rest), started, undefined);
    const vectors = await this.encodeQuery(call);
    const scoring = performance.now();
    const found = await this.index.search(vectors, {
      topK: Math.max(call.topK, call.slice),
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
    return { hits: await this.finish(call, ranked), ...call.end() };
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

  /** Fills in `score` of every candidate; stored ones from the index, others encoded first. */
  private async scoreLate(call: Call, candidates: readonly Ranked[]): Promise<true> {
    const texts = candidates.filter((candidate) => !candidate.stored && candidate.vectors === null);
    const encoding = performance.now();
    const [queryVectors, encoded] = await Promise.all([
      this.encodeQuery(call),
      this.encoder.encodeDocuments(
        texts.map((candidate) => candidate.text as string),
        { signal: call.signal },
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
    const { scores } =
      ids.length <= SYNC_CANDIDATES
        ? this.index.score(queryVectors, ids)
        : await this.index.scoreAsync(queryVectors, ids);
    stored.forEach((candidate, i) => {
      candidate.score = scores[i] as number;
    });
    const others = await this.index.scoreVectors(
      queryVectors,
      given.map((candidate) => candidate.vectors as Float32Array),
    );
    given.forEach((candidate, i) => {
      candidate.score = others[i] as number;
    });
    call.timings.scoreMs += performance.now() - scoring;
    return true;
  }

  /** From candidates in late-interaction order to hits: the cross-encoder's turn, texts, evidence. */
  private async finish(call: Call, ranked: Ranked[]): Promise<Hit[]> {
    const top = ranked.slice(0, Math.max(call.topK, call.slice));
    let hits = this.toHits(top, 'late-interaction');
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
    this.crossEncoder ??= CrossEncoder.open(this.crossEncoderModel, this.pool);
    this.crossEncoder.catch(() => {
      this.crossEncoder = undefined;
    });
    const logits = await (await this.crossEncoder).score(call.text as string, texts, {
      signal: call.signal,
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
    const query = await this.encoder.explainTokens(call.text as string, 'query');
    await Promise.all(
      hits.map(async (hit) => {
        if (hit.text === null) return;
        const given = ranked.get(hit.id)?.vectors;
        const matches = given
          ? this.index.explainVectors(vectors, given)
          : this.index.explain(vectors, hit.id);
        const document = await this.encoder.explainTokens(hit.text, 'document');
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

  private toHits(ranked: readonly Ranked[], stage: Stage): Hit[] {
    const stored = this.index.getMany(ranked.map((candidate) => candidate.id));
    return ranked.map((candidate, i) => ({
      id: candidate.id,
      score: stage === 'first-stage' ? null : candidate.score,
      stage,
      scores: stage === 'first-stage' ? [] : [{ stage, score: candidate.score, rank: i + 1 }],
      text: candidate.stored ? (stored[i]?.text ?? null) : candidate.text,
      payload: candidate.stored ? (stored[i]?.payload ?? null) : null,
    }));
  }

  private async encodeQuery(call: Call): Promise<Float32Array> {
    if (call.vectors === null) {
      const started = performance.now();
      const [encoded] = await this.encoder.encodeQueries([call.text as string], {
        signal: call.signal,
      });
      call.vectors = (encoded as EncodedText).vectors;
      call.timings.encodeMs += performance.now() - started;
    }
    return call.vectors;
  }

  private checkRank(query: Query, options: RankOptions): RankRequest {
    this.checkOpen();
    const { topK = 10, crossEncoder = false, explain = false, signal } = options;
    checkInteger('topK', topK, 1, MAX_CANDIDATES);
    let slice = 0;
    if (crossEncoder === true) slice = Math.max(topK, CROSS_ENCODER_SLICE);
    else if (typeof crossEncoder === 'object' && crossEncoder !== null) {
      slice = checkInteger('crossEncoder.keep', crossEncoder.keep, 1, 1000);
    } else if (crossEncoder !== false)
      throw invalid('crossEncoder', 'true, false or { keep }', crossEncoder);
    const isVectors = typeof query !== 'string';
    if (isVectors && (slice > 0 || explain)) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        'crossEncoder and explain need the query as text, but token vectors were given.',
      );
    }
    const vectors = isVectors
      ? checkVectors('query', query, this.index.dim, LIMITS.maxQueryTokens)
      : null;
    const text = isVectors ? null : checkText('query', query);
    if (signal?.aborted) throw aborted(signal);
    return { text, vectors, topK, slice, explain, signal };
  }

  private checkDocument(value: unknown, name: string): DocumentInput {
    const document = checkOptions<DocumentInput>(name, value as DocumentInput, [
      'id',
      'text',
      'vectors',
      'payload',
    ]);
    checkId(`${name}.id`, document.id);
    if (document.vectors === undefined) checkText(`${name}.text`, document.text);
    else
      checkVectors(`${name}.vectors`, document.vectors, this.index.dim, LIMITS.maxDocumentTokens);
    return document;
  }

  private checkCandidate(value: unknown, name: string, order: number): Ranked {
    if (typeof value === 'string') {
      return { id: value, order, text: null, stored: true, vectors: null, score: 0 };
    }
    const { id, text, vectors } = checkOptions<{
      id: string;
      text?: string;
      vectors?: Float32Array;
    }>(name, value as never, ['id', 'text', 'vectors']);
    checkId(`${name}.id`, id);
    if (vectors !== undefined)
      checkVectors(`${name}.vectors`, vectors, this.index.dim, LIMITS.maxDocumentTokens);
    else checkText(`${name}.text`, text);
    return { id, order, text: text ?? null, stored: false, vectors: vectors ?? null, score: 0 };
  }

  private checkOpen(): void {
    if (this.closed) throw new MaxSimError('CLOSED', 'The engine is closed.');
  }
}
