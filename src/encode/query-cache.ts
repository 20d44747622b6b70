/**
 * Vectors of queries that were encoded lately. The same query asked by many at once is encoded once, and
 * each of them may give up without the others.
 */
import { LRUCache } from 'lru-cache';
import { checkArray } from '../check.js';
import { aborted } from '../runtime/pool.js';
import type { EncodedText, EncodeOptions, Encoder, TextToken } from '../types.js';

export type QueryCacheStats = {
  hits: number;
  /** Queries that were encoded. */
  misses: number;
  /** Queries that somebody else was having encoded already. */
  shared: number;
  entries: number;
  sizeBytes: number;
  maxBytes: number;
};

/** Texts that are being encoded in one call, for everybody who waits for one of them. */
type Flight = {
  encoded: Promise<EncodedText[]>;
  controller: AbortController;
  waiting: number;
  done: boolean;
};

/** What an entry takes besides its text and vectors, about. */
const ENTRY_BYTES = 256;

export class QueryCache implements Encoder {
  readonly dim: number;
  readonly fingerprint: string;
  readonly recipe: Readonly<Record<string, unknown>>;
  readonly explainTokens?: (text: string, kind: 'query' | 'document') => Promise<TextToken[]>;
  private readonly entries: LRUCache<string, EncodedText>;
  private readonly flights = new Map<string, { flight: Flight; place: number }>();
  private hits = 0;
  private misses = 0;
  private shared = 0;

  /** `maxBytes`: of texts and vectors, at least 1. */
  constructor(
    private readonly encoder: Encoder,
    private readonly maxBytes: number,
  ) {
    this.dim = encoder.dim;
    this.fingerprint = encoder.fingerprint;
    this.recipe = encoder.recipe;
    if (encoder.explainTokens !== undefined)
      this.explainTokens = encoder.explainTokens.bind(encoder);
    this.entries = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ vectors }, text) => vectors.byteLength + 2 * text.length + ENTRY_BYTES,
    });
  }

  async encodeQueries(
    texts: readonly string[],
    options: EncodeOptions = {},
  ): Promise<EncodedText[]> {
    checkArray('texts', texts);
    if (options.signal?.aborted) throw aborted(options.signal);
    const found = texts.map((text) => this.entries.get(text));
    const missing = [...new Set(texts.filter((_, i) => found[i] === undefined))];
    this.hits += found.filter((entry) => entry !== undefined).length;
    const fresh = missing.filter((text) => !this.flights.has(text));
    this.misses += fresh.length;
    this.shared += missing.length - fresh.length;
    const own = fresh.length > 0 ? this.start(fresh, options) : null;
    const waits = new Map(missing.map((text) => [text, this.wait(text, own, options)]));
    // All are waited for, so that none is left without anybody to hear of its failure.
    const settled = await Promise.allSettled(waits.values());
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return await Promise.all(
      texts.map(async (text, i) => copy(found[i] ?? ((await waits.get(text)) as EncodedText))),
    );
  }

  encodeDocuments(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]> {
    return this.encoder.encodeDocuments(texts, options);
  }

  async close(): Promise<void> {
    this.entries.clear();
    await this.encoder.close?.();
  }

  stats(): QueryCacheStats {
    return {
      hits: this.hits,
      misses: this.misses,
      shared: this.shared,
      entries: this.entries.size,
      sizeBytes: this.entries.calculatedSize,
      maxBytes: this.maxBytes,
    };
  }

  private start(texts: readonly string[], { deadlineMs }: EncodeOptions): Flight {
    const controller = new AbortController();
    const encoded = this.encoder.encodeQueries(texts, { signal: controller.signal, deadlineMs });
    const flight: Flight = { encoded, controller, waiting: 0, done: false };
    texts.forEach((text, place) => {
      this.flights.set(text, { flight, place });
    });
    const land = (): void => {
      flight.done = true;
      this.forget(flight);
    };
    encoded.then(
      (results) => {
        land();
        texts.forEach((text, i) => {
          this.entries.set(text, results[i] as EncodedText);
        });
      },
      land, // a failure is not remembered
    );
    return flight;
  }

  /** The vectors of one text that is being encoded; the last one to give up stops it. */
  private async wait(
    text: string,
    own: Flight | null,
    options: EncodeOptions,
  ): Promise<EncodedText> {
    const { flight, place } = this.flights.get(text) as { flight: Flight; place: number };
    const { signal } = options;
    flight.waiting += 1;
    let onAbort = (): void => {};
    const gaveUp = new Promise<never>((_, reject) => {
      onAbort = () => reject(aborted(signal));
      signal?.addEventListener('abort', onAbort, { once: true });
    });
    try {
      return (await Promise.race([flight.encoded, gaveUp]))[place] as EncodedText;
    } catch (error) {
      // Somebody else's deadline, or a bad text in their list, is not ours.
      if (flight === own || signal?.aborted) throw error;
      const encoded = (await this.encoder.encodeQueries([text], options))[0] as EncodedText;
      this.entries.set(text, encoded);
      return encoded;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      flight.waiting -= 1;
      if (flight.waiting === 0 && !flight.done) {
        this.forget(flight);
        flight.controller.abort();
      }
    }
  }

  /** Texts of it may be under way anew by now; those stay. */
  private forget(flight: Flight): void {
    for (const [text, entry] of this.flights)
      if (entry.flight === flight) this.flights.delete(text);
  }
}

/** Whoever gets them may change them. */
function copy(text: EncodedText): EncodedText {
  return { ...text, vectors: text.vectors.slice() };
}
