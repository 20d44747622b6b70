/**
 * The native encoder: texts of any lengths in one run, without padding, and the same bits in any
 * company. Blocks its thread, as onnxruntime does: another thread would take from the few that all file
 * work shares.
 */
import { loadAddon, native, nativeAsync } from './addon.js';
import { packBatches, type TokenSequence } from './batches.js';
import { Head } from './head.js';
import type { NativeEncoder, PackedBatch, StopFlag } from './native-encoder.js';
import type { GraphSpec, Session, SessionOutput } from './session.js';

export class NativeSession implements Session {
  private constructor(
    private readonly encoder: NativeEncoder,
    private readonly head: Head | null,
    private readonly threads: number,
  ) {}

  /** `file`: what convertModel made of the graph. Throws INVALID_MODEL, UNSUPPORTED_FORMAT or IO_ERROR. */
  static async open(file: string, graph: GraphSpec): Promise<NativeSession> {
    const encoder = await nativeAsync(() => loadAddon().openEncoder(file));
    return new NativeSession(encoder, await Head.open(graph), graph.threads);
  }

  plan(lengths: readonly number[]): number[][] {
    return packBatches(lengths);
  }

  async run(sequences: readonly TokenSequence[], stop?: StopFlag): Promise<SessionOutput> {
    const batch = pack(sequences);
    const { outputs, pooling } = this.encoder.shape;
    const rows = pooling === 'tokens' ? batch.ids.length : sequences.length;
    const data = native(() => this.encoder.encode(batch, this.threads, stop));
    if (this.head === null) return { data, dims: [rows, outputs] };
    const { data: projected, dims } = await this.head.run({ data, dims: [1, rows, outputs] });
    return { data: projected, dims: dims.slice(1) };
  }

  /** What the encoder holds goes with the last reference to it. */
  async close(): Promise<void> {
    await this.head?.close();
  }
}

function pack(sequences: readonly TokenSequence[]): PackedBatch {
  const tokens = sequences.reduce((sum, { ids }) => sum + ids.length, 0);
  const batch: PackedBatch = {
    ids: new Uint32Array(tokens),
    types: new Uint32Array(tokens),
    lengths: Uint32Array.from(sequences, ({ ids }) => ids.length),
    attended: Uint32Array.from(sequences, ({ attended }) => attended),
  };
  let at = 0;
  for (const { ids, types } of sequences) {
    batch.ids.set(ids, at);
    if (types !== undefined) batch.types.set(types, at);
    at += ids.length;
  }
  return batch;
}
