/** What an index holds, in counts and bytes. */
import type { SegmentStats } from '../runtime/addon.js';
import type { CompactionStats } from './compaction.js';
import type { Generation } from './generation.js';
import { serializeManifest } from './manifest.js';

export type IndexStats = {
  generation: number;
  documents: number;
  deadDocuments: number;
  /** Live tokens. */
  tokens: number;
  sizeBytes: number;
  bytes: {
    tokens: number;
    documentTable: number;
    ids: number;
    idTable: number;
    /** What documents are filtered by. */
    fields: number;
    records: number;
    tombstones: number;
    /** Centroids and weights of a residual codec. */
    codebook: number;
    /** Of searches: which centroids occur in each document, and centroids that no codec needs. */
    codes: number;
    centroids: number;
    manifest: number;
    /** Headers and alignment. */
    other: number;
  };
  segments: SegmentStats[];
  /** What searches have beside the documents; null before `buildSearch`. */
  search: SearchStats | null;
  /** Null where nothing is written: of readers and snapshots. */
  compaction: CompactionStats | null;
};

export type SearchStats = {
  centroids: number;
  /** How many tokens they were learned from. */
  trainedTokens: number;
  /** Tokens of segments that have codes; the documents of others are scored whole. */
  codedTokens: number;
  /** Tokens of the others. */
  uncodedTokens: number;
  /** Segments with codes, and with inverted lists. */
  codedSegments: number;
  listedSegments: number;
  /** How many documents and queries the depths were measured with; null where they were not. */
  measured: { documents: number; queries: number } | null;
  /** Mean cosine of tokens with their centroids: when these were new, and of all that is coded now. */
  cosineWhenNew: number;
  cosine: number;
  /** By which share what is left between a token and its centroid has grown since. */
  drift: number;
  /** Why new centroids would serve better, in words; null while they would not. */
  advice: string | null;
};

/** How far the centroids may fall behind. */
const DRIFT = 0.15;
/** Four times the tokens call for twice the centroids, and depths go on growing with the documents. */
const GROWTH = 4;

function searchStatsOf({ manifest, snapshot, searchCodebook }: Generation): SearchStats | null {
  const { search } = manifest;
  if (search === undefined || searchCodebook === null) return null;
  const coded = snapshot.segments().flatMap(({ codes }) => (codes === undefined ? [] : [codes]));
  const codedTokens = coded.reduce((sum, { tokens }) => sum + tokens, 0);
  const cosines = coded.reduce((sum, { cosineSum }) => sum + cosineSum, 0);
  const cosine = codedTokens === 0 ? search.cosine : cosines / codedTokens;
  const uncodedTokens = snapshot
    .segments()
    .reduce((sum, { codes, tokens }) => sum + (codes === undefined ? tokens : 0), 0);
  const drift = search.cosine < 1 ? (1 - cosine) / (1 - search.cosine) - 1 : 0;
  const { depths } = search;
  const advice =
    drift > DRIFT
      ? `The documents have moved away from the centroids: their mean cosine is ${cosine.toFixed(3)}, was ${search.cosine.toFixed(3)}.`
      : depths !== null && snapshot.documentCount > GROWTH * depths.documents
        ? 'The index has more than four times the documents that it was measured with.'
        : null;
  return {
    centroids: searchCodebook.centroidCount,
    trainedTokens: searchCodebook.trainedTokens,
    codedTokens,
    uncodedTokens,
    codedSegments: coded.length,
    listedSegments: coded.filter(({ lists }) => lists).length,
    measured: depths === null ? null : { documents: depths.documents, queries: depths.queries },
    cosineWhenNew: search.cosine,
    cosine,
    drift,
    advice,
  };
}

export function statsOf(generation: Generation, compaction: CompactionStats | null): IndexStats {
  const { manifest, snapshot, codebook, searchCodebook } = generation;
  const segments = snapshot.segments();
  const sum = (value: (segment: SegmentStats) => number): number =>
    segments.reduce((total, segment) => total + value(segment), 0);
  const sections = {
    tokens: sum((segment) => segment.sections.tokens),
    documentTable: sum((segment) => segment.sections.documentTable),
    ids: sum((segment) => segment.sections.ids),
    idTable: sum((segment) => segment.sections.idTable),
    fields: sum((segment) => segment.sections.fields),
    records: sum((segment) => segment.sections.records),
  };
  const files = sum((segment) => segment.sizeBytes);
  const tombstones = sum((segment) => segment.tombstoneBytes);
  const manifestSize = serializeManifest(manifest).length;
  const codebookSize = codebook?.sizeBytes ?? 0;
  const codes = sum((segment) => segment.codes?.sizeBytes ?? 0);
  const centroids =
    searchCodebook === null || searchCodebook.crc === codebook?.crc ? 0 : searchCodebook.sizeBytes;
  const inSections = Object.values(sections).reduce((a, b) => a + b, 0);
  return {
    generation: manifest.generation,
    documents: snapshot.documentCount,
    deadDocuments: sum((segment) => segment.dead),
    tokens: snapshot.tokenCount,
    sizeBytes: files + tombstones + codebookSize + codes + centroids + manifestSize,
    bytes: {
      ...sections,
      tombstones,
      codebook: codebookSize,
      codes,
      centroids,
      manifest: manifestSize,
      other: files - inSections,
    },
    segments,
    search: searchStatsOf(generation),
    compaction,
  };
}
