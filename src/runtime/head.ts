/** The layers of a model that its graph does not have, run by onnxruntime after it. */
import { headGraph } from './head-graph.js';
import { floatsOf, type InferenceSession, openGraph, Tensor } from './onnxruntime.js';
import type { GraphSpec, SessionOutput } from './session.js';

export class Head {
  private constructor(private readonly session: InferenceSession) {}

  /** Null where there are no such layers. Throws INVALID_MODEL. */
  static async open(graph: GraphSpec): Promise<Head | null> {
    if (graph.head.length === 0) return null;
    const layers = await headGraph(graph.head);
    return new Head(await openGraph(layers, `The dense layers after ${graph.file}`, graph));
  }

  /** `dims`: [batch, tokens, width], as what comes out has. */
  async run({ data, dims }: SessionOutput): Promise<SessionOutput> {
    const [output] = this.session.outputNames;
    const results = await this.session.run({ states: new Tensor('float32', data, dims) });
    return floatsOf(results[output as string], output as string);
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}
