/** What runs a model on its thread, onnxruntime (onnx-session.ts) or the native encoder (native-session.ts). */
import type { TokenSequence } from './batches.js';
import type { HeadLayer } from './head-graph.js';
import type { StopFlag } from './native-encoder.js';

export const OPTIMISATIONS = ['disabled', 'basic', 'extended', 'all'] as const;
export type Optimisation = (typeof OPTIMISATIONS)[number];

export const RUNTIMES = ['auto', 'native', 'onnx'] as const;
/**
 * native: the native encoder, or INVALID_MODEL where it cannot run the model. auto: the native encoder
 * where it has the graph's own weights and kernels that are faster, else onnxruntime.
 */
export type Runtime = (typeof RUNTIMES)[number];

/** What is run, and how. Plain data: it crosses to the model threads. */
export type GraphSpec = {
  /** An ONNX file. */
  file: string;
  /** Of it and of its weights in other files; null: nobody has looked. */
  sha256: string | null;
  /** Which of its outputs; null: the first. */
  output: string | null;
  /** Layers after it. */
  head: readonly HeadLayer[];
  /** Values of a token vector, after those; null: not token vectors. */
  width: number | null;
  /** How far onnxruntime rewrites the graph before it runs it. */
  optimisation: Optimisation;
  /** Threads within one run. */
  threads: number;
};

/** `dims`: [tokens of all sequences, width], or [sequences, width] of a model that gives one row each. */
export type SessionOutput = { data: Float32Array; dims: readonly number[] };

/** Belongs to the thread that opened it; `run` blocks that thread. */
export interface Session {
  /** Positions of sequences by their lengths, grouped for one run each; longest first. */
  plan(lengths: readonly number[]): number[][];
  /** One group. Rows come in the order of the sequences. Throws ABORTED where `stop` said so. */
  run(sequences: readonly TokenSequence[], stop?: StopFlag): Promise<SessionOutput>;
  close(): Promise<void>;
}
