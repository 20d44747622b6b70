/**
 * What an index is calibrated on: some of its documents with token vectors as exact as they can be had,
 * and queries. Judged documents come first, then the best documents of each query (so that a sample has
 * the close competitors of the whole), then any.
 */
import { type Encoder, type Index, MaxSimError, type StoredDocument } from '../maxsim.js';
import { pseudoQuery, pseudoQueryVectors } from '../pseudo-queries.js';
import { drawSome, type Random, Reservoir, seededRandom } from '../random.js';
import { type IdentifiedVectors, throwIfAborted } from './codec-measurement.js';
import type { CollectionQuery } from './collection.js';
import type { Judgements } from './qrels.js';

/** How the queries came about; 'text' and 'tokens' were made from documents. */
export type QueryOrigin = 'given' | 'text' | 'tokens';

export type CalibrationSample = {
  documents: IdentifiedVectors[];
  queries: IdentifiedVectors[];
  judgements: Judgements;
  origin: QueryOrigin;
  /** Whether the exact vectors are known: stored as f32, encoded again, or only as the codec left them. */
  vectors: { stored: number; encoded: number; decoded: number };
  /** Documents in the index, not all of which may be in the sample. */
  indexDocuments: number;
  /** Relevant documents that are in the index but found no room in the sample. */
  relevantLeftOut: number;
};

export type SampleOptions = {
  /** How many documents at most. */
  documents: number;
  /** How many queries at most; default: 300 of those that are given, or 100 made from documents. */
  queryCount?: number | undefined;
  queries?: readonly CollectionQuery[] | undefined;
  judgements?: Judgements | undefined;
  seed: number;
  signal: AbortSignal;
  onProgress?: (unit: 'searches' | 'documents', done: number, total: number) => void;
};

/** More given ones would leave no room for the close competitors of each. */
const QUERIES = { given: 300, made: 100 } as const;
/** Documents a call of the encoder; enough for eight threads, little to wait for after ^C. */
const BATCH = 128;
/** The best documents of a query that are wanted in the sample, if there is room in this share of it. */
const NEIGHBOURS = { depth: 100, share: 0.75 } as const;

/** `encoder` is null where there is no model for the index's vectors. Throws ABORTED and what both throw. */
export async function drawSample(
  index: Index,
  encoder: Encoder | null,
  options: SampleOptions,
): Promise<CalibrationSample> {
  const random = seededRandom(options.seed);
  const some = await drawIds(index, options.documents, random, options.signal);
  if (some.length === 0) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `The index at ${index.directory} holds no documents to calibrate on.`,
    );
  }
  const { queries, origin } =
    options.queries === undefined
      ? await makeQueries(index, encoder, some, random, options)
      : {
          queries: await encodeQueries(
            encoder,
            chooseQueries(index, options.queries, random, options),
            options.signal,
          ),
          origin: 'given' as const,
        };
  const { ids, relevantLeftOut } = await chooseDocuments(index, queries, some, options);
  const vectors = { stored: 0, encoded: 0, decoded: 0 };
  const documents: IdentifiedVectors[] = [];
  options.onProgress?.('documents', 0, ids.length);
  for (let from = 0; from < ids.length; from += BATCH) {
    throwIfAborted(options.signal);
    const batch = index.getMany(ids.slice(from, from + BATCH)) as StoredDocument[];
    for (const { how, id, vectors: exact } of await vectorsOf(
      index,
      encoder,
      batch,
      options.signal,
    )) {
      vectors[how] += 1;
      documents.push({ id, vectors: exact });
    }
    options.onProgress?.('documents', documents.length, ids.length);
  }
  return {
    documents,
    queries,
    judgements: options.judgements ?? new Map(),
    origin,
    vectors,
    indexDocuments: index.documentCount,
    relevantLeftOut,
  };
}

async function drawIds(
  index: Index,
  count: number,
  random: Random,
  signal: AbortSignal,
): Promise<string[]> {
  const reservoir = new Reservoir<string>(count, random);
  for await (const { id } of index.documents()) {
    reservoir.take(id);
    throwIfAborted(signal);
  }
  return drawSome(reservoir.items, count, random);
}

/** Those with a relevant document in the index first: without them there is no nDCG. */
function chooseQueries(
  index: Index,
  queries: readonly CollectionQuery[],
  random: Random,
  { queryCount = QUERIES.given, judgements }: SampleOptions,
): CollectionQuery[] {
  const shuffled = drawSome(queries, queries.length, random);
  const relevantTo = ({ id }: CollectionQuery): string[] =>
    [...(judgements?.get(id) ?? [])].filter(([, grade]) => grade > 0).map(([document]) => document);
  const answered = shuffled.filter((query) => index.hasMany(relevantTo(query)).includes(true));
  const first = new Set(answered);
  return [...answered, ...shuffled.filter((query) => !first.has(query))].slice(0, queryCount);
}

async function makeQueries(
  index: Index,
  encoder: Encoder | null,
  ids: readonly string[],
  random: Random,
  { queryCount = QUERIES.made, signal }: SampleOptions,
): Promise<{ queries: IdentifiedVectors[]; origin: QueryOrigin }> {
  if (encoder !== null) {
    // By text: two documents of one title make one query.
    const texts = new Map<string, string>();
    for (const document of index.getMany(ids)) {
      if (texts.size >= queryCount) break;
      const text = document === undefined ? null : pseudoQuery(document, random);
      if (document !== undefined && text !== null) texts.set(text, document.id);
    }
    if (texts.size > 0) {
      const made = [...texts].map(([text, id]) => ({ id, text, metadata: null }));
      return { queries: await encodeQueries(encoder, made, signal), origin: 'text' };
    }
  }
  const queries = ids.slice(0, queryCount).map((id) => ({
    id,
    vectors: pseudoQueryVectors(index.vectors(id), index.dim, random),
  }));
  return { queries, origin: 'tokens' };
}

async function encodeQueries(
  encoder: Encoder | null,
  queries: readonly CollectionQuery[],
  signal: AbortSignal,
): Promise<IdentifiedVectors[]> {
  if (encoder === null) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'Queries cannot be encoded: the index holds vectors of no model that maxsim knows.',
    );
  }
  const encoded = await encoder.encodeQueries(
    queries.map(({ text }) => text),
    { signal },
  );
  return queries.map(({ id }, i) => ({ id, vectors: encoded[i]?.vectors as Float32Array }));
}

async function chooseDocuments(
  index: Index,
  queries: readonly IdentifiedVectors[],
  some: readonly string[],
  { documents: count, judgements, signal, onProgress }: SampleOptions,
): Promise<{ ids: string[]; relevantLeftOut: number }> {
  const chosen = new Set<string>();
  const take = (ids: Iterable<string>, most: number): void => {
    for (const id of ids) {
      if (chosen.size >= most) return;
      chosen.add(id);
    }
  };
  const grades = queries.flatMap(({ id }) => [...(judgements?.get(id) ?? [])]);
  const judged = [...new Set(grades.map(([id]) => id))];
  const relevant = new Set(grades.filter(([, grade]) => grade > 0).map(([id]) => id));
  const held = index.hasMany(judged);
  const present = judged.filter((_, i) => held[i]);
  take(
    present.filter((id) => relevant.has(id)),
    count,
  );
  take(present, count);
  if (index.documentCount > count) {
    const rankings: string[][] = [];
    onProgress?.('searches', 0, queries.length);
    for (const { vectors } of queries) {
      const { hits } = await index.search(vectors, {
        topK: NEIGHBOURS.depth,
        method: 'exhaustive',
        signal,
      });
      rankings.push(hits.map(({ id }) => id));
      onProgress?.('searches', rankings.length, queries.length);
    }
    // The first of every query, then the second …: no query is served better than another.
    for (let rank = 0; rank < NEIGHBOURS.depth; rank++) {
      take(
        rankings.flatMap((ranking) => ranking[rank] ?? []),
        count * NEIGHBOURS.share,
      );
    }
  }
  take(some, count);
  const relevantLeftOut = present.filter((id) => relevant.has(id) && !chosen.has(id)).length;
  return { ids: [...chosen], relevantLeftOut };
}

type ExactVectors = IdentifiedVectors & { how: keyof CalibrationSample['vectors'] };

async function vectorsOf(
  index: Index,
  encoder: Encoder | null,
  batch: readonly StoredDocument[],
  signal: AbortSignal,
): Promise<ExactVectors[]> {
  const asStored = (id: string, how: ExactVectors['how']): ExactVectors => ({
    id,
    vectors: index.vectors(id),
    how,
  });
  if (index.codec.name === 'f32') return batch.map(({ id }) => asStored(id, 'stored'));
  const withText = batch.filter(
    ({ text }) => encoder !== null && text !== null && text.trim() !== '',
  );
  const encoded = await encoder?.encodeDocuments(
    withText.map(({ text }) => text as string),
    { signal },
  );
  const again = new Map(withText.map(({ id }, i) => [id, encoded?.[i]]));
  return batch.map(({ id, tokenCount }) => {
    const found = again.get(id);
    // Another number of tokens: the caller gave vectors of his own beside the text.
    return found !== undefined && found.tokenCount === tokenCount
      ? { id, vectors: found.vectors, how: 'encoded' }
      : asStored(id, 'decoded');
  });
}
