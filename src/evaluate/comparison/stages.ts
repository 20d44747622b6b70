/**
 * Runs every stage of a comparison over all queries, one query at a time, so that a query's time is its
 * own. What costs time is kept in the cache as it is computed. Late interaction comes first and ends
 * before the cross-encoder begins: the two never share the cores.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { EngineOptions } from '../../maxsim.js';
import { fuse } from '../../rerank/fusion.js';
import { Bm25 } from '../../retrieve/bm25.js';
import { throwIfAborted } from '../codec-measurement.js';
import { type CollectionQuery, passageText } from '../collection.js';
import type { TestCollection } from '../open-collection.js';
import { environment } from './environment.js';
import { importRun } from './imported-run.js';
import { fingerprintOf, type Indexed, LateInteraction } from './late-interaction.js';
import { PairScorer } from './pair-scorer.js';
import {
  endsOf,
  idsOf,
  type RankedHit,
  type Row,
  reorder,
  type StageTimes,
  sumOf,
} from './rows.js';
import { ScoreCache, type StageRow } from './score-cache.js';
import type { FirstStageSpec, RerankerSpec, Systems } from './systems.js';

export type StageOptions = {
  systems: Systems;
  /** Rising. */
  depths: readonly number[];
  /** How many of late interaction's best a cascade's cross-encoder reads. */
  keep: number;
  /** Folder of what can be computed again. */
  cache: string;
  engine: Pick<EngineOptions, 'model' | 'threads' | 'allowNonCommercial'>;
  crossEncoder: string;
  signal: AbortSignal;
  onProgress(phase: string, unit: string, done: number, total: number): void;
};

const WARM_UP = 20;
const LEAST_FOUND = 100;

export type UsedModel = { role: string; name: string; fingerprint: string; codec: string | null };

export type Staged = {
  rows: Row[];
  models: UsedModel[];
  indexed: Indexed | null;
  /** Candidates of imported runs that the corpus has not, or that have no text: no reranker moves them. */
  unknownCandidates: number;
  /** By imported run: queries that it has no ranking for. They count with 0. */
  missingQueries: Record<string, number>;
};

type FirstStage = {
  spec: FirstStageSpec;
  /** By query; known documents first come first, as found. */
  hits: RankedHit[][];
  stageMs: StageTimes;
};

export async function runStages(
  collection: TestCollection,
  options: StageOptions,
): Promise<Staged> {
  return await new Stages(collection, options).run();
}

class Stages {
  private readonly queries: readonly CollectionQuery[];
  private readonly texts: ReadonlyMap<string, string>;
  private readonly corpusPrint: string;
  /** Times are kept beside scores, and are those of one machine and number of threads. */
  private readonly machinePrint: string;
  private readonly deepest: number;
  /** How many documents first stages find: R@100 must not depend on how deep rerankers read. */
  private readonly found: number;
  private readonly firstStages = new Map<string, FirstStage>();
  /** By first stage: late interaction's rows by query. */
  private readonly late = new Map<string, StageRow[]>();
  private readonly models: UsedModel[] = [];
  private indexed: Indexed | null = null;
  private unknownCandidates = 0;
  private readonly missingQueries: Record<string, number> = {};

  constructor(
    private readonly collection: TestCollection,
    private readonly options: StageOptions,
  ) {
    this.queries = collection.queries;
    const texts = collection.corpus.map(
      (document) => [document.id, passageText(document)] as const,
    );
    this.texts = new Map(texts.filter(([, text]) => text.trim() !== ''));
    this.corpusPrint = fingerprintOf(collection.corpus);
    const { cpu, cores } = environment();
    this.machinePrint = createHash('sha256')
      .update(JSON.stringify([cpu, cores, options.engine.threads ?? null]))
      .digest('hex')
      .slice(0, 8);
    this.deepest = options.depths.at(-1) as number;
    this.found = Math.max(LEAST_FOUND, this.deepest);
  }

  async run(): Promise<Staged> {
    const { firstStages, rerankers } = this.options.systems;
    const wants = (...kinds: string[]): boolean =>
      [...firstStages, ...rerankers].some(({ kind }) => kinds.includes(kind));
    await this.findWithoutModels();
    if (wants('colbert', 'cascade', 'colbert-search', 'hybrid')) await this.runLateInteraction();
    const rows: Row[] = firstStages.map((spec) => this.rowOfFirstStage(this.firstStage(spec.name)));
    for (const spec of rerankers.filter(({ kind }) => kind === 'colbert')) {
      rows.push(...this.rowsOf(spec, this.late.get(spec.over) as StageRow[], 'late interaction'));
    }
    if (wants('cross-encoder', 'cascade')) rows.push(...(await this.runCrossEncoder()));
    const { models, indexed, unknownCandidates, missingQueries } = this;
    return { rows, models, indexed, unknownCandidates, missingQueries };
  }

  private firstStage(name: string): FirstStage {
    return this.firstStages.get(name) as FirstStage;
  }

  private async findWithoutModels(): Promise<void> {
    for (const spec of this.options.systems.firstStages) {
      if (spec.kind !== 'run') continue;
      const imported = await importRun(spec.file, this.queries, this.texts);
      this.unknownCandidates += imported.unknownDocuments;
      if (imported.missingQueries > 0) this.missingQueries[spec.name] = imported.missingQueries;
      this.firstStages.set(spec.name, { spec, hits: imported.hits, stageMs: {} });
    }
    // Hybrids are made of it too.
    if (!this.needs('bm25', 'hybrid')) return;
    const bm25 = new Bm25([...this.texts].map(([id, text]) => ({ id, text })));
    // The first searches compile it: their time is nobody's question.
    for (const { text } of this.queries.slice(0, WARM_UP)) bm25.search(text, this.found);
    const ms = new Float64Array(this.queries.length);
    const hits = await this.forEachQuery('bm25', async ({ text }, i) => {
      const started = performance.now();
      const found = bm25.search(text, this.found);
      ms[i] = performance.now() - started;
      return found.map(({ id, score }) => ({ id, score: score.value }));
    });
    this.firstStages.set('bm25', {
      spec: { name: 'bm25', kind: 'bm25' },
      hits,
      stageMs: { bm25: ms },
    });
  }

  private needs(...kinds: string[]): boolean {
    return this.options.systems.firstStages.some(({ kind }) => kinds.includes(kind));
  }

  private async runLateInteraction(): Promise<void> {
    const { cache, engine, signal, depths, systems } = this.options;
    const { corpus } = this.collection;
    const late = await LateInteraction.open(cache, corpus, engine);
    try {
      this.options.onProgress('indexing', 'documents', 0, corpus.length);
      this.indexed = await late.index(
        corpus,
        (done) => this.options.onProgress('indexing', 'documents', done, corpus.length),
        signal,
      );
      this.models.push({
        role: 'late interaction',
        name: String(late.recipe['model'] ?? 'own'),
        fingerprint: late.fingerprint,
        codec: late.codec,
      });
      if (this.needs('colbert-search', 'hybrid')) await this.searchLate(late);
      if (this.needs('hybrid')) this.fuse();
      const over = new Set(
        systems.rerankers.filter(({ kind }) => kind !== 'cross-encoder').map((spec) => spec.over),
      );
      for (const name of over) {
        const rows = await this.cached(
          `colbert:${name}`,
          late.fingerprint,
          (i) => this.candidates(name, i),
          (count) => endsOf(depths, count),
          ({ text }, candidates, ends) => late.score(text, candidates, ends, signal),
        );
        this.late.set(name, rows);
      }
    } finally {
      await late.close();
    }
  }

  private async searchLate(late: LateInteraction): Promise<void> {
    const { signal } = this.options;
    const rows = await this.cached(
      `colbert-search-${this.found}`,
      late.fingerprint,
      null,
      () => [],
      ({ text }) => late.search(text, this.found, signal),
    );
    this.firstStages.set('colbert-search', {
      spec: { name: 'colbert-search', kind: 'colbert-search' },
      hits: rows.map(({ ids = [], scores }) =>
        ids.map((id, i) => ({ id, score: scores[i] as number })),
      ),
      stageMs: { 'colbert-search': Float64Array.from(rows, ({ marks }) => marks.at(-1)?.ms ?? 0) },
    });
  }

  private fuse(): void {
    const bm25 = this.firstStage('bm25');
    const search = this.firstStage('colbert-search');
    const hits = this.queries.map((_, i) => {
      const rankings = [bm25, search].map(({ hits }) => {
        const found = hits[i] ?? [];
        return { ids: idsOf(found), scores: found.map(({ score }) => score ?? 0) };
      });
      return fuse(rankings, { method: 'reciprocal-rank' }).slice(0, this.found);
    });
    this.firstStages.set('hybrid', {
      spec: { name: 'hybrid', kind: 'hybrid' },
      hits,
      stageMs: { ...bm25.stageMs, ...search.stageMs },
    });
  }

  private async runCrossEncoder(): Promise<Row[]> {
    const { systems, depths, keep, signal, engine } = this.options;
    const scorer = await PairScorer.open({
      model: this.options.crossEncoder,
      threads: engine.threads,
      allowNonCommercial: engine.allowNonCommercial === true,
    });
    const rows: Row[] = [];
    try {
      const { fingerprint, model: name } = scorer;
      this.models.push({ role: 'cross-encoder', name, fingerprint, codec: null });
      let warm = false;
      const score = async (
        { text }: CollectionQuery,
        candidates: readonly string[],
        ends: readonly number[],
        before?: StageRow,
      ): Promise<StageRow> => {
        if (!warm) await scorer.warmUp(signal);
        warm = true;
        const texts = candidates.map((id) => this.texts.get(id) as string);
        return await scorer.score(text, texts, ends, signal, before);
      };
      for (const spec of systems.rerankers) {
        if (spec.kind === 'cross-encoder') {
          const found = await this.cached(
            spec.name,
            fingerprint,
            (i) => this.candidates(spec.over, i),
            (count) => endsOf(depths, count),
            score,
          );
          rows.push(...this.rowsOf(spec, found, 'cross-encoder'));
        } else if (spec.kind === 'cascade') {
          for (const depth of depths) {
            const slice = (i: number): string[] =>
              this.lateOrder(spec.over, i, depth)
                .slice(0, Math.min(keep, depth))
                .map(({ id }) => id);
            const found = await this.cached(
              `${spec.name}@${depth}`,
              fingerprint,
              slice,
              (count) => endsOf([keep], count),
              score,
            );
            rows.push(this.rowOfCascade(spec, depth, found));
          }
        }
      }
    } finally {
      await scorer.close();
    }
    return rows;
  }

  /** The candidates of a query that a reranker can read, as deep as it goes. */
  private candidates(firstStage: string, query: number): string[] {
    return (this.firstStage(firstStage).hits[query] ?? [])
      .slice(0, this.deepest)
      .map(({ id }) => id)
      .filter((id) => this.texts.has(id));
  }

  private lateOrder(firstStage: string, query: number, depth: number): RankedHit[] {
    const row = this.late.get(firstStage)?.[query];
    const known = this.candidates(firstStage, query).length;
    const hits = this.firstStage(firstStage).hits[query] ?? [];
    return reorder(hits, row?.scores ?? [], Math.min(depth, known));
  }

  /** Rows of a reranker by query, from the cache or computed and put there. */
  private async cached(
    name: string,
    fingerprint: string,
    candidatesOf: ((query: number) => string[]) | null,
    endsFor: (count: number) => number[],
    compute: (
      query: CollectionQuery,
      candidates: readonly string[],
      ends: readonly number[],
      before?: StageRow,
    ) => Promise<StageRow>,
  ): Promise<StageRow[]> {
    const safe = name.replace(/[^\w.@-]+/g, '-');
    const file = join(
      this.options.cache,
      'scores',
      `${safe}-${this.corpusPrint}-${fingerprint}-${this.machinePrint}.jsonl`,
    );
    await using cache = await ScoreCache.open(file);
    return await this.forEachQuery(name, async (query, i) => {
      const candidates = candidatesOf?.(i) ?? [];
      const ends = endsFor(candidates.length);
      const before = cache.get(query, candidates);
      const known = before?.marks.at(-1)?.count ?? 0;
      // Nothing to score takes no time, and needs no place.
      if (candidatesOf !== null && candidates.length === 0) return { scores: [], marks: [] };
      const usable =
        before !== undefined &&
        ends.every((end) => end > known || before.marks.some(({ count }) => count === end));
      if (usable && ends.every((end) => end <= known)) return before;
      const row = await compute(query, candidates, ends, usable ? before : undefined);
      await cache.set(query, candidates, row);
      return row;
    });
  }

  private async forEachQuery<T>(
    phase: string,
    run: (query: CollectionQuery, place: number) => Promise<T>,
  ): Promise<T[]> {
    const { signal, onProgress } = this.options;
    const results: T[] = [];
    onProgress(phase, 'queries', 0, this.queries.length);
    for (const [i, query] of this.queries.entries()) {
      results.push(await run(query, i));
      // Signals arrive between two turns of the event loop, and some stages never wait for anything.
      await setImmediate();
      throwIfAborted(signal);
      onProgress(phase, 'queries', i + 1, this.queries.length);
    }
    return results;
  }

  private rowOfFirstStage({ spec, hits, stageMs }: FirstStage): Row {
    return {
      name: spec.name,
      system: spec.name,
      kind: spec.kind,
      firstStage: null,
      depth: null,
      ranking: (query) => hits[query] ?? [],
      stageMs,
      totalMs: sumOf(stageMs, this.queries.length),
    };
  }

  private rowsOf(spec: RerankerSpec, found: readonly StageRow[], stage: string): Row[] {
    return this.options.depths.map((depth) => {
      const first = this.firstStage(spec.over);
      const marks = Float64Array.from(found, (row) => msAt(row, depth));
      return this.rowOf(spec, depth, { ...first.stageMs, [stage]: marks }, (query) => {
        const hits = first.hits[query] ?? [];
        const scores = found[query]?.scores ?? [];
        return reorder(hits, scores, Math.min(depth, scores.length));
      });
    });
  }

  private rowOfCascade(spec: RerankerSpec, depth: number, found: readonly StageRow[]): Row {
    const late = Float64Array.from(this.late.get(spec.over) ?? [], (row) => msAt(row, depth));
    const pairs = Float64Array.from(found, ({ marks }) => marks.at(-1)?.ms ?? 0);
    const stageMs = {
      ...this.firstStage(spec.over).stageMs,
      'late interaction': late,
      'cross-encoder': pairs,
    };
    return this.rowOf(spec, depth, stageMs, (query) => {
      const scores = found[query]?.scores ?? [];
      return reorder(this.lateOrder(spec.over, query, depth), scores, scores.length);
    });
  }

  private rowOf(
    { name: system, kind, over: firstStage }: RerankerSpec,
    depth: number,
    stageMs: StageTimes,
    ranking: Row['ranking'],
  ): Row {
    const name = `${system}@${depth}`;
    const totalMs = sumOf(stageMs, this.queries.length);
    return { name, system, kind, firstStage, depth, ranking, stageMs, totalMs };
  }
}

/** A stage's time for the first `depth` candidates, or for all where there are fewer. */
function msAt({ marks }: StageRow, depth: number): number {
  return (marks.find(({ count }) => count >= depth) ?? marks.at(-1))?.ms ?? 0;
}
