/** What can be asked of documents: reading, scoring, ranking. store.ts says how they change. */
import { setImmediate } from 'node:timers/promises';
import { checkArray, checkInteger, checkOptions, checkString } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  explainVectors,
  type QueryVectors,
  scoreVectors,
  toMatches,
  toQuery,
  type VectorMatch,
} from '../maxsim/query.js';
import { drawPlaces, seededRandom } from '../random.js';
import {
  type NativeFilter,
  type NativeSnapshot,
  native,
  UNKNOWN_REF,
  type VectorFormat,
} from '../runtime/addon.js';
import type { FieldTypes, Filter, Payload, StoredDocument } from '../types.js';
import { HASH_PREFIX_BYTES, readContentHash, unpackRecord } from './document.js';
import { fieldValues } from './fields.js';
import { toFilter } from './filter.js';
import { formatOf, type Generation } from './generation.js';
import {
  checkRankOptions,
  type RankOptions,
  type RankRequest,
  type RankResult,
  type ResolvedIds,
  rankBatch,
  resolveRefs,
  type ScoreOptions,
  type ScoreResult,
  scoreBatch,
  spread,
  toBatch,
  withLimits,
} from './scoring.js';
import {
  checkSearchOptions,
  type IndexSearchOptions,
  type IndexSearchResult,
  toNativeOptions,
  toPlan,
} from './searching.js';
import { ownId, storedId } from './tenant.js';

/** Which documents are meant. */
export type FilterOption = { filter?: Filter };

const BATCH = 256;

export abstract class DocumentView {
  private skipped = 0;

  /** What is read; throws CLOSED. */
  protected abstract readonly generationInUse: Generation;

  /** Whose documents are seen; null in an index without tenants. Throws TENANT_REQUIRED. */
  protected abstract readonly tenantInUse: string | null;

  get dim(): number {
    return this.generationInUse.manifest.dim;
  }

  get documentCount(): number {
    return this.data.documentCount;
  }

  get tokenCount(): number {
    return this.data.tokenCount;
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

  /** What documents can be filtered by. */
  get fields(): FieldTypes {
    const { fields } = this.generationInUse.manifest;
    return Object.fromEntries(fields.map(({ name, type }) => [name, type]));
  }

  has(id: string): boolean {
    return this.hasMany([id])[0] as boolean;
  }

  /** One entry per id: whether it is stored, and matches where there is a filter. */
  hasMany(ids: readonly string[], options?: FilterOption): boolean[] {
    return Array.from(this.findMatching(ids, options), (ref) => ref !== UNKNOWN_REF);
  }

  get(id: string): StoredDocument | undefined {
    return this.getMany([id])[0];
  }

  /** One entry per id, in their order; undefined for an unknown one, or one that does not match. */
  getMany(ids: readonly string[], options?: FilterOption): (StoredDocument | undefined)[] {
    const refs = this.findMatching(ids, options);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      return ref === UNKNOWN_REF ? undefined : readDocument(this.data, id, ref);
    });
  }

  /** The stored vectors, decoded: flat `tokens * dim` values. Throws UNKNOWN_ID. */
  vectors(id: string): Float32Array {
    const ref = this.require(id);
    return native(() => this.data.tokens(ref));
  }

  /** One entry per id: its content hash, null if stored without one, undefined if unknown. */
  contentHashes(ids: readonly string[]): (string | null | undefined)[] {
    const refs = this.find(ids);
    return ids.map((id, i) => {
      const ref = refs[i] as number;
      if (ref === UNKNOWN_REF) return undefined;
      return readContentHash(
        native(() => this.data.record(ref, HASH_PREFIX_BYTES)),
        id,
      );
    });
  }

  /**
   * All documents of this generation, or those that match, oldest segment first, whatever is committed
   * meanwhile.
   */
  async *documents(options?: FilterOption): AsyncGenerator<StoredDocument, void, undefined> {
    const filter = this.toFilter(checkFilterOption(options));
    const tenant = this.tenantInUse;
    const snapshot = this.data.share();
    try {
      for (let from: number | null = 0; from !== null; ) {
        const { refs, next } = nextRefs(snapshot, filter, from, BATCH);
        const ids = snapshot.ids(refs);
        for (const [i, ref] of refs.entries()) {
          yield readDocument(snapshot, ownId(tenant, ids[i] as string), ref);
        }
        from = next;
        await setImmediate();
      }
    } finally {
      snapshot.close();
    }
  }

  /** Up to `count` documents at random, each once. */
  sample(count: number, seed = 0): StoredDocument[] {
    checkInteger('count', count, 1, 1_000_000);
    const tenant = this.tenantInUse;
    const filter = this.toFilter(undefined);
    const parts: Uint32Array[] = [];
    for (let from: number | null = 0; from !== null; ) {
      const { refs, next } = nextRefs(this.data, filter, from, UNKNOWN_REF);
      parts.push(refs);
      from = next;
    }
    const refs = parts.length === 1 ? (parts[0] as Uint32Array) : concatenated(parts);
    const places = drawPlaces(refs.length, count, seededRandom(seed));
    const drawn = Uint32Array.from(places, (place) => refs[place] as number);
    const ids = native(() => this.data.ids(drawn));
    return [...drawn].map((ref, i) =>
      readDocument(this.data, ownId(tenant, ids[i] as string), ref),
    );
  }

  /** How many documents match; about a millisecond for a million, off the event loop. */
  async count(
    filter?: Filter,
    options?: { signal?: AbortSignal; deadlineMs?: number },
  ): Promise<number> {
    const { signal, deadlineMs } = checkOptions<{ signal?: AbortSignal; deadlineMs?: number }>(
      'options',
      options,
      ['signal', 'deadlineMs'],
    );
    const native = this.toFilter(filter);
    if (native === undefined) return this.documentCount;
    return await withLimits(signal, deadlineMs, (limits) =>
      this.data.countMatching(native, limits),
    );
  }

  /**
   * MaxSim scores of stored documents, on the calling thread whatever their number: 100 documents of 180
   * tokens take 0.2 to 0.4 ms with AVX-512. Where it may be more, use `scoreAsync`. The query is flat `tokens * dim` values, or prepared.
   * Throws INVALID_VECTORS, MODEL_MISMATCH.
   */
  score(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: FilterOption,
  ): ScoreResult {
    const resolve = this.resolver(checkFilterOption(options));
    const { known, places, unknownIds, excludedIds } = resolve(ids);
    const handle = toQuery(query, this.dim);
    const counts = Uint32Array.of(known.length);
    const scores = native(() => this.data.score([handle], known, counts));
    return { scores: spread(scores, places, ids.length), unknownIds, excludedIds };
  }

  /** The same off the event loop; what takes less than about 0.3 ms is done at once. */
  async scoreAsync(
    query: Float32Array | QueryVectors,
    ids: readonly string[],
    options?: ScoreOptions,
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
    options?: ScoreOptions,
  ): Promise<ScoreResult[]> {
    const { signal, deadlineMs, filter } = checkOptions<ScoreOptions>('options', options, [
      'signal',
      'deadlineMs',
      'filter',
    ]);
    const batch = this.toBatch(requests, filter);
    return await withLimits(signal, deadlineMs, (limits) => scoreBatch(this.data, batch, limits));
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
    const { topK, earlyExit, signal, deadlineMs, filter } = checkRankOptions(options);
    const batch = this.toBatch(requests, filter);
    const results = await withLimits(signal, deadlineMs, (limits) =>
      rankBatch(this.data, batch, topK, earlyExit, limits),
    );
    for (const { skipped } of results) this.skipped += skipped;
    return results;
  }

  /**
   * The best of all documents, or of those that match, off the event loop. Before `Index.buildSearch`
   * every document is scored; after it only candidates are, enough of them to find the share `recall` of
   * what that would find. `plan` says what was done. Throws INVALID_ARGUMENT, INVALID_VECTORS,
   * MODEL_MISMATCH, ABORTED, CORRUPT_INDEX.
   *
   * @example
   * const { hits, plan } = await index.search(queryVectors, { topK: 10, recall: 0.99 })
   */
  async search(
    query: Float32Array | QueryVectors,
    options?: IndexSearchOptions,
  ): Promise<IndexSearchResult> {
    return (await this.searchMany([query], options))[0] as IndexSearchResult;
  }

  /** `search` for many queries in one call to the addon, side by side on the cores. */
  async searchMany(
    queries: readonly (Float32Array | QueryVectors)[],
    options?: IndexSearchOptions,
  ): Promise<IndexSearchResult[]> {
    const checked = checkSearchOptions(options);
    const { signal, deadlineMs, filter } = checked;
    const tenant = this.tenantInUse;
    const kept = this.toFilter(filter);
    const handles = checkArray('queries', queries).map((query) =>
      toQuery(query as Float32Array | QueryVectors, this.dim),
    );
    const { manifest } = this.generationInUse;
    // The refs are this generation's: a commit meanwhile must not change what they mean.
    const snapshot = native(() => this.data.share());
    try {
      const found = await withLimits(signal, deadlineMs, (limits) =>
        snapshot.search(handles, toNativeOptions(checked, manifest), limits, kept),
      );
      return found.map(({ refs, scores, skipped, plan }) => {
        this.skipped += skipped;
        const hits = snapshot
          .ids(refs)
          .map((id, i) => ({ id: ownId(tenant, id), score: scores[i] as number }));
        return { hits, plan: toPlan(plan, skipped) };
      });
    } finally {
      snapshot.close();
    }
  }

  /** One match per query token; the contributions add up to the score. Throws UNKNOWN_ID. */
  explain(query: Float32Array | QueryVectors, id: string): VectorMatch[] {
    const ref = this.require(id);
    const handle = toQuery(query, this.dim);
    return toMatches(native(() => this.data.explain(handle, ref)));
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

  /** Throws INVALID_ARGUMENT for what is no filter of this index. */
  checkFilter(filter: Filter | undefined): void {
    this.toFilter(filter);
  }

  /** Throws INVALID_ARGUMENT unless checked payloads hold what the index declares. */
  checkPayloads(documents: readonly { payload?: Payload }[]): void {
    const { fields } = this.generationInUse.manifest;
    for (const [i, { payload }] of documents.entries()) {
      fieldValues(fields, payload, `documents[${i}].payload`);
    }
  }

  private find(ids: readonly string[]): Uint32Array {
    const { data: snapshot, tenantInUse: tenant } = this;
    const given = checkArray('ids', ids);
    if (tenant === null) return native(() => snapshot.find(ids));
    const stored = given.map((id, i) => storedId(tenant, checkString(`ids[${i}]`, id)));
    return native(() => snapshot.find(stored));
  }

  /** As `find`, with UNKNOWN_REF also for what does not match. */
  private findMatching(ids: readonly string[], options: FilterOption | undefined): Uint32Array {
    const filter = checkFilterOption(options);
    const { known, places } = this.resolver(filter)(ids);
    if (places === null) return known;
    const refs = new Uint32Array(ids.length).fill(UNKNOWN_REF);
    for (const [i, place] of places.entries()) refs[place] = known[i] as number;
    return refs;
  }

  /** What a call is limited to: the tenant's documents, and those that the caller asks for. */
  private toFilter(filter: Filter | undefined): NativeFilter | undefined {
    return toFilter(filter, this.generationInUse.manifest, this.tenantInUse);
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

  private toBatch(
    requests: readonly RankRequest[],
    filter: Filter | undefined,
  ): ReturnType<typeof toBatch> {
    return toBatch(requests, this.dim, this.format, this.resolver(filter));
  }

  /** Finds ids and drops those that the filter keeps out, before anything of them is read. */
  private resolver(filter: Filter | undefined): (ids: readonly string[]) => ResolvedIds {
    // Ids are looked up within their tenant, so a filter of the caller is all that is left to apply.
    const kept = filter === undefined ? undefined : this.toFilter(filter);
    return (ids) => {
      const refs = this.find(ids);
      const matches = kept === undefined ? null : native(() => this.data.match(kept, refs));
      return resolveRefs(ids, refs, matches);
    };
  }

  private get data(): NativeSnapshot {
    return this.generationInUse.snapshot;
  }
}

function checkFilterOption(options: FilterOption | undefined): Filter | undefined {
  return checkOptions<FilterOption>('options', options, ['filter']).filter;
}

/** The next documents of a walk from `from` on, and where it goes on; null at the end. */
function nextRefs(
  snapshot: NativeSnapshot,
  filter: NativeFilter | undefined,
  from: number,
  count: number,
): { refs: Uint32Array; next: number | null } {
  if (filter !== undefined) return native(() => snapshot.matching(filter, from, count));
  const refs = native(() => snapshot.refs(from, count));
  return { refs, next: refs.length === 0 ? null : (refs.at(-1) as number) + 1 };
}

function concatenated(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function readDocument(snapshot: NativeSnapshot, id: string, ref: number): StoredDocument {
  const { text, payload, contentHash } = unpackRecord(
    native(() => snapshot.record(ref)),
    id,
  );
  const tokenCount = native(() => snapshot.tokenCounts(Uint32Array.of(ref)))[0] as number;
  return { id, text, payload, tokenCount, contentHash };
}
