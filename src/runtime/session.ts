/**
 * The only door to onnxruntime. A session belongs to the worker thread that opened it: `run` blocks
 * its thread, so it must never be opened on the thread that serves requests.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { MaxSimError } from '../errors.js';

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
  private constructor(
    private readonly session: InferenceSession,
    private readonly output: string,
    private readonly takesTypes: boolean,
  ) {}

  /** Throws INVALID_MODEL when the graph cannot be loaded or is no encoder of token ids. */
  static async open(file: string, threads: number): Promise<ModelSession> {
    let session: InferenceSession;
    try {
      session = await InferenceSession.create(file, {
        executionProviders: ['cpu'],
        graphOptimizationLevel: 'all',
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        logSeverityLevel: 3,
        // Threads that spin between runs would take a core from the event loop.
        extra: { session: { intra_op: { allow_spinning: '0' } } },
      });
    } catch (cause) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${file} cannot be loaded by onnxruntime: ${message(cause)}`,
        { cause },
      );
    }
    const output = session.outputNames[0];
    const missing = ['input_ids', 'attention_mask'].filter(
      (name) => !session.inputNames.includes(name),
    );
    if (output === undefined || missing.length > 0) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${file} must take input_ids and attention_mask, but takes ${session.inputNames.join(', ')}.`,
      );
    }
    return new ModelSession(session, output, session.inputNames.includes('token_type_ids'));
  }

  async run(batch: TokenBatch): Promise<SessionOutput> {
    const dims = [batch.size, batch.length];
    const feeds: Record<string, Tensor> = {
      input_ids: new Tensor('int64', batch.ids, dims),
      attention_mask: new Tensor('int64', batch.attention, dims),
    };
    if (this.takesTypes) feeds['token_type_ids'] = new Tensor('int64', batch.types, dims);
    const results = await this.session.run(feeds, [this.output]);
    const tensor = results[this.output];
    if (!(tensor?.data instanceof Float32Array)) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `The model's output ${this.output} must be float32, but is ${tensor?.type ?? 'absent'}.`,
      );
    }
    return { data: tensor.data, dims: tensor.dims };
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}

function message(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
