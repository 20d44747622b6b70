/**
 * What every wire format asks for: an engine that is there, a place in the queue, and a ranking whose
 * scores mean the same whoever asks. From ServeOptions to answers of Engine.
 */
import { basename } from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { checkText, checkVectors, LIMITS } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import {
  type Candidate,
  type Degradation,
  Engine,
  type Filter,
  type Hit,
  type RerankOptions,
  type TokenMatch,
} from '../maxsim.js';
import { Admission, estimateTokens } from './admission.js';
import { RequestError } from './failure.js';
import { Metrics } from './metrics.js';
import type { CheckedOptions, Judge } from './options.js';

/** An explanation is a job for a model thread, and is made on the event loop. */
const MAX_EXPLAINED = 100;

/** starting: models and index are being loaded. draining: still serving. closing: what has begun, and no more. */
export type ServiceState = 'starting' | 'ready' | 'draining' | 'closing';

/** Either texts or ids of stored documents. */
export type RankInput = {
  query: string | Float32Array;
  texts?: readonly string[];
  ids?: readonly string[];
  /** As the request names it. */
  model?: string | undefined;
  /** How many results. Default: all. */
  topN?: number | undefined;
  explain?: boolean | undefined;
  filter?: Filter | undefined;
  deadlineMs?: number | undefined;
  /** What the format calls its list of documents, for sentences. */
  listName: string;
};

export type RankedResult = {
  /** Place in the list that was given. */
  index: number;
  /** Null of texts. */
  id: string | null;
  /**
   * From 0 to 1: the logistic function of the cross-encoder's logit, or MaxSim per query token, which is
   * the mean cosine of query tokens with their best document tokens. 0 where nothing was scored.
   */
  relevance: number;
  /** MaxSim or logit; null where nothing was scored. */
  score: number | null;
  stage: Hit['stage'];
  text: string | null;
  payload: Hit['payload'];
  explanation: TokenMatch[] | null;
};

export type Ranking = {
  results: RankedResult[];
  unknownIds: string[];
  excludedIds: string[];
  degraded: Degradation | null;
  model: string;
  /** Of query and documents, estimated at four characters each. */
  tokens: number;
  /** In the engine, its queue included. */
  engineMs: number;
};

export class Service {
  readonly admission: Admission;
  readonly metrics: Metrics;
  state: ServiceState = 'starting';
  private opened: Engine | null = null;
  private readonly running = new Set<AbortController>();

  constructor(readonly options: CheckedOptions) {
    this.admission = new Admission(options.maxTokens, options.maxWaitMs);
    this.metrics = new Metrics(this.admission, () => this.opened);
  }

  /** Loads the models, so that the first request is as fast as others. Throws as Engine.open does. */
  async open(): Promise<void> {
    const { engine } = this.options;
    if (engine instanceof Engine) this.opened = engine;
    else {
      const { index, ...options } = engine;
      this.opened = await Engine.open(index, { mode: 'read', warmUp: true, ...options });
    }
    if (this.state === 'starting') this.state = 'ready';
  }

  /** Closes the engine where it was opened here. */
  async close(): Promise<void> {
    this.metrics.close();
    if (!(this.options.engine instanceof Engine)) await this.opened?.close();
  }

  /** Throws 503 while there is none. */
  get engine(): Engine {
    if (this.opened === null) throw notReady('The model and the index are being loaded.');
    return this.opened;
  }

  get lateInteractionModel(): string {
    const model = this.opened?.encoder.recipe['model'];
    return typeof model === 'string' ? basename(model) : 'late-interaction';
  }

  /** Throws 503 while nothing can be asked. */
  checkReady(): void {
    if (this.state === 'starting') throw notReady('The model and the index are being loaded.');
    if (this.state === 'closing') throw notReady('The server is going down.');
  }

  /** Ends what is still running. */
  abortAll(): void {
    for (const controller of this.running) controller.abort();
  }

  /** Runs a request's work with a signal that fires when its client leaves, or the drain has waited enough. */
  async run<T>(reply: FastifyReply, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const onClose = (): void => {
      if (!reply.raw.writableFinished) controller.abort();
    };
    this.running.add(controller);
    reply.raw.once('close', onClose);
    try {
      if (reply.raw.destroyed) controller.abort();
      return await work(controller.signal);
    } finally {
      this.running.delete(controller);
      reply.raw.off('close', onClose);
    }
  }

  /** A place in the queue, for as long as the work takes. */
  async admitted<T extends object>(
    tokens: number,
    deadlineMs: number | null,
    work: () => Promise<T>,
  ): Promise<T> {
    const leave = this.admission.enter(tokens, deadlineMs);
    const started = performance.now();
    try {
      const result = await work();
      leave(!('degraded' in result && result.degraded !== null));
      return result;
    } catch (error) {
      if (!(error instanceof MaxSimError) || error.code !== 'OVERLOADED') throw error;
      throw new RequestError(429, 'OVERLOADED', error.message, this.admission.retryAfterS);
    } finally {
      this.metrics.inference.observe((performance.now() - started) / 1000);
      leave(false); // where it has not been called
    }
  }

  async rank(request: FastifyRequest, reply: FastifyReply, input: RankInput): Promise<Ranking> {
    const { engine } = this;
    const { texts, ids, topN, explain = false, filter, listName } = input;
    const judge = this.judge(input.model);
    const list = this.checkList(listName, ids ?? texts ?? []);
    const query = this.checkQuery(input.query);
    texts?.forEach((text, i) => {
      checkText(`${listName}[${i}]`, text);
    });
    const topK = Math.min(topN ?? list.length, list.length);
    if (explain) checkExplained('top_n', topK);
    const tenant = tenantOf(request);
    const deadlineMs = input.deadlineMs ?? deadlineOf(request);
    const queryTexts = typeof query === 'string' ? [query] : [];
    const tokens = estimateTokens(queryTexts) + estimateTokens(texts ?? []);
    // The cross-encoder reads the query again with every text, and stored texts only then.
    const again = judge === 'cross-encoder' ? tokens + list.length * estimateTokens(queryTexts) : 0;
    const candidates: readonly Candidate[] =
      ids ?? list.map((text, i) => ({ id: String(i), text }));
    const options: RerankOptions = {
      topK,
      crossEncoder: judge === 'cross-encoder' ? { keep: list.length } : false,
      explain,
      ...(tenant === undefined ? {} : { tenant }),
      ...(filter === undefined ? {} : { filter }),
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    };
    return await this.run(reply, (signal) =>
      this.admitted(tokens + again, deadlineMs ?? null, async () => {
        const started = performance.now();
        const answer = await engine.rerank(query, candidates, { ...options, signal });
        const queryTokens = await this.queryTokens(query, answer.hits, signal);
        const { hits, unknownIds, excludedIds } = answer;
        const degraded = this.note(reply, answer.degraded);
        return {
          results: results(hits, ids ?? null, queryTokens),
          unknownIds,
          excludedIds,
          degraded,
          model: input.model ?? this.nameOf(judge),
          tokens,
          engineMs: performance.now() - started,
        };
      }),
    );
  }

  /**
   * Counts what an answer lacks, says so in a header, which every format has room for, and returns what
   * of it may be said: why a stage failed is for the log, since it may name files of this machine.
   */
  note(reply: FastifyReply, degraded: Degradation | null): Degradation | null {
    if (degraded === null) return null;
    const { stage, cause } = degraded;
    this.metrics.degraded.inc({ stage, cause });
    reply.header('x-degraded', stage);
    if (cause === 'deadline') return degraded;
    reply.log.warn(degraded, 'a stage is missing from the answer');
    const message = `The ${stage} stage failed; the log says why at request ${reply.request.id}.`;
    return { stage, cause, message };
  }

  /** Which judge a request's model means. Throws 404. */
  judge(model: string | undefined): Judge {
    const { defaultModel, aliases, engine } = this.options;
    if (model === undefined || model === 'default') return defaultModel;
    const crossEncoder = engine instanceof Engine ? undefined : engine.crossEncoder;
    if (model === 'late-interaction' || model === this.lateInteractionModel)
      return 'late-interaction';
    if (model === 'cross-encoder') return 'cross-encoder';
    if (crossEncoder !== undefined && model === basename(crossEncoder)) return 'cross-encoder';
    const alias = Object.hasOwn(aliases, model) ? aliases[model] : undefined;
    if (alias !== undefined) return alias;
    const known = [
      ...new Set(['default', 'late-interaction', this.lateInteractionModel, 'cross-encoder']),
      ...Object.keys(aliases),
    ];
    throw new RequestError(
      404,
      'MODEL_NOT_FOUND',
      `model must be one of ${known.join(', ')}, but ${JSON.stringify(model.slice(0, 100))} was given.`,
    );
  }

  nameOf(judge: Judge): string {
    return judge === 'cross-encoder' ? judge : this.lateInteractionModel;
  }

  checkQuery(query: unknown, name = 'query'): string | Float32Array {
    if (!(query instanceof Float32Array)) return checkText(name, query);
    return checkVectors(name, query, this.engine.index.dim, LIMITS.maxQueryTokens);
  }

  /** One of `maxDocuments` at most, and not empty. */
  checkList<T>(name: string, list: readonly T[]): readonly T[] {
    const { maxDocuments } = this.options;
    if (list.length === 0)
      throw new RequestError(400, 'EMPTY_TEXT', `${name} must hold at least one, but is empty.`);
    if (list.length <= maxDocuments) return list;
    throw new RequestError(
      413,
      'TOO_LARGE',
      `${name} must hold at most ${maxDocuments}, but has ${list.length}.`,
    );
  }

  /** How many tokens MaxSim adds up over; from the cache of queries, where they have just been encoded. */
  private async queryTokens(
    query: string | Float32Array,
    hits: readonly Hit[],
    signal: AbortSignal,
  ): Promise<number> {
    const { encoder, index } = this.engine;
    if (typeof query !== 'string') return query.length / index.dim;
    if (!hits.some(({ stage }) => stage === 'late-interaction')) return 1;
    const [encoded] = await encoder.encodeQueries([query], { signal });
    return (encoded?.vectors.length ?? index.dim) / index.dim;
  }
}

function notReady(message: string): RequestError {
  return new RequestError(503, 'NOT_READY', message, 1);
}

function results(
  hits: readonly Hit[],
  ids: readonly string[] | null,
  queryTokens: number,
): RankedResult[] {
  // An id that was given twice is two candidates.
  const places = new Map<string, number[]>();
  ids?.forEach((id, i) => {
    const known = places.get(id);
    if (known === undefined) places.set(id, [i]);
    else known.push(i);
  });
  return hits.map((hit) => ({
    index: ids === null ? Number(hit.id) : (places.get(hit.id)?.shift() ?? 0),
    id: ids === null ? null : hit.id,
    relevance: relevanceOf(hit, queryTokens),
    score: hit.score,
    stage: hit.stage,
    text: hit.text,
    payload: hit.payload,
    explanation: hit.explanation ?? null,
  }));
}

function relevanceOf({ stage, score }: Hit, queryTokens: number): number {
  if (score === null) return 0;
  if (stage === 'cross-encoder') return 1 / (1 + Math.exp(-score));
  // Rounding of a codec may carry a cosine a little over 1.
  return Math.min(1, Math.max(0, score / queryTokens));
}

/** Throws INVALID_ARGUMENT where more results would be explained than may. */
export function checkExplained(name: string, results: number): void {
  if (results > MAX_EXPLAINED)
    throw invalid(name, `at most ${MAX_EXPLAINED} where results are explained`, results);
}

/** Milliseconds of `x-deadline-ms`. Throws INVALID_ARGUMENT. */
export function deadlineOf({ headers }: FastifyRequest): number | undefined {
  const given = headers['x-deadline-ms'];
  if (given === undefined) return undefined;
  const ms = Number(given);
  if (!(ms > 0 && ms < 2 ** 31))
    throw invalid('x-deadline-ms', 'a positive number of milliseconds', given);
  return ms;
}

/** Whose documents, in an index with tenants: `x-tenant`. */
export function tenantOf({ headers }: FastifyRequest): string | undefined {
  const given = headers['x-tenant'];
  return typeof given === 'string' ? given : undefined;
}
