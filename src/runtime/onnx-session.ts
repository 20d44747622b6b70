/** A graph in onnxruntime: any model, in any of its forms. */
import { MaxSimError } from '../errors.js';
import {
  BATCH_TOKENS,
  planBatches,
  type TokenBatch,
  type TokenSequence,
  toBatch,
} from './batches.js';
import { Head } from './head.js';
import { floatsOf, type InferenceSession, openGraph, Tensor } from './onnxruntime.js';
import type { GraphSpec, Session, SessionOutput } from './session.js';

export class OnnxSession implements Session {
  /** Tokens that texts may fill together in one run; 1: every text runs alone. */
  batchTokens = BATCH_TOKENS;

  private constructor(
    private readonly session: InferenceSession,
    private readonly head: Head | null,
    private readonly output: string,
  ) {}

  /** Throws INVALID_MODEL when the graph cannot be loaded or is no encoder of token ids. */
  static async open(graph: GraphSpec): Promise<OnnxSession> {
    const { file } = graph;
    const session = await openGraph(file, file, graph);
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
    const opened = new OnnxSession(session, await Head.open(graph), output);
    if (await opened.mixesTexts()) opened.batchTokens = 1;
    return opened;
  }

  /**
   * Whether a text's output depends on its company. Where activations are quantised dynamically, one
   * scale for all texts of a run (DynamicQuantizeLinear), it does, by far more than roundings.
   */
  private async mixesTexts(): Promise<boolean> {
    const length = 8;
    const of = (id: number): TokenSequence => ({
      ids: new Array(length).fill(id),
      attended: length,
    });
    try {
      const alone = (await this.run([of(1)])).data;
      const together = (await this.run([of(1), of(2)])).data;
      return alone.some((value, i) => Math.abs(value - (together[i] as number)) > 1e-4);
    } catch {
      return false; // the first run for somebody says in words what is wrong
    }
  }

  plan(lengths: readonly number[]): number[][] {
    return planBatches(lengths, this.batchTokens);
  }

  /** Sequences of one length. */
  async run(sequences: readonly TokenSequence[]): Promise<SessionOutput> {
    const batch = toBatch(sequences);
    const shape = [batch.size, batch.length];
    const feeds: Record<string, Tensor> = {};
    for (const name of this.session.inputNames)
      feeds[name] = new Tensor('int64', (FEEDS[name] as Feed)(batch), shape);
    const results = await this.session.run(feeds, [this.output]);
    let output: SessionOutput = floatsOf(results[this.output], this.output);
    if (this.head !== null) output = await this.head.run(output);
    const [size, length, width] = output.dims;
    if (output.dims.length !== 3 || size !== batch.size || length !== batch.length) return output;
    return { data: output.data, dims: [batch.size * batch.length, width as number] };
  }

  async close(): Promise<void> {
    await this.session.release();
    await this.head?.close();
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
