/**
 * What every stage of a pipeline says of the candidates of judged queries: all that gates, floors and
 * cascades are calibrated on. Each query goes through the engine once, as a service would ask it.
 */
import { invalid } from '../errors.js';
import {
  type CascadeOptions,
  cascade,
  type Engine,
  type Hit,
  type Pipeline,
  type PipelineStage,
} from '../maxsim.js';
import type { CollectionQuery, Judgements } from './collection.js';

export type MeasuredCandidate = {
  id: string;
  /** Of its text: what a stage that reads has to read. */
  characters: number;
  /** By stage; null where it did not read this one. */
  scores: (number | null)[];
};

export type MeasuredQuery = {
  id: string;
  text: string;
  grades: ReadonlyMap<string, number>;
  /** Whether any document is judged relevant, candidate or not. */
  answerable: boolean;
  candidates: ReadonlyMap<string, MeasuredCandidate>;
  /** Ids, best first: of the first stage, which found them, and after each stage. */
  first: string[];
  orders: string[][];
  stageMs: number[];
};

export type MeasurementOptions = {
  pipeline: Pipeline;
  queries: readonly CollectionQuery[];
  judgements: Judgements;
  /** Ids by query, best first; null: those that a search finds. */
  candidates: ReadonlyMap<string, readonly string[]> | null;
  /** Candidates of a query, at most. */
  depth: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
};

/** The same stages, all of which must run: no gate, no floor, no deadline. */
export function bare(stages: readonly PipelineStage[], options: CascadeOptions = {}): Pipeline {
  return cascade(stages, { strict: true, ...options });
}

/**
 * Queries without a judgement, or without a candidate, are left out. Throws what a stage raises, and
 * INVALID_ARGUMENT where a stage is cut short by a budget of its own.
 */
export async function measurePipeline(
  engine: Engine,
  { pipeline, queries, judgements, candidates, depth, signal, onProgress }: MeasurementOptions,
): Promise<MeasuredQuery[]> {
  const stages = bare(pipeline.stages);
  const judged = queries.filter(({ id }) => judgements.has(id));
  const measured: MeasuredQuery[] = [];
  for (const [i, { id, text }] of judged.entries()) {
    const ids = candidates?.get(id)?.slice(0, depth) ?? null;
    if (candidates === null || ids !== null) {
      const options = {
        pipeline: stages,
        topK: depth,
        ...(signal === undefined ? {} : { signal }),
      };
      const { hits, stages: reports } =
        ids === null ? await engine.search(text, options) : await engine.rerank(text, ids, options);
      const late = reports.find(({ outcome }) => outcome !== 'ran');
      if (late !== undefined) {
        throw invalid(
          'pipeline',
          'without budgets that end a stage before it has read all',
          `${late.stage}, ${late.scored} of ${late.candidates} of query ${id}`,
        );
      }
      const stageMs = reports.map(({ ms }) => ms);
      const grades = judgements.get(id) as ReadonlyMap<string, number>;
      if (hits.length > 0) measured.push(toMeasured({ id, text, grades, hits, ids, stageMs }));
    }
    onProgress?.(i + 1, judged.length);
  }
  return measured;
}

function toMeasured({
  id,
  text,
  grades,
  hits,
  ids,
  stageMs,
}: Pick<MeasuredQuery, 'id' | 'text' | 'grades' | 'stageMs'> & {
  hits: readonly Hit[];
  ids: readonly string[] | null;
}): MeasuredQuery {
  const byId = new Map(hits.map((hit) => [hit.id, hit]));
  const candidates = new Map(
    hits.map((hit): [string, MeasuredCandidate] => [
      hit.id,
      {
        id: hit.id,
        characters: hit.text?.length ?? 0,
        // Every stage reads the best of the one before: a hit has the scores of the first stages.
        scores: stageMs.map((_, stage) => hit.scores[stage]?.score ?? null),
      },
    ]),
  );
  const orders: string[][] = [];
  let order = ids === null ? hits.map((hit) => hit.id) : ids.filter((one) => byId.has(one));
  const given = [...new Set(order)];
  stageMs.forEach((_, stage) => {
    const rankOf = (one: string): number | null => byId.get(one)?.scores[stage]?.rank ?? null;
    const read = order.filter((one) => rankOf(one) !== null);
    const rest = order.filter((one) => rankOf(one) === null);
    order = [...read.sort((a, b) => (rankOf(a) ?? 0) - (rankOf(b) ?? 0)), ...rest];
    orders.push(order);
  });
  return {
    ...{ id, text, grades, candidates, orders, stageMs },
    answerable: [...grades.values()].some((grade) => grade > 0),
    // A search is its own first stage.
    first: ids === null ? (orders[0] ?? given) : given,
  };
}
