/**
 * The only door to onnxruntime. A session belongs to the worker thread that opened it: `run` blocks
 * its thread, so it must never be opened on the thread that serves requests.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { MaxSimError } from '../errors.js';
import { halvesToFloats } from '../half.js';
import { BATCH_TOKENS } from './batches.js';
import { type HeadLayer, headGraph } from './head-graph.js';

export const OPTIMISATIONS = ['disabled', 'basic', 'extended', 'all'] as const;
export type Optimisation = (typeof OPTIMISATIONS)[number];

/** What is run, and how. Plain data: it crosses to the model threads. */
export type GraphSpec = {
  /** An ONNX file. */
  file: string;
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

/** A padded batch of token ids, row after row: `size * length` values in each array. */
export type TokenBatch = {
  size: number;
  length: number;
  ids: BigInt64Array;
  /** 1 for a token the model may look at, 0 for padding. */
  attention: BigInt64Array;
  /** Segment of each token: 0, or 1 for the second text of a pair. */
  types: BigInt64Array;
};

export type SessionOutput = { data: Float32Array; dims: readonly number[] };

export class ModelSession {
  /** Tokens that texts may fill together in one run; 1: every text runs alone. */
  batchTokens = BATCH_TOKENS;

  private constructor(
    private readonly session: InferenceSession,
    private readonly head: InferenceSession | null,
    private readonly output: string,
  ) {}

  /** Throws INVALID_MODEL when the graph cannot be loaded or is no encoder of token ids. */
  static async open(graph: GraphSpec): Promise<ModelSession> {
    const { file } = graph;
    const session = await load(file, file, graph);
    const output = graph.output ?? session.outputNames[0];
    if (output === undefined || !session.outputNames.includes(output)) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${file} must give ${output ?? 'an output'}, but gives ${session.outputNames.join(', ')}.`,
      );
    }
    const missing = ['input_ids', 'attention_mask'].filter(
      (name) => !session.inputNames.includes(name),
    );
    const unknown = session.inputNames.filter((name) => !(name in FEEDS));
    if (missing.length > 0 || unknown.length > 0) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${file} must take input_ids and attention_mask, and may take token_type_ids and position_ids, but takes ${session.inputNames.join(', ')}.`,
      );
    }
    const head =
      graph.head.length === 0
        ? null
        : await load(await headGraph(graph.head), `The dense layers after ${file}`, graph);
    const opened = new ModelSession(session, head, output);
    if (await opened.mixesTexts()) opened.batchTokens = 1;
    return opened;
  }

  /**
   * Whether a text's output depends on its company. Where activations are quantised dynamically, one
   * scale for all texts of a run (DynamicQuantizeLinear), it does, by far more than roundings.
   */
  private async mixesTexts(): Promise<boolean> {
    const length = 8;
    const batch = (tokens: readonly bigint[]): TokenBatch => {
      const ids = BigInt64Array.from(tokens.flatMap((id) => new Array<bigint>(length).fill(id)));
      const attention = new BigInt64Array(ids.length).fill(1n);
      const types = new BigInt64Array(ids.length);
      return { size: tokens.length, length, ids, attention, types };
    };
    try {
      const alone = (await this.run(batch([1n]))).data;
      const together = (await this.run(batch([1n, 2n]))).data;
      return alone.some((value, i) => Math.abs(value - (together[i] as number)) > 1e-4);
    } catch {
      return false; // the first run for somebody says in words what is wrong
    }
  }

  async run(batch: TokenBatch): Promise<SessionOutput> {
    const dims = [batch.size, batch.length];
    const feeds: Record<string, Tensor> = {};
    for (const name of this.session.inputNames)
      feeds[name] = new Tensor('int64', (FEEDS[name] as Feed)(batch), dims);
    const results = await this.session.run(feeds, [this.output]);
    let tensor = results[this.output];
    if (this.head !== null) {
      const states = floats(tensor, this.output);
      const [name] = this.head.outputNames;
      const projected = await this.head.run({
        states: new Tensor('float32', states.data, states.dims),
      });
      tensor = projected[name as string];
    }
    return floats(tensor, this.output);
  }

  async close(): Promise<void> {
    await this.session.release();
    await this.head?.release();
  }
}

type Feed = (batch: TokenBatch) => BigInt64Array;

const FEEDS: Record<string, Feed> = {
  input_ids: (batch) => batch.ids,
  attention_mask: (batch) => batch.attention,
  token_type_ids: (batch) => batch.types,
  position_ids: ({ size, length }) =>
    BigInt64Array.from({ length: size * length }, (_, i) => BigInt(i % length)),
};

async function load(
  source: string | Uint8Array,
  name: string,
  { optimisation, threads }: GraphSpec,
): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: ['cpu'],
    graphOptimizationLevel: optimisation,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
    // Threads that spin between runs would take a core from the event loop.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
  try {
    return typeof source === 'string'
      ? await InferenceSession.create(source, options)
      : await InferenceSession.create(source, options);
  } catch (cause) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${name} cannot be loaded by onnxruntime: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

function floats(tensor: Tensor | undefined, output: string): SessionOutput {
  const data: unknown = tensor?.data;
  if (tensor !== undefined && data instanceof Float32Array) return { data, dims: tensor.dims };
  if (tensor?.type === 'float16' && ArrayBuffer.isView(data)) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return { data: halvesToFloats(bytes), dims: tensor.dims };
  }
  throw new MaxSimError(
    'INVALID_MODEL',
    `The model's output ${output} must be float32 or float16, but is ${tensor?.type ?? 'absent'}.`,
  );
}
