/** The layers of a model that its graph does not have, run by onnxruntime after it. */
import { headGraph } from './head-graph.js';
import type { InferenceSession } from './onnxruntime.js';
import type { GraphSpec, SessionOutput } from './session.js';

export class Head {
  private constructor(
    private readonly session: InferenceSession,
    private readonly onnxruntime: typeof import('./onnxruntime.js'),
  ) {}

  /** Null where there are no such layers. Throws INVALID_MODEL. */
  static async open(graph: GraphSpec): Promise<Head | null> {
    if (graph.head.length === 0) return null;
    const layers = await headGraph(graph.head);
    // The native encoder without such layers needs none of it.
    const onnxruntime = await import('./onnxruntime.js');
    const name = `The dense layers after ${graph.file}`;
    return new Head(await onnxruntime.openGraph(layers, name, graph), onnxruntime);
  }

  /** `dims`: [batch, tokens, width], as what comes out has. */
  async run({ data, dims }: SessionOutput): Promise<SessionOutput> {
    const { Tensor, floatsOf } = this.onnxruntime;
    const [output] = this.session.outputNames;
    const results = await this.session.run({ states: new Tensor('float32', data, dims) });
    return floatsOf(results[output as string], output as string);
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}
