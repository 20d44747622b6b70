/**
 * An encoder of the caller's own: another library, a remote service, a cache of vectors. What it is and
 * what it gives is checked here, so that a wrong one is named at once and never reaches an index.
 */
import { checkInteger, checkString, checkVectorShape, checkVectors, LIMITS } from '../check.js';
import { invalid, MaxSimError, show } from '../errors.js';
import { aborted } from '../runtime/pool.js';
import type { EncodedText, EncodeOptions, Encoder, TextToken } from '../types.js';

type EncodingMethod = 'encodeQueries' | 'encodeDocuments';

export class OwnEncoder implements Encoder {
  readonly dim: number;
  readonly fingerprint: string;
  readonly recipe: Readonly<Record<string, unknown>>;
  /** Only there where the caller's encoder has it. */
  readonly explainTokens?: (text: string, kind: 'query' | 'document') => Promise<TextToken[]>;

  /** Throws INVALID_ARGUMENT where something that an encoder has is missing or wrong. */
  constructor(private readonly encoder: Encoder) {
    if (typeof encoder !== 'object' || encoder === null)
      throw invalid('model', 'a name, model options or an encoder', encoder);
    this.dim = checkInteger('model.dim', encoder.dim, LIMITS.minDim, LIMITS.maxDim);
    this.fingerprint = checkString('model.fingerprint', encoder.fingerprint);
    if (typeof encoder.recipe !== 'object' || encoder.recipe === null)
      throw invalid('model.recipe', 'an object', encoder.recipe);
    this.recipe = encoder.recipe;
    for (const method of ['encodeQueries', 'encodeDocuments'] as const) {
      if (typeof encoder[method] !== 'function')
        throw invalid(`model.${method}`, 'a function', encoder[method]);
    }
    const { explainTokens } = encoder;
    if (explainTokens !== undefined) {
      if (typeof explainTokens !== 'function')
        throw invalid('model.explainTokens', 'a function', explainTokens);
      this.explainTokens = (text, kind) => explainTokens.call(encoder, text, kind);
    }
  }

  async encodeQueries(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]> {
    const encoded = await this.encode('encodeQueries', texts, options);
    for (const [i, { vectors }] of encoded.entries())
      checkVectors(nameOf('encodeQueries', i), vectors, this.dim, LIMITS.maxQueryTokens);
    return encoded;
  }

  /** The values of vectors are looked at where they are stored or scored, off the event loop. */
  async encodeDocuments(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]> {
    const encoded = await this.encode('encodeDocuments', texts, options);
    for (const [i, { vectors }] of encoded.entries())
      checkVectorShape(nameOf('encodeDocuments', i), vectors, this.dim);
    return encoded;
  }

  /** The encoder stays the caller's. */
  async close(): Promise<void> {}

  private async encode(
    method: EncodingMethod,
    texts: readonly string[],
    options: EncodeOptions = {},
  ): Promise<EncodedText[]> {
    if (texts.length === 0) return [];
    const given = await heeding(options.signal, async () => {
      try {
        return (await this.encoder[method](texts, options)) as unknown;
      } catch (cause) {
        if (cause instanceof MaxSimError || options.signal?.aborted) throw cause;
        throw new MaxSimError(
          'ENCODER_FAILED',
          `The given encoder's ${method} failed: ${cause instanceof Error ? cause.message : String(cause)}`,
          { cause },
        );
      }
    });
    if (!Array.isArray(given) || given.length !== texts.length) {
      throw new MaxSimError(
        'ENCODER_FAILED',
        `The given encoder's ${method} must give one result a text, ${texts.length} here, but gave ${show(given)}.`,
      );
    }
    return given.map((value: Partial<EncodedText> | null, i) => {
      const { vectors, truncatedTokens = 0 } = value ?? {};
      if (!(vectors instanceof Float32Array)) {
        throw new MaxSimError(
          'INVALID_VECTORS',
          `${nameOf(method, i)} must be a Float32Array of tokens * ${this.dim} values, but ${show(vectors)} was given.`,
        );
      }
      checkInteger(`truncatedTokens of text ${i}`, truncatedTokens, 0, Number.MAX_SAFE_INTEGER);
      return { vectors, tokenCount: vectors.length / this.dim, truncatedTokens };
    });
  }
}

function nameOf(method: EncodingMethod, text: number): string {
  return `What the given encoder's ${method} gave for text ${text}`;
}

/** Rejects with ABORTED as soon as the signal fires, whether or not `run` heeds it. */
async function heeding<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  if (signal === undefined) return await run();
  if (signal.aborted) throw aborted(signal);
  let onAbort = (): void => {};
  const stopped = new Promise<never>((_, reject) => {
    onAbort = () => reject(aborted(signal));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  const work = run();
  work.catch(() => {}); // once stopped, nobody waits for what it still has to say
  try {
    return await Promise.race([work, stopped]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
