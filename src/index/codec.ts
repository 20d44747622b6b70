/** How an index stores tokens: what may be asked for, and what its manifest says. */
import { checkInteger, checkOptions, checkPositive } from '../check.js';
import { invalid } from '../errors.js';
import { CODECS, type CodecName } from '../types.js';

/**
 * A codec by name, or with what else it may be told. int8 chooses its range at the first commit;
 * `range` fixes it: components beyond it are refused. Residual codecs (r4, r2, r1) learn `centroids`
 * from the documents of the first commit, which must have 4,096 tokens or more: by default the power of
 * two at or below 16 times the root of the tokens, at most an eighth of them. `seed` changes which
 * tokens they start from.
 */
export type CodecOption =
  | CodecName
  | { name: 'int8'; range?: number }
  | { name: 'r4' | 'r2' | 'r1'; centroids?: number; seed?: number };

/**
 * `scale` is that of int8, null until the first commit chooses it; else 1. `codebook` is that of a
 * residual codec, null until the first commit trains it; other codecs have none.
 */
export type StoredCodec = {
  name: CodecName;
  scale: number | null;
  codebook?: { file: string; crc: number } | null;
};

/** How the codebook of a residual codec is to be learned, when it is. */
export type Training = { centroids: number; seed: number };

const MAX_CENTROIDS = 2 ** 24;

export function isCodec(name: unknown): name is CodecName {
  return (CODECS as readonly unknown[]).includes(name);
}

/** Whether a codec stores a centroid and the difference to it. */
export function isResidual(name: CodecName): name is 'r4' | 'r2' | 'r1' {
  return bitsOf(name) !== 0;
}

/** Bits per dim of a residual codec, else 0. */
export function bitsOf(name: CodecName): number {
  return name === 'r4' ? 4 : name === 'r2' ? 2 : name === 'r1' ? 1 : 0;
}

/** Throws INVALID_ARGUMENT. */
export function checkCodec(codec: unknown): CodecOption {
  if (isCodec(codec)) return codec;
  const names = CODECS.map((name) => `'${name}'`).join(', ');
  if (typeof codec !== 'object' || codec === null) {
    throw invalid('codec', `${names} or an object with such a name`, codec);
  }
  const { name } = codec as { name?: unknown };
  if (name === 'int8') {
    const { range } = checkOptions<{ name: 'int8'; range?: number }>('codec', codec as never, [
      'name',
      'range',
    ]);
    if (range !== undefined && !isScale(toScale(checkPositive('codec.range', range)))) {
      throw invalid('codec.range', 'within the range of 32-bit floats', range);
    }
    return codec as CodecOption;
  }
  if (!isCodec(name)) throw invalid('codec.name', `one of ${names}`, name);
  const { centroids, seed } = checkOptions<{ name: string; centroids?: number; seed?: number }>(
    'codec',
    codec as never,
    isResidual(name) ? ['name', 'centroids', 'seed'] : ['name'],
  );
  if (centroids !== undefined) checkInteger('codec.centroids', centroids, 2, MAX_CENTROIDS);
  if (seed !== undefined) checkInteger('codec.seed', seed, 0, Number.MAX_SAFE_INTEGER);
  return codec as CodecOption;
}

/** What a new index of this codec stores in its manifest. */
export function codecOf(option: CodecOption): StoredCodec {
  const { name, range } = (typeof option === 'string' ? { name: option } : option) as {
    name: CodecName;
    range?: number;
  };
  if (isResidual(name)) return { name, scale: 1, codebook: null };
  if (name !== 'int8') return { name, scale: 1 };
  return { name, scale: range === undefined ? null : toScale(range) };
}

export function trainingOf(option: CodecOption | undefined): Training {
  const given = typeof option === 'object' && option.name !== 'int8' ? option : undefined;
  return { centroids: given?.centroids ?? 0, seed: given?.seed ?? 0 };
}

function toScale(range: number): number {
  return Math.fround(range / 127);
}

/** A positive, normal float that survives the trip through 32 bits, with 128 steps still finite. */
export function isScale(scale: number): boolean {
  return Math.fround(scale) === scale && scale >= 2 ** -126 && scale < 2 ** 120;
}

/** Bytes of a stored token, without alignment of its document; at most, for residual codecs. */
export function tokenBytes(name: CodecName, dim: number): number {
  const padded = Math.ceil(dim / 4) * 4;
  const bits = bitsOf(name);
  if (bits > 0) return bits * Math.ceil(dim / 8) + 2 + 3;
  if (name === 'f32') return 4 * padded;
  if (name === 'f16' || name === 'bf16') return 2 * padded;
  return padded + (name === 'int8-token' ? 4 : 0);
}
