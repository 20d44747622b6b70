/** Another system's ranking as a first stage. */
import type { CollectionQuery } from '../collection.js';
import { trecOrder } from '../measures.js';
import { readRun } from '../trec-run.js';
import type { RankedHit } from './rows.js';

export type ImportedRun = {
  /** By query, as trec_eval orders them; unknown documents at the end, in their order. */
  hits: RankedHit[][];
  /** Queries that it has no ranking for. */
  missingQueries: number;
  /** Documents that are not in the corpus, or have no text. */
  unknownDocuments: number;
};

/** Throws INVALID_SOURCE. */
export async function importRun(
  file: string,
  queries: readonly CollectionQuery[],
  texts: ReadonlyMap<string, string>,
): Promise<ImportedRun> {
  const run = await readRun(file);
  let missingQueries = 0;
  let unknownDocuments = 0;
  const hits = queries.map(({ id: query }) => {
    const scores = run.get(query);
    if (scores === undefined) {
      missingQueries += 1;
      return [];
    }
    const order = trecOrder(scores);
    const unknown = order.filter((id) => !texts.has(id));
    unknownDocuments += unknown.length;
    const ids = unknown.length === 0 ? order : [...order.filter((id) => texts.has(id)), ...unknown];
    return ids.map((id) => ({ id, score: scores.get(id) ?? null }));
  });
  return { hits, missingQueries, unknownDocuments };
}
