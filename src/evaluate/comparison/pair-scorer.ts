/** The cross-encoder as a reranker of passages. */
import { createHash } from 'node:crypto';
import { newPool } from '../../encoder.js';
import { CrossEncoder, loadCrossEncoder } from '../../rerank/cross-encoder.js';
import { sha256 } from '../../runtime/catalog.js';
import type { WorkerPool } from '../../runtime/pool.js';
import type { Mark, StageRow } from './score-cache.js';

export type PairScorerOptions = {
  model: string;
  threads?: number | undefined;
  allowNonCommercial: boolean;
};

export class PairScorer {
  private constructor(
    private readonly crossEncoder: CrossEncoder,
    private readonly pool: WorkerPool,
    /** Of the model's weights. */
    readonly fingerprint: string,
  ) {}

  static async open(options: PairScorerOptions): Promise<PairScorer> {
    const { model, threads, allowNonCommercial } = options;
    const pool = newPool(threads === undefined ? {} : { threads });
    try {
      const { graph, maxLength } = await loadCrossEncoder(model, undefined, { allowNonCommercial });
      const weights = `${await sha256(graph.file)} ${maxLength}`;
      const crossEncoder = await CrossEncoder.open(model, pool, { allowNonCommercial });
      const fingerprint = createHash('sha256').update(weights).digest('hex').slice(0, 16);
      return new PairScorer(crossEncoder, pool, fingerprint);
    } catch (error) {
      await pool.close();
      throw error;
    }
  }

  get model(): string {
    return this.crossEncoder.model;
  }

  /** The first pairs load the model on every thread: their time is nobody's question. */
  async warmUp(signal: AbortSignal): Promise<void> {
    await this.crossEncoder.score('warm up', new Array<string>(64).fill('a passage'), { signal });
  }

  /**
   * Raw logits of texts, in their order, and the time for as many of them as each of `ends` says.
   * `before` is what there is of them from a shallower run; it is not computed again.
   */
  async score(
    query: string,
    texts: readonly string[],
    ends: readonly number[],
    signal: AbortSignal,
    before?: StageRow,
  ): Promise<StageRow> {
    const scores = [...(before?.scores ?? [])];
    const marks: Mark[] = [...(before?.marks ?? [])];
    let ms = marks.at(-1)?.ms ?? 0;
    for (const end of ends) {
      if (end <= scores.length) continue;
      const started = performance.now();
      const some = await this.crossEncoder.score(query, texts.slice(scores.length, end), {
        signal,
      });
      ms += performance.now() - started;
      for (const score of some) scores.push(score);
      marks.push({ count: end, ms });
    }
    return { scores, marks };
  }

  async close(): Promise<void> {
    await this.pool.close();
  }
}
