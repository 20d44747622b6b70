/**
 * Codes: which centroids occur in each document, so that a search need not score all of them. They are
 * derived from the documents, and made beside the index while commits go on; segments without are
 * scored whole.
 */
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { loadAddon, type NativeCodebook, nativeAsync, type TaskLimits } from '../runtime/addon.js';
import { isResidual } from './codec.js';
import type { Coding } from './commit.js';
import { requireSpace } from './disk-space.js';
import { type Generation, openGeneration, removeFiles } from './generation.js';
import type { Manifest, StoredSearch } from './manifest.js';

/** Together, segments without codes of at least so many tokens are given some. */
const CODED_TOKENS = 65_536;
// Less would be memorised, and larger numbers of documents are scored whole in a fraction of a
// millisecond.
export const FEWEST_TOKENS = 4096;

export type CodingOptions = {
  /** What centroids there are to be: those of the index, or new ones. */
  centroids: 'kept' | { count: number; seed: number };
  lists: 'auto' | 'never' | 'always';
  /** At low priority. */
  background: boolean;
  limits: TaskLimits;
  /** What of the generation with codes is to be stored. */
  measure?: (staged: Generation) => Promise<StoredSearch['depths']>;
};

/** Places of the segments that are worth giving codes to in the background. */
export function uncodedSegments({ segments, search }: Manifest): number[] {
  if (search === undefined) return [];
  const without = [...segments.keys()].filter((i) => segments[i]?.codes === undefined);
  const tokens = without.reduce((sum, i) => sum + (segments[i]?.tokens ?? 0), 0);
  return tokens >= CODED_TOKENS ? without : [];
}

/**
 * Writes codes for the segments of a generation that have none under the centroids in question, or no
 * lists where these are asked for. What it returns waits to be published; on failure nothing is left.
 * Throws INVALID_ARGUMENT (too few tokens to learn from), ABORTED, DISK_FULL, IO_ERROR.
 */
export async function writeCodes(
  directory: string,
  from: Generation,
  { centroids, lists, background, limits, measure }: CodingOptions,
): Promise<Coding> {
  const addon = loadAddon();
  const { manifest, snapshot } = from;
  const files: string[] = [];
  let staged: Generation | undefined;
  try {
    const { codebook, file } = await codebookFor(directory, from, centroids, limits, files);
    const isOld = manifest.search?.codebook.crc === codebook.crc;
    await requireSpace(directory, snapshot.tokenCount * (codebook.centroidCount > 65_536 ? 6 : 4));
    const codes = new Map<string, { file: string; crc: number }>();
    const stats = snapshot.segments();
    for (const [place, segment] of manifest.segments.entries()) {
      const isCoded = isOld && segment.codes !== undefined;
      const lacksLists = lists === 'always' && stats[place]?.codes?.lists === false;
      if (isCoded && !lacksLists) continue;
      const name = codesName(segment.file, manifest.generation);
      files.push(name);
      const { crc } = await nativeAsync(() =>
        addon.writeCodes(
          join(directory, name),
          snapshot,
          place,
          codebook,
          { lists, background },
          // Lists follow from the codes, which are those of the live documents.
          isCoded && segment.dead === undefined ? { snapshot, segments: [place] } : undefined,
          limits,
        ),
      );
      codes.set(segment.file, { file: name, crc });
    }
    const search = { codebook: { file, crc: codebook.crc }, cosine: 0, depths: null };
    const segments = manifest.segments.map((segment) => {
      const own = codes.get(segment.file);
      return own === undefined ? segment : { ...segment, codes: own };
    });
    staged = await openGeneration(directory, { ...manifest, segments, search }, from);
    const before = isOld ? manifest.search : undefined;
    const depths = measure === undefined ? (before?.depths ?? null) : await measure(staged);
    const cosine = before?.cosine ?? meanCosine(staged) ?? 0;
    return { from: manifest, search: { ...search, cosine, depths }, codes, files, staged };
  } catch (error) {
    staged?.snapshot.close();
    await removeFiles(directory, files);
    throw error;
  }
}

export function codesName(segment: string, generation: number): string {
  return `${segment}.${generation}.codes`;
}

/** Of the tokens that have codes with their centroids; null without any. */
export function meanCosine({ snapshot }: Generation): number | null {
  let tokens = 0;
  let cosines = 0;
  for (const { codes } of snapshot.segments()) {
    tokens += codes?.tokens ?? 0;
    cosines += codes?.cosineSum ?? 0;
  }
  return tokens === 0 ? null : cosines / tokens;
}

/**
 * The power of two at or below 32 times the root of the tokens, an eighth of them, and what 16 bits hold.
 * Twice as many as a codec learns: of a million tokens the table then takes twice as long, 0.4 ms more,
 * and half as many candidates have to be scored, or fewer (measured on training queries).
 */
export function centroidsFor(tokens: number): number {
  const most = Math.min(32 * Math.sqrt(tokens), tokens / 8, 65_536);
  return 2 ** Math.floor(Math.log2(most));
}

async function codebookFor(
  directory: string,
  { manifest, snapshot, codebook, searchCodebook }: Generation,
  centroids: CodingOptions['centroids'],
  limits: TaskLimits,
  files: string[],
): Promise<{ codebook: NativeCodebook; file: string }> {
  if (centroids === 'kept') {
    if (searchCodebook !== null && manifest.search !== undefined) {
      return { codebook: searchCodebook, file: manifest.search.codebook.file };
    }
    if (isResidual(manifest.codec.name) && codebook !== null && manifest.codec.codebook != null) {
      return { codebook, file: manifest.codec.codebook.file };
    }
  }
  const addon = loadAddon();
  const { count, seed } = centroids === 'kept' ? { count: 0, seed: 0 } : centroids;
  if (snapshot.tokenCount < FEWEST_TOKENS) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `Centroids for searches are learned from ${FEWEST_TOKENS} tokens or more, but the index has ${snapshot.tokenCount}. So small an index needs none: every document is scored, which is exact.`,
    );
  }
  // The weights of a codebook of one bit are of no use here, and cost nothing.
  const options = {
    bits: 1,
    dim: manifest.dim,
    centroids: count === 0 ? centroidsFor(snapshot.tokenCount) : count,
    seed,
  };
  const learned = await nativeAsync(() => addon.trainCodebook(snapshot, options, limits));
  const file = `centroids-${String(manifest.generation).padStart(8, '0')}.maxsim`;
  files.push(file);
  await nativeAsync(() => addon.writeCodebook(join(directory, file), learned));
  return { codebook: learned, file };
}
