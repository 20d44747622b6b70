/** Late interaction as a first stage over the whole index, and as a reranker of stored documents. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Engine, type EngineOptions, MaxSimError } from '../../maxsim.js';
import { type CorpusDocument, passageText } from '../collection.js';
import type { Mark, StageRow } from './score-cache.js';

const BATCH = 32;

export type Indexed = {
  documents: number;
  tokens: number;
  sizeBytes: number;
  /** Encoded now; the others were there from before. */
  encoded: number;
  elapsedMs: number;
};

/** What names an index or a file of scores: the same texts give the same, whatever their folder. */
export function fingerprintOf(corpus: readonly CorpusDocument[]): string {
  const hash = createHash('sha256');
  for (const document of corpus) {
    hash.update(JSON.stringify([document.id, passageText(document)]));
  }
  return hash.digest('hex').slice(0, 16);
}

export class LateInteraction {
  private constructor(
    private readonly engine: Engine,
    /** Of corpus, model and how it is read: what scores depend on. */
    readonly fingerprint: string,
  ) {}

  /**
   * The index of a corpus, kept in `cache` by its fingerprint. Nothing is encoded yet. A model that is
   * given has an index of its own, and so has each way of reading it.
   */
  static async open(
    cache: string,
    corpus: readonly CorpusDocument[],
    options: Pick<EngineOptions, 'model' | 'threads' | 'allowNonCommercial'>,
  ): Promise<LateInteraction> {
    const asked = createHash('sha256').update(JSON.stringify(options.model ?? null));
    const name = `index-${fingerprintOf(corpus)}-${asked.digest('hex').slice(0, 8)}`;
    const engine = await Engine.open(join(cache, name), {
      ...options,
      warmUp: true,
      // Each stage encodes for itself, so that its time is its own.
      queryCacheBytes: 0,
    });
    const of = `${fingerprintOf(corpus)} ${engine.encoder.fingerprint} ${engine.index.codec.name}`;
    const fingerprint = createHash('sha256').update(of).digest('hex').slice(0, 16);
    return new LateInteraction(engine, fingerprint);
  }

  get recipe(): Readonly<Record<string, unknown>> {
    return this.engine.encoder.recipe;
  }

  get codec(): string {
    return this.engine.index.codec.name;
  }

  /** Encodes what is not stored yet, in durable commits: cut short, it goes on from there. */
  async index(
    corpus: readonly CorpusDocument[],
    onProgress: (done: number) => void,
    signal: AbortSignal,
  ): Promise<Indexed> {
    const started = performance.now();
    let encoded = 0;
    for (let from = 0; from < corpus.length; from += BATCH) {
      const batch = corpus
        .slice(from, from + BATCH)
        .map((document) => ({ id: document.id, text: passageText(document) }))
        .filter(({ text }) => text.trim() !== '');
      if (batch.length > 0) {
        const { added, replaced } = await this.engine.add(batch, { skipUnchanged: true, signal });
        encoded += added + replaced;
      }
      onProgress(Math.min(corpus.length, from + BATCH));
    }
    const { documentCount: documents, tokenCount: tokens } = this.engine.index;
    const { sizeBytes } = this.engine.index.stats();
    return { documents, tokens, sizeBytes, encoded, elapsedMs: performance.now() - started };
  }

  /** The best `topK` of all documents, by an exhaustive search. */
  async search(text: string, topK: number, signal: AbortSignal): Promise<StageRow> {
    const { vectors, encodeMs } = await this.encode(text, signal);
    const started = performance.now();
    const { hits } = await this.engine.index.search(vectors, {
      topK,
      method: 'exhaustive',
      signal,
    });
    const ms = encodeMs + performance.now() - started;
    return {
      ids: hits.map(({ id }) => id),
      scores: hits.map(({ score }) => score),
      marks: [{ count: hits.length, ms }],
      encodeMs,
    };
  }

  /**
   * Scores of stored candidates, and the time for as many of them as each of `ends` says (rising, the
   * last one the number of candidates).
   */
  async score(
    text: string,
    ids: readonly string[],
    ends: readonly number[],
    signal: AbortSignal,
  ): Promise<StageRow> {
    const { vectors, encodeMs } = await this.encode(text, signal);
    const scores: number[] = [];
    const marks: Mark[] = [];
    let ms = encodeMs;
    for (const end of ends) {
      const started = performance.now();
      const { scores: some } = this.engine.index.score(vectors, ids.slice(scores.length, end));
      ms += performance.now() - started;
      for (const score of some) scores.push(score);
      marks.push({ count: end, ms });
    }
    return { scores, marks, encodeMs };
  }

  async close(): Promise<void> {
    await this.engine.close();
  }

  private async encode(
    text: string,
    signal: AbortSignal,
  ): Promise<{ vectors: Float32Array; encodeMs: number }> {
    const started = performance.now();
    const [encoded] = await this.engine.encoder.encodeQueries([text], { signal });
    if (encoded === undefined) throw new MaxSimError('INTERNAL', 'A query has no vectors.');
    return { vectors: encoded.vectors, encodeMs: performance.now() - started };
  }
}
