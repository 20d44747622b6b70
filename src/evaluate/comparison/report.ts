/**
 * What a comparison says: measures with intervals, tests of every difference, agreement and slices. All of
 * it is computed from rankings and times alone; the same rankings and seed give the same report.
 */
import { type Interval, meanInterval, meanOf } from '../bootstrap.js';
import { type Effect, effectOf, type Headroom, headroomOf } from '../effect.js';
import {
  averagePrecision,
  judged,
  ndcg,
  oracleNdcg,
  precision,
  recall,
  reciprocalRank,
  success,
} from '../measures.js';
import type { TestCollection } from '../open-collection.js';
import { type Agreement, agreementOf } from './agreement.js';
import { type Difference, testDifferences } from './differences.js';
import { idsOf, type Row } from './rows.js';
import type { UsedModel } from './stages.js';
import { verdictOf } from './verdict.js';

type Measure = (ranking: readonly string[], grades: ReadonlyMap<string, number>) => number;

/** In the order of the report. */
export const MEASURES: Readonly<Record<string, Measure>> = {
  'nDCG@10': (ranking, grades) => ndcg(ranking, grades, 10),
  'nDCG@10 (exponential)': (ranking, grades) => ndcg(ranking, grades, 10, 'exponential'),
  'RR@10': (ranking, grades) => reciprocalRank(ranking, grades, 10),
  MAP: (ranking, grades) => averagePrecision(ranking, grades, Number.POSITIVE_INFINITY),
  'P@5': (ranking, grades) => precision(ranking, grades, 5),
  'R@100': (ranking, grades) => recall(ranking, grades, 100),
  'Success@5': (ranking, grades) => success(ranking, grades, 5),
  'Judged@10': (ranking, grades) => judged(ranking, grades, 10),
};

/** What intervals, tests and effects are of. */
export const PRIMARY = 'nDCG@10';

export type Times = { mean: number; p50: number; p99: number };

export type Slice = { name: string; queries: number; value: number };

export type SystemReport = {
  name: string;
  system: string;
  kind: Row['kind'];
  firstStage: string | null;
  depth: number | null;
  /** Of PRIMARY. */
  interval: Interval;
  /** Means over queries. */
  measures: Record<string, number>;
  /** Null for first stages. */
  headroom: Headroom | null;
  /** Of PRIMARY, against the first stage; null for first stages. */
  effect: Effect | null;
  /** Milliseconds a query, one at a time; null for imported runs. */
  ms: (Times & { stages: Record<string, number> }) | null;
  /** Of PRIMARY, by a field of the queries' metadata. */
  slices: Slice[];
};

export type ReportFacts = {
  environment: Record<string, string | number>;
  models: (UsedModel & { license: string | null })[];
  settings: {
    depths: number[];
    keep: number;
    margin: number;
    confidence: number;
    resamples: number;
    rounds: number;
    seed: number;
    slice: string | null;
  };
  indexing: { documents: number; tokens: number; sizeBytes: number } | null;
  notes: string[];
};

export type ComparisonReport = ReportFacts & {
  format: 'maxsim-comparison';
  version: 1;
  measure: typeof PRIMARY;
  data: {
    name: string;
    split: string | null;
    documents: number;
    queries: number;
    withoutRelevant: number;
    withoutText: number;
    missingRelevant: number;
  };
  systems: SystemReport[];
  comparisons: Difference[];
  agreement: Agreement[];
  verdict: string[];
};

/** Values of PRIMARY by query, beside the report of a row. */
export type Measured = { row: Row; values: Float64Array; report: SystemReport };

export function buildReport(
  collection: TestCollection,
  rows: readonly Row[],
  facts: ReportFacts,
): ComparisonReport {
  const { seed, resamples, confidence, slice } = facts.settings;
  const oracles = new Map<string, number>();
  const measured: Measured[] = [];
  const valuesOf = new Map<string, Float64Array>();
  for (const row of rows) {
    const { values, measures } = measureRow(collection, row);
    valuesOf.set(row.name, values);
    const first = row.firstStage === null ? null : (valuesOf.get(row.firstStage) as Float64Array);
    measured.push({
      row,
      values,
      report: {
        name: row.name,
        system: row.system,
        kind: row.kind,
        firstStage: row.firstStage,
        depth: row.depth,
        interval: meanInterval(values, { seed, resamples, confidence }),
        measures,
        headroom:
          first === null
            ? null
            : headroomOf(meanOf(first), meanOf(values), oracleOf(collection, rows, row, oracles)),
        effect: first === null ? null : effectOf(first, values),
        ms: timesOf(row),
        slices: slice === null ? [] : slicesOf(collection, values, slice),
      },
    });
  }
  const comparisons = testDifferences(measured, facts.settings);
  const agreement = agreementOf(collection, measured, facts.settings);
  const { name, split, corpus, queries, withoutRelevant, withoutText, missingRelevant } =
    collection;
  const systems = measured.map(({ report }) => report);
  return {
    format: 'maxsim-comparison',
    version: 1,
    measure: PRIMARY,
    ...facts,
    data: {
      name,
      split,
      documents: corpus.length,
      queries: queries.length,
      withoutRelevant,
      withoutText,
      missingRelevant,
    },
    systems,
    comparisons,
    agreement,
    verdict: verdictOf(systems, comparisons, facts.settings.margin),
  };
}

function gradesOf(collection: TestCollection, query: number): ReadonlyMap<string, number> {
  const id = collection.queries[query]?.id ?? '';
  return collection.judgements.get(id) ?? new Map<string, number>();
}

function measureRow(
  collection: TestCollection,
  row: Row,
): { values: Float64Array; measures: Record<string, number> } {
  const count = collection.queries.length;
  const values = new Float64Array(count);
  const sums: Record<string, number> = {};
  for (let query = 0; query < count; query++) {
    const ranking = idsOf(row.ranking(query));
    const grades = gradesOf(collection, query);
    for (const [name, measure] of Object.entries(MEASURES)) {
      const value = measure(ranking, grades);
      sums[name] = (sums[name] ?? 0) + value;
      if (name === PRIMARY) values[query] = value;
    }
  }
  const means = Object.entries(sums).map(([name, sum]) => [name, sum / count] as const);
  return { values, measures: Object.fromEntries(means) };
}

/** Mean nDCG@10 of the best order of what a reranker read. */
function oracleOf(
  collection: TestCollection,
  rows: readonly Row[],
  { firstStage, depth }: Row,
  known: Map<string, number>,
): number {
  const key = `${firstStage}@${depth}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  const first = rows.find(({ name }) => name === firstStage) as Row;
  let sum = 0;
  collection.queries.forEach((_, query) => {
    const candidates = idsOf(first.ranking(query)).slice(0, depth ?? 0);
    sum += oracleNdcg(candidates, gradesOf(collection, query), 10);
  });
  const oracle = sum / collection.queries.length;
  known.set(key, oracle);
  return oracle;
}

function timesOf({ totalMs, stageMs }: Row): SystemReport['ms'] {
  if (totalMs === null) return null;
  const sorted = Float64Array.from(totalMs).sort();
  const at = (share: number): number =>
    sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
  const stages = Object.entries(stageMs).map(([name, times]) => [name, meanOf(times)] as const);
  return { mean: meanOf(sorted), p50: at(0.5), p99: at(0.99), stages: Object.fromEntries(stages) };
}

/** Means of the queries that have the same value of a field, in the order in which values first come. */
function slicesOf(collection: TestCollection, values: Float64Array, field: string): Slice[] {
  const slices = new Map<string, { sum: number; queries: number }>();
  collection.queries.forEach(({ metadata }, query) => {
    const fields = typeof metadata === 'object' && metadata !== null ? metadata : {};
    const value = (fields as Record<string, unknown>)[field];
    if (typeof value !== 'string') return;
    const slice = slices.get(value) ?? { sum: 0, queries: 0 };
    slice.sum += values[query] as number;
    slice.queries += 1;
    slices.set(value, slice);
  });
  return [...slices].map(([name, { sum, queries }]) => ({ name, queries, value: sum / queries }));
}
