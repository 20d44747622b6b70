/**
 * START HERE: every codec measured on one's own vectors and queries, and the cheapest that keeps what
 * was asked for. Few dims lose far more at 1 or 2 bits than many: no table of somebody else's figures
 * can replace this.
 */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkArray, checkInteger, checkOptions, LIMITS } from '../check.js';
import { invalid } from '../errors.js';
import {
  CODECS,
  type CodecName,
  type Index,
  MaxSimError,
  type MaxSimErrorCode,
} from '../maxsim.js';
import {
  buildIndex,
  type CodecQuality,
  type CodecSize,
  type Comparison,
  compareWith,
  compareWithItself,
  type IdentifiedVectors,
  type PreparedQuery,
  prepareQueries,
  qualityOf,
  type Reference,
  referenceOf,
  sizeOf,
  throwIfAborted,
  timeReranking,
} from './codec-measurement.js';
import {
  type CodecLimits,
  type CodecRecommendation,
  type RankedCodec,
  recommendCodec,
} from './codec-recommendation.js';
import type { Judgements } from './qrels.js';

export const DEFAULT_LIMITS: CodecLimits = { minOverlap: 0.95, maxLoss: 0.005 };

export type CodecCalibrationInput = {
  dim: number;
  /** At least one; ids are unique. */
  documents: readonly IdentifiedVectors[];
  queries: readonly IdentifiedVectors[];
  /** By query id. Queries without any relevant document are left out of nDCG. */
  judgements?: Judgements;
};

export type CodecCalibrationOptions = Partial<CodecLimits> & {
  /** Default: all. f32 is always measured, as the reference. */
  codecs?: readonly CodecName[];
  /** Of the bootstrap. */
  seed?: number;
  signal?: AbortSignal;
  /** First indexes are built, one a codec, then rankings made. */
  onProgress?: (unit: 'codecs' | 'rankings', done: number, total: number) => void;
};

export type MeasuredCodec = { codec: CodecName } & CodecSize &
  CodecQuality & {
    /** Microseconds to score 100 documents by id on one thread; a share of what int8 takes, if measured. */
    rerank: { micros: number; ratioToInt8: number | null };
  };

/** A codec that this data cannot be stored in. */
export type RefusedCodec = {
  codec: CodecName;
  refused: { code: MaxSimErrorCode; message: string };
};

export type CodecCalibration = {
  dim: number;
  documents: number;
  tokens: number;
  queries: number;
  judgedQueries: number;
  limits: CodecLimits;
  /** In the order of CODECS. */
  codecs: (MeasuredCodec | RefusedCodec)[];
  recommendation: CodecRecommendation;
};

/**
 * Builds a temporary index per codec, ranks every query with each, and compares with f32. Throws
 * INVALID_ARGUMENT, INVALID_VECTORS, ABORTED, IO_ERROR.
 *
 * @example
 * const { recommendation } = await calibrateCodec({ dim: 128, documents, queries }, { minOverlap: 0.9 })
 */
export async function calibrateCodec(
  input: CodecCalibrationInput,
  options?: CodecCalibrationOptions,
): Promise<CodecCalibration> {
  const { dim, documents, queries, judgements } = checkInput(input);
  const { codecs, limits, seed, signal, onProgress } = checkCalibration(options);
  return await withTemporaryDirectory(async (root) => {
    const built = new Map<CodecName, Index>();
    const refused = new Map<CodecName, RefusedCodec>();
    try {
      for (const [done, codec] of codecs.entries()) {
        throwIfAborted(signal);
        onProgress?.('codecs', done, codecs.length);
        const index = await buildIndex(root, codec, { dim, documents }, signal);
        if (index instanceof MaxSimError) {
          const { code, message } = index;
          refused.set(codec, { codec, refused: { code, message } });
        } else built.set(codec, index);
      }
      const f32 = built.get('f32') as Index;
      const prepared = prepareQueries(queries, dim);
      const total = prepared.length * built.size;
      let done = 0;
      onProgress?.('rankings', 0, total);
      const step = (): void => onProgress?.('rankings', ++done, total);
      const references: Reference[] = [];
      for (const query of prepared) {
        references.push(await referenceOf(f32, query, judgements, signal));
        step();
      }
      const measured = new Map<CodecName, RankedCodec>();
      for (const [codec, index] of built) {
        const comparisons: Comparison[] = [];
        for (const [i, reference] of references.entries()) {
          const query = prepared[i] as PreparedQuery;
          if (codec === 'f32') comparisons.push(compareWithItself(reference));
          else {
            comparisons.push(await compareWith(reference, index, query, judgements, signal));
            step();
          }
        }
        const quality = qualityOf(references, comparisons, seed);
        measured.set(codec, { codec, ...sizeOf(index), ...quality });
      }
      const micros = await timeReranking([...built.values()], prepared, references, signal);
      const timeOf = new Map([...built.keys()].map((codec, i) => [codec, micros[i] as number]));
      const rows = codecs.map((codec) => {
        const row = measured.get(codec);
        if (row === undefined) return refused.get(codec) as RefusedCodec;
        const time = timeOf.get(codec) as number;
        const int8 = timeOf.get('int8');
        const ratioToInt8 = int8 === undefined ? null : time / int8;
        return { ...row, rerank: { micros: time, ratioToInt8 } };
      });
      const evidence = {
        documents: f32.documentCount,
        queries: queries.length,
        judgedQueries: references.filter((reference) => reference.ndcg !== null).length,
      };
      return {
        dim,
        tokens: f32.tokenCount,
        ...evidence,
        limits,
        codecs: rows,
        recommendation: recommendCodec([...measured.values()], limits, evidence),
      };
    } finally {
      for (const index of built.values()) await index.close();
    }
  });
}

function checkInput(input: CodecCalibrationInput): Required<CodecCalibrationInput> {
  const { dim, documents, queries, judgements } = checkOptions<CodecCalibrationInput>(
    'input',
    input,
    ['dim', 'documents', 'queries', 'judgements'],
  );
  checkInteger('input.dim', dim, LIMITS.minDim, LIMITS.maxDim);
  for (const [name, list] of Object.entries({ documents, queries })) {
    if (checkArray(`input.${name}`, list).length === 0) {
      throw invalid(`input.${name}`, 'an array of at least one', list);
    }
  }
  const ids = new Set(documents.map(({ id }) => id));
  const judged = [...(judgements ?? [])].filter(([, grades]) =>
    [...grades].some(([id, grade]) => grade > 0 && ids.has(id)),
  );
  return { dim, documents, queries, judgements: new Map(judged) };
}

function checkCalibration(options: CodecCalibrationOptions | undefined) {
  const {
    codecs = CODECS,
    minOverlap = DEFAULT_LIMITS.minOverlap,
    maxLoss = DEFAULT_LIMITS.maxLoss,
    seed = 0,
    signal,
    onProgress,
  } = checkOptions<CodecCalibrationOptions>('options', options, [
    'codecs',
    'minOverlap',
    'maxLoss',
    'seed',
    'signal',
    'onProgress',
  ]);
  for (const codec of checkArray('codecs', codecs)) {
    if (!(CODECS as readonly unknown[]).includes(codec)) {
      throw invalid('codecs', `of ${CODECS.join(', ')}`, codec);
    }
  }
  checkShare('minOverlap', minOverlap);
  checkShare('maxLoss', maxLoss);
  checkInteger('seed', seed, 0, 0xffffffff);
  return {
    codecs: CODECS.filter((codec) => codec === 'f32' || codecs.includes(codec)),
    limits: { minOverlap, maxLoss },
    seed,
    signal,
    onProgress,
  };
}

function checkShare(name: string, value: unknown): void {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
    throw invalid(name, 'a number from 0 to 1', value);
  }
}

/** Removed when `run` is done, and also when the process is ended in the middle of it. */
async function withTemporaryDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-calibrate-')).catch((cause) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MaxSimError('IO_ERROR', `${tmpdir()} takes no temporary directory: ${reason}`, {
      cause,
    });
  });
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    return await run(directory);
  } finally {
    process.off('exit', remove);
    await rm(directory, { recursive: true, force: true });
  }
}
