/** The addon's encoder: what native/addon/encoder.cpp takes and gives. */
export type EncoderShape = {
  /** Channels of a token: a multiple of 32. */
  hidden: number;
  layers: number;
  /** Of 32, 64, 96 or 128 channels. */
  heads: number;
  intermediate: number;
  vocabulary: number;
  positions: number;
  types: number;
  /** Added inputs per LayerNorm: 0, 4, 8, 12 or 16. */
  slots: number;
  activation: 'gelu' | 'gelu-tanh' | 'relu';
  pooling: 'tokens' | 'first' | 'mean';
  /** At most two. */
  dense: readonly { outputs: number; activation: 'none' | 'tanh' }[];
  /** Vectors of length 1. */
  normalise: boolean;
  epsilon: number;
};

/** Laid out as native/encoder/model_format.h says; weights are rows, [outputs][inputs]. */
export type EncoderTensors = {
  recipe: Uint8Array;
  words: Uint8Array;
  wordScales: Float32Array;
  positions: Float32Array;
  types: Float32Array;
  norms: Float32Array;
  /** Signed, in two's complement: -1 is a slot that is not used. */
  channels: Uint32Array;
  /** Signed, in two's complement. */
  weights: Uint8Array;
  columns: Float32Array;
  dense: Float32Array;
};

/** Sequences back to back, without padding. */
export type PackedBatch = {
  ids: Uint32Array;
  /** Segment of each token; empty: 0. */
  types: Uint32Array;
  /** Tokens of each sequence. */
  lengths: Uint32Array;
  /** How many of them, the first ones, are looked at; empty: all. */
  attended: Uint32Array;
};

/** Work is given up between two layers once another thread has put `value` into the cell. */
export type StopFlag = {
  /** Of one element, in memory that the threads share. */
  cell: Int32Array;
  /** 1 to 2^31 - 1. */
  value: number;
};

export interface NativeEncoder {
  readonly shape: Pick<
    EncoderShape,
    'hidden' | 'layers' | 'positions' | 'types' | 'vocabulary' | 'slots' | 'pooling'
  > & { outputs: number };
  readonly recipe: Uint8Array;
  /**
   * Gives [tokens or sequences][outputs], the same bits in any company and on any threads. Blocks its
   * thread: for model threads, and for tools that do nothing else meanwhile.
   */
  encode(batch: PackedBatch, threads: number, stop?: StopFlag): Float32Array;
  /** Gives [layers][2][hidden]: the largest magnitude of each channel after a LayerNorm. */
  observe(batch: PackedBatch, threads: number): Float32Array;
}

export interface EncoderAddon {
  /** Which kernels encoders use. */
  encoderKernels(): string;
  openEncoder(path: string): Promise<NativeEncoder>;
  writeEncoder(path: string, shape: EncoderShape, tensors: EncoderTensors): Promise<void>;
}
