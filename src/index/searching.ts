/** What can be asked of a search, and what it says it did; native/index/search.h has the methods. */
import { checkBoolean, checkInteger, checkOptions } from '../check.js';
import { invalid } from '../errors.js';
import type { NativeSearchOptions, NativeSearchPlan } from '../runtime/addon.js';
import type { SearchMethod, SearchPlan } from '../types.js';
import { curveFor } from './depths.js';
import type { Manifest } from './manifest.js';
import { checkRankOptions, type RankOptions } from './scoring.js';

export type IndexSearchOptions = RankOptions & {
  /**
   * The share of the topK best documents that is to be found, on average over queries: from 0.5 to below
   * 1. How far to go down the candidates for that was measured by `buildSearch`. Default: 0.99.
   */
  recall?: number;
  /** How many candidates to score instead, however many that finds. */
  depth?: number;
  /** Find the same as an exhaustive search, proven query by query, whatever it costs. */
  exact?: boolean;
  /** Default: 'auto', which takes what is estimated to cost least. */
  method?: SearchMethod | 'auto';
  /** Whether one search may use idle cores. Default: true. */
  parallel?: boolean;
};

export type IndexSearchResult = {
  /** Best first; equal scores in the order in which the documents were stored. */
  hits: { id: string; score: number }[];
  plan: SearchPlan;
};

const OPTIONS = [
  'topK',
  'earlyExit',
  'signal',
  'deadlineMs',
  'filter',
  'recall',
  'depth',
  'exact',
  'method',
  'parallel',
] as const;
const METHODS = ['auto', 'exhaustive', 'scan', 'lists'] as const;

/** Throws INVALID_ARGUMENT. */
export function checkSearchOptions(options: IndexSearchOptions | undefined) {
  const checked = checkOptions<IndexSearchOptions>('options', options, OPTIONS);
  const { recall, depth, exact, method, parallel, ...rank } = checked;
  if (recall !== undefined && !(typeof recall === 'number' && recall >= 0.5 && recall < 1)) {
    throw invalid('recall', 'a number from 0.5 to below 1 (or exact: true)', recall);
  }
  if (depth !== undefined) {
    checkInteger('depth', depth, 1, 0xffffffff);
    if (recall !== undefined) {
      throw invalid('depth', 'given without recall, which stands for a depth', depth);
    }
  }
  if (exact !== undefined) checkBoolean('exact', exact);
  if (parallel !== undefined) checkBoolean('parallel', parallel);
  if (method !== undefined && !METHODS.includes(method)) {
    throw invalid('method', `one of ${METHODS.map((name) => `'${name}'`).join(', ')}`, method);
  }
  return {
    ...checkRankOptions(rank),
    recall: recall ?? 0.99,
    depth: depth ?? 0,
    exact: exact ?? false,
    method: method ?? 'auto',
    parallel: parallel ?? true,
  };
}

export function toNativeOptions(
  {
    topK,
    earlyExit,
    recall,
    depth,
    exact,
    method,
    parallel,
  }: ReturnType<typeof checkSearchOptions>,
  { search }: Manifest,
): NativeSearchOptions {
  const depths = search?.depths ?? null;
  return {
    k: topK,
    earlyExit,
    method,
    exact,
    depth,
    shared: parallel,
    scanDepths: depths === null ? new Float64Array() : curveFor(depths, depths.scan, recall),
    listsDepths:
      depths?.lists == null ? new Float64Array() : curveFor(depths, depths.lists, recall),
  };
}

export function toPlan(plan: NativeSearchPlan, skipped: number): SearchPlan {
  const estimate = (ms: number): number | null => (ms < 0 ? null : ms);
  const { method, reason, certified, documents, depth, codes, postings, scored, excluded } = plan;
  return {
    method,
    reason,
    certified,
    documents,
    depth,
    codes,
    postings,
    scored,
    excluded,
    skipped,
    estimatesMs: {
      exhaustive: estimate(plan.exhaustiveEstimateMs),
      scan: estimate(plan.scanEstimateMs),
      lists: estimate(plan.listsEstimateMs),
    },
    timingsMs: {
      table: plan.tableMs,
      candidates: plan.candidatesMs,
      scoring: plan.scoringMs,
    },
  };
}
