/**
 * A whole set of queries against an index, several at a time, written as a TREC run in the order of
 * the queries. The run appears under its name when it is complete, never in part.
 */
import { open, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { type CollectionQuery, readQueries } from '../evaluate/collection.js';
import { trecRunLines } from '../evaluate/trec-run.js';
import { MaxSimError, type RerankResult, type SearchResult } from '../maxsim.js';
import { Interrupt } from './interrupt.js';
import { formatCount, formatMs, printJson, printLine, renderFacts, warn } from './output.js';
import { Progress } from './progress.js';

export type QuerySet = {
  queriesFile: string;
  runFile: string;
  json: boolean;
  /** Null for a query that there is nothing to rank for. */
  rank(query: CollectionQuery, signal: AbortSignal): Promise<SearchResult | RerankResult | null>;
};

type Summary = {
  run: string;
  queries: number;
  /** Queries without a single candidate; they have no lines in the run. */
  withoutCandidates: number;
  hits: number;
  degraded: number;
  /** Queries whose best candidate is below the floor, and that the gate answered alone. */
  nothingRelevant: number;
  skipped: number;
  /** Candidates that the index does not hold. */
  unknownIds: number;
  queriesPerSecond: number;
  /** Of one query, while `inFlight` of them run. */
  p50Ms: number;
  p99Ms: number;
  inFlight: number;
};

const TAG = 'maxsim';

export async function runQuerySet(set: QuerySet): Promise<void> {
  const queries = await readQueries(set.queriesFile);
  if (queries.length === 0) {
    throw new MaxSimError('INVALID_SOURCE', `${set.queriesFile} holds no queries.`);
  }
  const interrupt = new Interrupt();
  try {
    const summary = await writeRun(set, queries, interrupt.signal);
    print(summary, set.json);
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

async function writeRun(
  set: QuerySet,
  queries: readonly CollectionQuery[],
  signal: AbortSignal,
): Promise<Summary> {
  const aside = `${set.runFile}.tmp-${process.pid}`;
  const inFlight = 2 * availableParallelism();
  const file = await open(aside, 'w').catch((cause) => {
    throw unwritable(set.runFile, cause);
  });
  const progress = new Progress({ unit: 'queries', json: set.json });
  progress.setTotal(queries.length);
  const times: number[] = [];
  const counts = {
    ...{ withoutCandidates: 0, hits: 0, degraded: 0, nothingRelevant: 0 },
    ...{ skipped: 0, unknownIds: 0 },
  };
  const started = performance.now();
  try {
    const results = inOrder(queries, inFlight, (query) => rankNamed(set, query, signal));
    let done = 0;
    for await (const [query, result] of results) {
      done += 1;
      if (result?.verdict === 'nothing-relevant') counts.nothingRelevant += 1;
      else if (result === null || result.hits.length === 0) counts.withoutCandidates += 1;
      if (result !== null) {
        const { hits, degraded, gate, timings } = result;
        if (gate?.skipped) counts.skipped += 1;
        times.push(timings.totalMs);
        counts.hits += hits.length;
        if (degraded !== null) counts.degraded += 1;
        if ('unknownIds' in result) counts.unknownIds += result.unknownIds.length;
        await file.write(trecRunLines(query.id, hits, TAG)).catch((cause) => {
          throw unwritable(aside, cause);
        });
      }
      progress.update(done);
    }
    await file.close();
    await rename(aside, set.runFile).catch((cause) => {
      throw unwritable(set.runFile, cause);
    });
  } catch (error) {
    await file.close().catch(() => {});
    await rm(aside, { force: true });
    throw error;
  } finally {
    progress.end();
  }
  times.sort((a, b) => a - b);
  return {
    run: set.runFile,
    queries: queries.length,
    ...counts,
    queriesPerSecond: queries.length / ((performance.now() - started) / 1000),
    p50Ms: percentile(times, 0.5),
    p99Ms: percentile(times, 0.99),
    inFlight,
  };
}

/** An error of one query among thousands must say which it is. */
async function rankNamed(
  set: QuerySet,
  query: CollectionQuery,
  signal: AbortSignal,
): Promise<SearchResult | RerankResult | null> {
  try {
    return await set.rank(query, signal);
  } catch (error) {
    if (!(error instanceof MaxSimError) || error.code === 'ABORTED') throw error;
    throw new MaxSimError(error.code, `Query ${JSON.stringify(query.id)}: ${error.message}`, {
      cause: error,
      details: { ...error.details, query: query.id },
    });
  }
}

/** Results in the order of the items, with at most `limit` of them under way or waiting. */
async function* inOrder<T, R>(
  items: readonly T[],
  limit: number,
  run: (item: T) => Promise<R>,
): AsyncGenerator<[T, R]> {
  const waiting: [T, Promise<R>][] = [];
  for (const item of items) {
    const result = run(item);
    result.catch(() => {}); // awaited below, in its turn
    waiting.push([item, result]);
    if (waiting.length < limit) continue;
    const [first, ready] = waiting.shift() as [T, Promise<R>];
    yield [first, await ready];
  }
  for (const [item, ready] of waiting) yield [item, await ready];
}

/** The smallest value that at least this share of the sorted values does not exceed. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function unwritable(file: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('IO_ERROR', `${file} cannot be written: ${reason}`, { cause });
}

function print(summary: Summary, json: boolean): void {
  if (json) {
    printJson(summary);
    return;
  }
  printLine(
    renderFacts([
      ['run', `${summary.run} (${formatCount(summary.hits)} lines)`],
      ['queries', formatCount(summary.queries)],
      ['rate', `${summary.queriesPerSecond.toFixed(1)} queries/s`],
      [
        'time',
        `p50 ${formatMs(summary.p50Ms)}, p99 ${formatMs(summary.p99Ms)} a query, ${summary.inFlight} in flight`,
      ],
      ...(summary.nothingRelevant > 0
        ? [['nothing relevant', `${formatCount(summary.nothingRelevant)} queries`] as const]
        : []),
      ...(summary.skipped > 0
        ? [['gate', `${formatCount(summary.skipped)} queries skipped the stages after it`] as const]
        : []),
    ]),
  );
  if (summary.withoutCandidates > 0) {
    warn(`${formatCount(summary.withoutCandidates)} queries have no candidates and no lines`);
  }
  if (summary.unknownIds > 0) {
    warn(`${formatCount(summary.unknownIds)} candidates are not in the index`);
  }
  if (summary.degraded > 0) {
    warn(`${formatCount(summary.degraded)} queries are without a stage that failed or had no time`);
  }
}
