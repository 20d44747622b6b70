/** What can be asked of documents: reading, scoring, ranking. store.ts says how they change. */
import { setImmediate } from 'node:timers/promises';
import { checkArray, checkOptions } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  explainVectors,
  type QueryVectors,
  scoreVectors,
  toMatches,
  toQuery,
  type VectorMatch,
} from '../maxsim/query.js';
import { type NativeSnapshot, native, UNKNOWN_REF, type VectorFormat } from '../runtime/addon.js';
import type { StoredDocument } from '../types.js';
import { HASH_PREFIX_BYTES, readContentHash, unpackRecord } from './document.js';
import { formatOf, type Generation } from './generation.js';
import {
  checkRankOptions,
  type RankOptions,
  type RankRequest,
  type RankResult,
  type ResolvedIds,
  rankBatch,
  resolveRefs,
  type ScoreResult,
  scoreBatch,
  spread,
  toBatch,
  withLimits,
} from './scoring.js';

const BATCH = 256;

export abstract class DocumentView {
  private skipped = 0;

  /** What is read; throws CLOSED. */
  protected abstract readonly generationInUse: Generation;

  get dim(): number {
    return this.generationInUse.manifest.dim;
  }

  get documentCount(): number {
    return this.snapshot.documentCount;
  }

  get tokenCount(): number {
    return this.snapshot.tokenCount;
  }

  /** Documents that `rank` and `search` have given up early since the index was opened. */
  get skippedDocuments(): number {
    return this.skipped;
  }

  /** How vectors are stored, for scoring others as if they were. */
  get format(): VectorFormat {
    const { manifest, codebook } = this.generationInUse;
    return formatOf(manifest, codebook);
  }

  has(id: string): boolean {
    return this.hasMany([id])[0] as boolean;
  }

  hasMany(ids: readonly string[]): boolean[] {
    return Array.from(this.find(ids), (ref) => ref !== UNKNOWN_REF);
  }

  get(id: string): StoredDocument | undefined {
    return this.getMany([id])[0];
  }

  /** One entry per id, in their order; undefined for an unknown one. */
  getMany(ids: readonly string[]): (StoredDocument | undefined)[] {
    const refs = this.find(ids);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      return ref === UNKNOWN_REF ? undefined : readDocument(this.snapshot, id, ref);
    });
  }

  /** The stored vectors, decoded: flat `tokens * dim` values. Throws UNKNOWN_ID. */
  vectors(id: string): Float32Array {
    const ref = this.require(id);
    return native(() => this.snapshot.tokens(ref));
  }

  /** One entry per id: its content hash, null if stored without one, undefined if unknown. */
  contentHashes(ids: readonly string[]): (string | null | undefined)[] {
    const refs = this.find(ids);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      if (ref === UNKNOWN_REF) return undefined;
      return readContentHash(
        native(() => this.snapshot.record(ref, HASH_PREFIX_BYTES)),
        id,
      );
    });
  }

  /** All documents of this generation, oldest segment first, whatever is committed meanwhile. */
  async *documents(): AsyncGenerator<StoredDocument, void, undefined> {
    const snapshot = this.snapshot.share();
    try {
      for (let from = 0; ; ) {
        const refs = snapshot.refs(from, BATCH);
        if (refs.length === 0) return;
        const ids = snapshot.ids(refs);
        for (const [i, ref] of refs.entries()) yield readDocument(snapshot, ids[i] as string, ref);
        from = (refs.at(-1) as number) + 1;
        await setImmediate();
      }
    } finally {
      snapshot.close();
    }
  }

  /**
   * MaxSim scores of stored documents, on the calling thread whatever their number: 100 documents of 180
   * tokens take 0.2 to 0.4 ms with AVX-512. Where it may be more, use `scoreAsync`. The query is flat `tokens * dim` values, or prepared.
   * Throws INVALID_VECTORS, MODEL_MISMATCH.
   */
  score(query: Float32Array | QueryVectors, ids: readonly string[]): ScoreResult {
    const { known, places, unknownIds } = this.resolveIds(ids);
    const handle = toQuery(query, this.dim);
    const counts = Uint32Array.of(known.length);
    const scores = native(() => this.snapshot.score([handle], known, counts));
    return { scores: spread(scores, places, ids.length), unknownIds };
  }

  /** The same off the event loop; what takes less than about 0.3 ms is done at once. */
  async scoreAsync(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<ScoreResult> {
    return (await this.scoreMany([{ query, ids }], options))[0] as ScoreResult;
  }

  /**
   * Scores of many queries, each for its own documents, in one call to the addon: queries are spread
   * over the cores, and so is one query when there are fewer of them than cores. What takes less than
   * about 0.3 ms in all is done at once on the calling thread.
   */
  async scoreMany(
    requests: readonly RankRequest[],
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<ScoreResult[]> {
    const { signal, deadlineMs } = checkOptions<{ signal?: AbortSignal; deadlineMs?: number }>(
      'options',
      options,
      ['signal', 'deadlineMs'],
    );
    const batch = this.toBatch(requests);
    return await withLimits(signal, deadlineMs, (limits) =>
      scoreBatch(this.snapshot, batch, limits),
    );
  }

  /**
   * The best of some stored documents, best first; equal scores keep the order of `ids`. The k best are
   * kept while documents are scored, in the addon; off the event loop where it takes longer than about
   * 0.3 ms.
   *
   * @example
   * const { hits } = await index.rank(queryVectors, ['a', 'b', 'c'], { topK: 2 })
   */
  async rank(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: RankOptions,
  ): Promise<RankResult> {
    return (await this.rankMany([{ query, ids }], options))[0] as RankResult;
  }

  /** `rank` for many queries in one call, as `scoreMany` is `score`. */
  async rankMany(requests: readonly RankRequest[], options?: RankOptions): Promise<RankResult[]> {
    const { topK, earlyExit, signal, deadlineMs } = checkRankOptions(options);
    const batch = this.toBatch(requests);
    const results = await withLimits(signal, deadlineMs, (limits) =>
      rankBatch(this.snapshot, batch, topK, earlyExit, limits),
    );
    for (const { skipped } of results) this.skipped += skipped;
    return results;
  }

  /** The best documents of the whole index, every token scanned, off the event loop. */
  async search(
    query: Float32Array | QueryVectors,
    options?: RankOptions,
  ): Promise<{ id: string; score: number }[]> {
    const { topK, earlyExit, signal, deadlineMs } = checkRankOptions(options);
    const handle = toQuery(query, this.dim);
    // The refs are this generation's: a commit meanwhile must not change what they mean.
    const snapshot = native(() => this.snapshot.share());
    try {
      const { refs, scores, skipped } = await withLimits(signal, deadlineMs, (limits) =>
        snapshot.search(handle, topK, earlyExit, limits),
      );
      this.skipped += skipped;
      return snapshot.ids(refs).map((id, i) => ({ id, score: scores[i] as number }));
    } finally {
      snapshot.close();
    }
  }

  /** One match per query token; the contributions add up to the score. Throws UNKNOWN_ID. */
  explain(query: Float32Array | QueryVectors, id: string): VectorMatch[] {
    const ref = this.require(id);
    const handle = toQuery(query, this.dim);
    return toMatches(native(() => this.snapshot.explain(handle, ref)));
  }

  /** Scores of vectors that are not stored, as if they were; off the event loop. */
  async scoreVectors(
    query: Float32Array | QueryVectors,
    documents: readonly Float32Array[],
  ): Promise<Float32Array> {
    return await scoreVectors(query, this.format, documents);
  }

  /** Explains a score of `scoreVectors`. */
  explainVectors(query: Float32Array | QueryVectors, vectors: Float32Array): VectorMatch[] {
    return explainVectors(query, this.format, vectors);
  }

  private find(ids: readonly string[]): Uint32Array {
    const { snapshot } = this;
    checkArray('ids', ids);
    return native(() => snapshot.find(ids));
  }

  private require(id: string): number {
    const [ref] = this.find([id]);
    if (ref === UNKNOWN_REF) {
      throw new MaxSimError('UNKNOWN_ID', `The index holds no document ${JSON.stringify(id)}.`, {
        details: { id },
      });
    }
    return ref as number;
  }

  private toBatch(requests: readonly RankRequest[]): ReturnType<typeof toBatch> {
    return toBatch(requests, this.dim, this.format, (ids) => this.find(ids));
  }

  private resolveIds(ids: readonly string[]): ResolvedIds {
    return resolveRefs(ids, this.find(ids));
  }

  private get snapshot(): NativeSnapshot {
    return this.generationInUse.snapshot;
  }
}

function readDocument(snapshot: NativeSnapshot, id: string, ref: number): StoredDocument {
  const { text, payload, contentHash } = unpackRecord(
    native(() => snapshot.record(ref)),
    id,
  );
  const tokenCount = native(() => snapshot.tokenCounts(Uint32Array.of(ref)))[0] as number;
  return { id, text, payload, tokenCount, contentHash };
}
