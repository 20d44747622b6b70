/**
 * The only door to maxsim.node: its contract, and how it is found. Nothing is validated here; the rooms
 * that call it validate in words, and the addon checks again so that no value can crash the process.
 */
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import type { CodecName, FieldType, SearchMethod } from '../types.js';
import type { EncoderAddon } from './native-encoder.js';

/** What a residual codec has learned: centroids, and the weights of what is left over. */
export interface NativeCodebook {
  readonly bits: number;
  readonly dim: number;
  readonly centroidCount: number;
  readonly trainedTokens: number;
  readonly sizeBytes: number;
  /** Identifies it. */
  readonly crc: number;
}

/**
 * How token vectors are stored. For int8 a value is (byte - 128) * scale, else `scale` is 1; `codebook`
 * is that of a residual codec.
 */
export type VectorFormat = {
  codec: CodecName;
  scale: number;
  dim: number;
  codebook?: NativeCodebook;
};

/** `centroids` of 0: as many as the tokens call for. */
export type TrainingOptions = { bits: number; dim: number; centroids: number; seed: number };

/** A query prepared for the kernels: about 5 bytes per value, outside the JavaScript heap. */
export interface NativeQuery {
  readonly tokenCount: number;
  readonly dim: number;
  readonly bits: number;
  /** Of its tokens, added up. */
  readonly lengths: number;
}

/** What documents can be filtered by. */
export type Field = { name: string; type: FieldType };

/** The values of one field, document after document, `counts[i]` of each. */
export type FieldColumn = Field & {
  counts: Uint32Array;
  values: readonly string[] | Float64Array | Uint8Array;
};

/** Which documents match; for any snapshot with its fields. */
export interface NativeFilter {
  /** Tells it from other objects without properties; not there at run time. */
  readonly filter?: never;
}

/** Ends a task early, which then rejects with ABORTED; and says how far it is. */
export interface NativeCancel {
  cancel(): void;
  /** 0 to 1; of training alone. */
  readonly progress: number;
}

export type TaskLimits = { cancel?: NativeCancel; deadlineMs?: number };

export interface NativeLock {
  release(): void;
}

export type SegmentSummary = {
  documents: number;
  tokens: number;
  sizeBytes: number;
  headerCrc: number;
  /** Components that were clamped to the int8 range. */
  clipped: number;
};

/** How the files of an index are read. */
export type ReadOptions = {
  /**
   * When token vectors and records are compared with their checksums: as each document is first used
   * (records: each time), or all of them while the index is opened. Headers and tables are verified at
   * open either way. Default: 'on-use'.
   */
  verify?: 'on-use' | 'at-open';
  /**
   * 'mapped': pages come from the file when they are touched. 'populated': all of them while the index
   * is opened. 'huge-pages': token vectors are copied into memory of the process, in huge pages, which
   * no other program's appetite can evict. Default: 'mapped'.
   */
  memory?: 'mapped' | 'populated' | 'huge-pages';
};

/** A segment as the manifest lists it; `dead` when some of its documents are. */
export type SegmentEntry = {
  file: string;
  documents: number;
  tokens: number;
  headerCrc: number;
  dead?: { file: string; count: number };
  /** The centroids of its documents, for searches: `crc` is that of the file's header. */
  codes?: { file: string; crc: number };
};

/** One range of a segment that is not what was written. */
export type SegmentProblem = {
  section: string;
  /** In the file. */
  offset: number;
  size: number;
  message: string;
  /**
   * What puts it right: the bit that the checksum names, being written anew from what is whole, being
   * left out because it can be derived again at any time, or nothing, and what it held is lost.
   */
  remedy: 'flipped-bit' | 'rewritten' | 'left-out' | 'none';
  /** How many documents it touches, and the known ids of the first of them. */
  documents: number;
  ids: string[];
};

export type SegmentExamination = {
  /** 0 when there is no such file. */
  sizeBytes: number;
  /** By offset. */
  problems: SegmentProblem[];
  /** Ordinals of what is not whole, and their ids, null where they are not known for sure. */
  lost: Uint32Array;
  lostIds: (string | null)[];
  /** False when the fields are damaged beyond one bit. */
  hasFields: boolean;
  /** By ordinal, null or not there for what is not whole; when they were asked for. */
  ids?: (string | null)[];
  records?: Buffer[];
};

export type SegmentStats = {
  file: string;
  documents: number;
  dead: number;
  tokens: number;
  sizeBytes: number;
  tombstoneBytes: number;
  sections: {
    tokens: number;
    documentTable: number;
    ids: number;
    idTable: number;
    fields: number;
    records: number;
  };
  /** `cosineSum`: of `tokens` tokens with their centroids. */
  codes?: {
    file: string;
    sizeBytes: number;
    codes: number;
    tokens: number;
    cosineSum: number;
    lists: boolean;
  };
};

/**
 * `depth` of 0: by the curves: documents, 1 if queries were measured that were really asked, then k, depth
 * and margin again and again; or empty.
 */
export type NativeSearchOptions = {
  k: number;
  earlyExit: boolean;
  method: SearchMethod | 'auto';
  exact: boolean;
  depth: number;
  shared: boolean;
  scanDepths: Float64Array;
  listsDepths: Float64Array;
};

/** Estimates below 0: the method is not to be had. */
export type NativeSearchPlan = {
  method: SearchMethod;
  reason: string;
  certified: boolean;
  documents: number;
  depth: number;
  codes: number;
  postings: number;
  scored: number;
  excluded: number;
  tableMs: number;
  candidatesMs: number;
  scoringMs: number;
  exhaustiveEstimateMs: number;
  scanEstimateMs: number;
  listsEstimateMs: number;
};

export type NativeSearchResult = {
  refs: Uint32Array;
  scores: Float32Array;
  skipped: number;
  plan: NativeSearchPlan;
};

/** The best of each query's candidates, query after query. */
export type NativeRankings = {
  counts: Uint32Array;
  /** Places among the query's candidates. */
  places: Uint32Array;
  scores: Float32Array;
  /** Per query: documents that were given up between two passes. */
  skipped: Uint32Array;
};

/** Live documents that have something in common, and their tokens. */
export type NativeTally = { documents: number; tokens: number };

export type NativeMatches = { documentTokens: Uint32Array; contributions: Float32Array };

/** What `find` returns for an id that no live document has. */
export const UNKNOWN_REF = 0xffffffff;

/** One generation of an index. Documents are addressed by refs, which are its own. */
export interface NativeSnapshot {
  /** Live documents, and their tokens. */
  readonly documentCount: number;
  readonly tokenCount: number;
  find(ids: readonly string[]): Uint32Array;
  /** The candidates of all queries back to back in `refs`, as many of each as `counts` says. */
  score(queries: readonly NativeQuery[], refs: Uint32Array, counts: Uint32Array): Float32Array;
  scoreAsync(
    queries: readonly NativeQuery[],
    refs: Uint32Array,
    counts: Uint32Array,
    limits?: TaskLimits,
  ): Promise<Float32Array>;
  rank(
    queries: readonly NativeQuery[],
    refs: Uint32Array,
    counts: Uint32Array,
    k: number,
    earlyExit: boolean,
  ): NativeRankings;
  rankAsync(
    queries: readonly NativeQuery[],
    refs: Uint32Array,
    counts: Uint32Array,
    k: number,
    earlyExit: boolean,
    limits?: TaskLimits,
  ): Promise<NativeRankings>;
  search(
    queries: readonly NativeQuery[],
    options: NativeSearchOptions,
    limits?: TaskLimits,
    filter?: NativeFilter,
  ): Promise<NativeSearchResult[]>;
  /** The first `depth` documents with codes that a search would score, and about what they will score. */
  candidates(
    query: NativeQuery,
    method: 'scan' | 'lists',
    depth: number,
    limits?: TaskLimits,
  ): Promise<{ refs: Uint32Array; scores: Float32Array }>;
  /** 1 for each ref that matches, 0 for others and for UNKNOWN_REF. */
  match(filter: NativeFilter, refs: Uint32Array): Uint8Array;
  /**
   * Up to `count` matching refs from `from` on, ascending, and where to go on; null at the end. Fewer,
   * or none, where a few ten thousand documents have been looked at.
   */
  matching(
    filter: NativeFilter,
    from: number,
    count: number,
  ): { refs: Uint32Array; next: number | null };
  countMatching(filter: NativeFilter, limits?: TaskLimits): Promise<number>;
  /** By keyword of that field, in the order of their bytes. */
  tallyKeywords(field: number): (NativeTally & { keyword: string })[];
  explain(query: NativeQuery, ref: number): NativeMatches;
  ids(refs: Uint32Array): string[];
  /** A copy of the record, or of its first `limit` bytes. */
  record(ref: number, limit?: number): Buffer;
  tokenCounts(refs: Uint32Array): Uint32Array;
  /** Decoded token vectors. */
  tokens(ref: number): Float32Array;
  /** The next `count` live refs from `from` on, ascending. */
  refs(from: number, count: number): Uint32Array;
  locate(ref: number): { segment: number; ordinal: number };
  deadOrdinals(segment: number): Uint32Array;
  segments(): SegmentStats[];
  /** Another handle to the same data, closed on its own. */
  share(): NativeSnapshot;
  close(): void;
}

/** Documents on their way to disk. One step may be asked for while another is under way. */
export interface NativeSegmentWriter {
  /**
   * The next documents: ids and vectors are copied before this returns, encoded and written after.
   * `records` must stay as they are until `finish` or `abort` has settled.
   */
  append(
    ids: readonly string[],
    vectors: readonly Float32Array[],
    records: readonly Uint8Array[],
  ): Promise<void>;
  /** When all are there: the file is durable, but for its name. */
  finish(): Promise<SegmentSummary & { clippedByDocument: Uint32Array }>;
  /** Removes what was written, when what is under way has ended. */
  abort(): Promise<void>;
}

export interface Addon extends EncoderAddon {
  cpu(): { brand: string; features: string[] };
  kernels(): {
    chosen: string;
    candidates: { name: string; supported: boolean; verdict: string }[];
    error?: { code: MaxSimErrorCode; message: string };
  };
  crc32c(bytes: Uint8Array): number;
  readonly Query: new (vectors: Float32Array, dim: number, bits: number) => NativeQuery;
  readonly Cancel: new () => NativeCancel;
  /** `ops` is a tree as native/index/filter.h has it. */
  readonly Filter: new (
    fields: readonly Field[],
    ops: Uint32Array,
    numbers: Float64Array,
    keywords: readonly string[],
  ) => NativeFilter;
  scoreVectors(
    query: NativeQuery,
    format: VectorFormat,
    vectors: Float32Array,
    tokenCounts: Uint32Array,
  ): Float32Array;
  scoreVectorsAsync(
    query: NativeQuery,
    format: VectorFormat,
    vectors: Float32Array,
    tokenCounts: Uint32Array,
    limits?: TaskLimits,
  ): Promise<Float32Array>;
  explainVectors(query: NativeQuery, format: VectorFormat, vectors: Float32Array): NativeMatches;
  readonly SegmentWriter: new (
    path: string,
    format: VectorFormat,
    documentCount: number,
    fields?: readonly FieldColumn[],
  ) => NativeSegmentWriter;
  /** Rejects as writeSegment would. */
  checkDocuments(
    format: VectorFormat,
    ids: readonly string[],
    vectors: readonly Float32Array[],
  ): Promise<void>;
  /** The live documents of some segments as one, at low priority. */
  mergeSegments(
    path: string,
    snapshot: NativeSnapshot,
    segments: readonly number[],
    limits?: TaskLimits,
  ): Promise<SegmentSummary>;
  /**
   * The centroids of a segment's documents, durable but for the file's name. `from`: what it was merged
   * of, whose codes are taken over.
   */
  writeCodes(
    path: string,
    snapshot: NativeSnapshot,
    segment: number,
    codebook: NativeCodebook,
    options: { lists: 'auto' | 'never' | 'always'; background: boolean },
    from?: { snapshot: NativeSnapshot; segments: readonly number[] },
    limits?: TaskLimits,
  ): Promise<{ crc: number; sizeBytes: number }>;
  /** All live documents in another codec. */
  recodeSegments(
    path: string,
    snapshot: NativeSnapshot,
    format: VectorFormat,
  ): Promise<SegmentSummary>;
  trainCodebook(
    vectors: readonly Float32Array[] | NativeSnapshot,
    options: TrainingOptions,
    limits?: TaskLimits,
  ): Promise<NativeCodebook>;
  writeCodebook(path: string, codebook: NativeCodebook): Promise<void>;
  readCodebook(path: string): Promise<NativeCodebook>;
  /** Of bytes that the file at `path` should have. */
  parseCodebook(path: string, bytes: Uint8Array): Promise<NativeCodebook>;
  /** Reads a segment that may be damaged; `wanted` says of which documents more is to be told. */
  examineSegment(
    path: string,
    format: VectorFormat,
    segment: SegmentEntry,
    wanted: 'lost' | 'ids' | 'records',
    limits?: TaskLimits,
  ): Promise<SegmentExamination>;
  /**
   * Writes what is whole of a segment, but for the ordinals in `dead`, as a new one at `target`.
   * `fields` are those of the documents written, and required where the segment's are not whole.
   */
  salvageSegment(
    target: string,
    path: string,
    format: VectorFormat,
    segment: SegmentEntry,
    dead: Uint32Array,
    fields?: { documents: number; columns: readonly FieldColumn[] },
    limits?: TaskLimits,
  ): Promise<SegmentSummary>;
  /** Rejects unless every byte of a segment's codes is what was written under that codebook. */
  examineCodes(path: string, segment: SegmentEntry, codebook: NativeCodebook): Promise<void>;
  /** Resolves with how many documents are dead. */
  writeTombstones(path: string, documentCount: number, dead: Uint32Array): Promise<number>;
  /**
   * The one bit that makes the difference between two checksums of `size` bytes, the found one and the
   * stored one, xor each other; from 8 * size on it is a bit of the stored one. Null: it is not one bit.
   */
  findFlippedBit(size: number, syndrome: number): Promise<number | null>;
  /**
   * The largest magnitude that int8 would have to hold, NaN when a value is not finite; and the range
   * for which clamping and rounding change the vectors least; and the length of the longest token.
   */
  int8Range(
    vectors: readonly Float32Array[],
    dim: number,
  ): Promise<{ largest: number; best: number; longest: number }>;
  /**
   * Marks documents dead: per segment that they are in, how many now are, and the name of its new
   * tombstones, `<segment>.<generation>.dead`, unless no document of it is left.
   */
  buryDocuments(
    directory: string,
    snapshot: NativeSnapshot,
    refs: Uint32Array,
    generation: number,
  ): Promise<{ segment: number; count: number; file?: string }[]>;
  /**
   * After a merge of `segments` of `merged`: how many of the merged documents have died since, by `now`.
   * Their tombstones are at `path`, unless none or all have.
   */
  buryMerged(
    path: string,
    merged: NativeSnapshot,
    segments: readonly number[],
    now: NativeSnapshot,
  ): Promise<number>;
  /** Durable when it resolves, and so are all files that were written beside it before. */
  writeFileDurably(path: string, bytes: Uint8Array): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Makes renames and new files in a directory survive a power loss. */
  flushDirectory(path: string): Promise<void>;
  /** Throws INDEX_LOCKED, with the holder's `pid` where it is known. */
  lockIndex(path: string): NativeLock;
  openSnapshot(
    directory: string,
    format: VectorFormat &
      ReadOptions & {
        segments: readonly SegmentEntry[];
        fields?: readonly Field[];
        /** New segments of at most so many bytes are verified at open in any case. */
        verifyUpTo?: number;
        /** Under which segments have codes. */
        searchCodebook?: NativeCodebook | null;
      },
    previous: NativeSnapshot | null,
  ): Promise<NativeSnapshot>;
}

let loaded: Addon | undefined;

/**
 * The addon of this process: the file MAXSIM_ADDON names, else the release build of the checkout, else
 * its debug build. Throws ADDON_NOT_FOUND with what was tried, or UNSUPPORTED_ISA when MAXSIM_ISA asks
 * for kernels that this CPU cannot run.
 */
export function loadAddon(): Addon {
  if (loaded !== undefined) return loaded;
  const forced = process.env['MAXSIM_ADDON'];
  const paths = forced
    ? [resolve(forced)]
    : ['Release', 'Debug'].map((kind) =>
        fileURLToPath(new URL(`../../build/native/${kind}/maxsim.node`, import.meta.url)),
      );
  const require = createRequire(import.meta.url);
  const tried: string[] = [];
  for (const path of paths) {
    try {
      const addon = require(path) as Addon;
      const { error } = addon.kernels();
      if (error !== undefined) throw new MaxSimError(error.code, error.message);
      loaded = addon;
      return addon;
    } catch (error) {
      if (error instanceof MaxSimError) throw error;
      tried.push(`  ${path}: ${firstLine(error)}`);
    }
  }
  throw new MaxSimError(
    'ADDON_NOT_FOUND',
    `The native addon of maxsim could not be loaded. Tried:\n${tried.join('\n')}\n` +
      'Possible solutions:\n' +
      '  Install a compiler and CMake: apt-get install -y g++ cmake make\n' +
      '  Build the addon: npm run build\n' +
      '  Set MAXSIM_ADDON to the path of a maxsim.node built elsewhere.',
    { details: { tried: paths } },
  );
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] as string;
}

/** Runs a call into the addon; what it throws becomes a MaxSimError with the same code. */
export function native<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error);
  }
}

/** The same for calls that return a promise. */
export async function nativeAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw fromNative(error);
  }
}

function fromNative(error: unknown): MaxSimError {
  if (error instanceof MaxSimError) return error;
  const { code, pid } = error as { code?: unknown; pid?: unknown };
  const message = error instanceof Error ? error.message : String(error);
  return new MaxSimError(
    typeof code === 'string' ? (code as MaxSimErrorCode) : 'INTERNAL',
    message,
    { cause: error, ...(pid === undefined ? {} : { details: { pid } }) },
  );
}
