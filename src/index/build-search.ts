/** What `Index.buildSearch` does: codes for all documents, and the depths that keep a promise. */
import { checkArray, checkBoolean, checkInteger, checkOptions } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { type QueryVectors, toQuery } from '../maxsim/query.js';
import { pseudoQueryVectors } from '../pseudo-queries.js';
import { drawPlaces, seededRandom } from '../random.js';
import { UNKNOWN_REF } from '../runtime/addon.js';
import { type CodingOptions, writeCodes } from './codes.js';
import type { Coding } from './commit.js';
import { type KnownQuery, measureDepths } from './depths.js';
import type { Generation } from './generation.js';
import { withLimits } from './scoring.js';

export type BuildSearchOptions = {
  /** Learn new centroids where there are some: these, and none of a residual codec. */
  retrain?: boolean;
  /** How many; a choice of one's own is new centroids. Default: 32 times the root of the tokens. */
  centroids?: number;
  seed?: number;
  /**
   * Inverted lists, 1 to 2 bytes a token: which documents each centroid occurs in. Default: 'auto', where
   * a segment is so large (2 million codes) that to look at all of its documents takes milliseconds.
   */
  lists?: 'auto' | boolean;
  /**
   * Queries like those that will be asked, to measure with: 32 or more, flat `tokens * dim` values each,
   * or prepared. Without, parts of documents are taken for queries. `queryDocuments` are the ids of
   * documents that the queries were made of, which are no answers to them.
   */
  queries?: readonly (Float32Array | QueryVectors)[];
  queryDocuments?: readonly (string | null)[];
  signal?: AbortSignal;
  /** From 0 to 1: while centroids are learned, and again while depths are measured. */
  onProgress?: (share: number) => void;
};

export type BuiltSearch = {
  generation: number;
  centroids: number;
  /** Mean cosine of the tokens with their centroids. */
  cosine: number;
  /** Segments that were given codes, and how many queries the depths were measured with. */
  segments: number;
  queries: number;
};

/** Enough that the standard error of a mean recall of .99 is about .003. */
export const SAMPLED_QUERIES = 128;

/** Throws INVALID_ARGUMENT. */
export function checkBuildOptions(options: BuildSearchOptions | undefined) {
  const checked = checkOptions<BuildSearchOptions>('options', options, [
    'retrain',
    'centroids',
    'seed',
    'lists',
    'queries',
    'queryDocuments',
    'signal',
    'onProgress',
  ]);
  const { retrain = false, centroids, seed = 0, lists = 'auto', queries, queryDocuments } = checked;
  checkBoolean('retrain', retrain);
  if (centroids !== undefined) checkInteger('centroids', centroids, 2, 2 ** 24);
  checkInteger('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  if (lists !== 'auto') checkBoolean('lists', lists);
  if (queries !== undefined) checkArray('queries', queries);
  if (queryDocuments !== undefined) {
    checkArray('queryDocuments', queryDocuments);
    if (queryDocuments.length !== queries?.length) {
      throw invalid('queryDocuments', 'one for each of the queries', queryDocuments.length);
    }
  }
  const { signal, onProgress } = checked;
  return { retrain, centroids, seed, lists, queries, queryDocuments, signal, onProgress };
}

type Checked = ReturnType<typeof checkBuildOptions>;

export async function buildSearch(
  directory: string,
  from: Generation,
  { retrain, centroids, seed, lists, queries, queryDocuments, signal, onProgress }: Checked,
): Promise<Coding> {
  const { dim } = from.manifest;
  const given = queries?.map((query, i) => ({
    query: toQuery(query, dim),
    without: refOf(from, queryDocuments?.[i] ?? null),
  }));
  const isNew = retrain || centroids !== undefined;
  return await withLimits(
    signal,
    undefined,
    async (limits) => {
      const options: CodingOptions = {
        centroids: isNew ? { count: centroids ?? 0, seed } : 'kept',
        lists: lists === 'auto' ? 'auto' : lists ? 'always' : 'never',
        background: false,
        limits,
        measure: async (staged) =>
          await measureDepths(
            staged.snapshot,
            given ?? partsOfDocuments(staged, seed),
            limits,
            onProgress,
          ),
      };
      return await writeCodes(directory, from, options);
    },
    onProgress,
  );
}

export function builtOf({ search, codes, staged }: Coding): Omit<BuiltSearch, 'generation'> {
  return {
    centroids: staged.searchCodebook?.centroidCount ?? 0,
    cosine: search.cosine,
    segments: codes.size,
    queries: search.depths?.queries ?? 0,
  };
}

/**
 * Longer parts are easier than what is really asked. Of runs of 8, 16 and 32 tokens, with and without
 * noise, those of 16 kept every promise on the training queries of SciFact and the development queries of
 * TREC-QA at the least depth; those of 32 fell short, .990 being .986 to .991.
 */
const PART_TOKENS = 16;

function refOf({ snapshot, manifest }: Generation, id: string | null): number | null {
  if (id === null) return null;
  if (manifest.tenants) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'queryDocuments cannot be given for an index with tenants, whose ids are of no use without.',
    );
  }
  const [ref] = snapshot.find([id]);
  return ref === UNKNOWN_REF || ref === undefined ? null : ref;
}

/** Some tokens in a row of some documents, as if somebody had asked for what they say. */
function partsOfDocuments({ snapshot, manifest }: Generation, seed: number): KnownQuery[] {
  const { dim } = manifest;
  const random = seededRandom(seed);
  const refs = snapshot.refs(0, UNKNOWN_REF);
  return drawPlaces(refs.length, SAMPLED_QUERIES, random).map((place) => {
    const without = refs[place] as number;
    const part = pseudoQueryVectors(snapshot.tokens(without), dim, random, PART_TOKENS);
    return { query: toQuery(part, dim), without };
  });
}
