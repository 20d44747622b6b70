/**
 * A reranking service as a Reranker. Retries what may pass (429, 5xx, no connection) within its budget;
 * breaker, bulkhead and hedging are ResilientReranker's.
 */
import {
  checkArray,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkPositive,
  checkString,
  checkText,
} from '../../check.js';
import { invalid, MaxSimError } from '../../errors.js';
import { pause } from '../../runtime/pause.js';
import type { Judgement, JudgeOptions, Reranker } from '../../types.js';
import { exchange } from './exchange.js';
import { type Provider, readScores, WIRE_FORMATS, type WireFormat } from './wire-format.js';

export type RemoteRerankerOptions = {
  provider: Provider;
  /** The service's name of the model, 'rerank-v4.0-fast'; text-embeddings-inference has just one. */
  model?: string;
  /** Default: the provider's address; required for 'tei'. */
  url?: string;
  /** Default: COHERE_API_KEY, JINA_API_KEY or VOYAGE_API_KEY of the environment. */
  apiKey?: string;
  headers?: Readonly<Record<string, string>>;
  /** How long one request may take. Default: 10,000. */
  timeoutMs?: number;
  /** Times that a request which may yet succeed is sent. Default: 2. */
  attempts?: number;
  /** Most documents in one request; default: as many as the service takes. */
  maxDocuments?: number;
  /** Requests of one call at the same time, where its documents need several. Default: 4. */
  concurrency?: number;
};

const FIRST_PAUSE_MS = 100;

export class RemoteReranker implements Reranker {
  readonly name: string;
  readonly fingerprint: string;
  private readonly format: WireFormat;
  private readonly address: string;
  private readonly headers: Record<string, string>;
  private readonly options: Required<
    Pick<RemoteRerankerOptions, 'timeoutMs' | 'attempts' | 'maxDocuments' | 'concurrency'>
  > & { model: string | null };

  /** Throws INVALID_ARGUMENT: an unknown provider, no address, no model, no key. */
  constructor(options: RemoteRerankerOptions) {
    const {
      provider,
      model,
      url,
      apiKey,
      headers = {},
      timeoutMs = 10_000,
      attempts = 2,
      maxDocuments,
      concurrency = 4,
    } = checkOptions<RemoteRerankerOptions>('options', options, [
      'provider',
      'model',
      'url',
      'apiKey',
      'headers',
      'timeoutMs',
      'attempts',
      'maxDocuments',
      'concurrency',
    ]);
    checkOneOf('provider', provider, Object.keys(WIRE_FORMATS));
    const format: WireFormat = WIRE_FORMATS[provider];
    const base = url ?? format.url;
    if (base === null) throw invalid('url', `the address of the ${provider} server`, url);
    if (!URL.canParse(checkString('url', base)) || !/^https?:/.test(base))
      throw invalid('url', 'an http or https address', url);
    if (model === undefined && format.needsModel)
      throw invalid('model', `the name of a model of ${provider}`, model);
    if (model !== undefined) checkText('model', model);
    const key =
      apiKey ?? (format.keyVariable === null ? undefined : process.env[format.keyVariable]);
    if ((key === undefined || key === '') && format.keyVariable !== null && url === undefined) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${provider} needs a key: give apiKey, or set ${format.keyVariable}.`,
      );
    }
    checkInteger('attempts', attempts, 1, 10);
    checkInteger('concurrency', concurrency, 1, 64);
    if (maxDocuments !== undefined) checkInteger('maxDocuments', maxDocuments, 1, 10_000);
    this.name = provider;
    this.fingerprint = `${provider}:${model ?? new URL(base).host}`;
    this.format = format;
    this.address = base.replace(/\/+$/, '') + format.path;
    this.headers = { ...headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
    this.options = {
      model: model ?? null,
      timeoutMs: checkPositive('timeoutMs', timeoutMs),
      attempts,
      maxDocuments: maxDocuments ?? format.maxDocuments,
      concurrency,
    };
  }

  /** Throws RERANKER_FAILED, ABORTED. */
  async judge(
    query: string,
    documents: readonly string[],
    { signal, budgetMs }: JudgeOptions = {},
  ): Promise<Judgement> {
    checkText('query', query);
    checkArray('documents', documents);
    const until = performance.now() + Math.min(budgetMs ?? Number.POSITIVE_INFINITY, 2 ** 31 - 1);
    const scores = new Float32Array(documents.length);
    const { maxDocuments, concurrency } = this.options;
    const starts: number[] = [];
    for (let from = 0; from < documents.length; from += maxDocuments) starts.push(from);
    let failed = false; // one part that failed spoils the whole: the others need not be sent
    const send = async (): Promise<void> => {
      for (let from = starts.shift(); from !== undefined && !failed; from = starts.shift()) {
        const part = documents.slice(from, from + maxDocuments);
        try {
          scores.set(await this.request(query, part, until, signal), from);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, starts.length) }, send));
    return { scores };
  }

  private async request(
    query: string,
    documents: readonly string[],
    until: number,
    signal: AbortSignal | undefined,
  ): Promise<Float32Array> {
    const { model, timeoutMs, attempts } = this.options;
    for (let attempt = 1; ; attempt++) {
      const leftMs = until - performance.now();
      try {
        const body = await exchange({
          service: this.name,
          url: this.address,
          headers: this.headers,
          body: this.format.body({ model, query, documents }),
          timeoutMs: Math.max(1, Math.min(timeoutMs, leftMs)),
          signal,
        });
        return readScores(this.format, body, documents.length);
      } catch (error) {
        if (!(error instanceof MaxSimError) || error.details['retryable'] !== true) throw error;
        const asked = error.details['retryAfterMs'];
        const pauseMs =
          typeof asked === 'number'
            ? asked
            : FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.5 + Math.random());
        if (attempt >= attempts || performance.now() + pauseMs >= until) throw error;
        await pause(pauseMs, signal);
      }
    }
  }
}
