/** What an index holds, in counts and bytes. */
import type { NativeCodebook, NativeSnapshot, SegmentStats } from '../runtime/addon.js';
import type { CompactionStats } from './compaction.js';
import { type Manifest, serializeManifest } from './manifest.js';

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
    manifest: number;
    /** Headers and alignment. */
    other: number;
  };
  segments: SegmentStats[];
  /** Null where nothing is written: of readers and snapshots. */
  compaction: CompactionStats | null;
};

export function statsOf(
  manifest: Manifest,
  snapshot: NativeSnapshot,
  codebook: NativeCodebook | null,
  compaction: CompactionStats | null,
): IndexStats {
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
  const inSections = Object.values(sections).reduce((a, b) => a + b, 0);
  return {
    generation: manifest.generation,
    documents: snapshot.documentCount,
    deadDocuments: sum((segment) => segment.dead),
    tokens: snapshot.tokenCount,
    sizeBytes: files + tombstones + codebookSize + manifestSize,
    bytes: {
      ...sections,
      tombstones,
      codebook: codebookSize,
      manifest: manifestSize,
      other: files - inSections,
    },
    segments,
    compaction,
  };
}
