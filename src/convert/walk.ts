/** Ways through a graph: who makes a value, who takes it. */
import { MaxSimError } from '../errors.js';
import { halvesToFloats } from '../half.js';
import { type Graph, type GraphNode, type Tensor, TensorType } from './onnx.js';

/** Operators that multiply by weights, where those are tensors of the graph. */
const LINEAR = new Set(['com.microsoft.MatMulNBits', 'MatMulInteger', 'MatMul', 'Gemm']);

/** Throws what is said of a graph that cannot be represented. */
export function refuse(node: GraphNode | null, why: string): never {
  const which = node === null ? 'The graph' : `Node ${node.name || '?'} (${node.operator})`;
  throw new MaxSimError('INVALID_MODEL', `${which} cannot be converted: ${why}.`);
}

export class GraphWalk {
  readonly graph: Graph;
  readonly #makers = new Map<string, GraphNode>();
  readonly #takers = new Map<string, GraphNode[]>();
  #ofTokens: Set<GraphNode> | null = null;

  constructor(graph: Graph) {
    this.graph = graph;
    for (const node of graph.nodes) {
      for (const output of node.outputs) this.#makers.set(output, node);
      for (const input of node.inputs) {
        const takers = this.#takers.get(input);
        if (takers === undefined) this.#takers.set(input, [node]);
        else takers.push(node);
      }
    }
  }

  maker(value: string): GraphNode | null {
    return this.#makers.get(value) ?? null;
  }

  takers(value: string): readonly GraphNode[] {
    return this.#takers.get(value) ?? [];
  }

  /** The tensor behind input `i` of a node; null for what is computed. */
  tensor(node: GraphNode, i: number): Tensor | null {
    const name = node.inputs[i];
    return name === undefined ? null : (this.graph.tensors.get(name) ?? null);
  }

  /** Inputs that are computed. */
  computed(node: GraphNode): string[] {
    return node.inputs.filter((name) => name !== '' && !this.graph.tensors.has(name));
  }

  isLinear(node: GraphNode): boolean {
    if (!LINEAR.has(node.operator)) return false;
    const weights = this.tensor(node, 1);
    return weights !== null && weights.dims.length > 1;
  }

  /** Whether a node works on what embeddings give, not on sizes or masks alone. */
  isOfTokens(node: GraphNode): boolean {
    if (this.#ofTokens === null) {
      this.#ofTokens = new Set();
      const values: string[] = [];
      for (const gather of this.graph.nodes) {
        const isTable = gather.operator === 'Gather' && this.tensor(gather, 0)?.dims.length === 2;
        if (isTable) values.push(...gather.outputs);
      }
      for (let value = values.pop(); value !== undefined; value = values.pop()) {
        for (const taker of this.takers(value)) {
          if (taker.operator === 'Shape' || this.#ofTokens.has(taker)) continue;
          this.#ofTokens.add(taker);
          values.push(...taker.outputs);
        }
      }
    }
    return this.#ofTokens.has(node);
  }

  /** Whether a value depends on those of a graph's input, not on its size alone. */
  comesFrom(value: string, input: string): boolean {
    const met = new Set<string>();
    const values = [value];
    for (let name = values.pop(); name !== undefined; name = values.pop()) {
      if (name === input) return true;
      const node = this.maker(name);
      if (node === null || node.operator === 'Shape' || met.has(name)) continue;
      met.add(name);
      values.push(...this.computed(node));
    }
    return false;
  }

  /** The nearest node before `value` that is wanted, not further than linear layers and shapes. */
  before(value: string, wanted: (node: GraphNode) => boolean): GraphNode | null {
    let values = [value];
    for (let depth = 0; depth < 24 && values.length > 0; depth++) {
      const further: string[] = [];
      for (const name of values) {
        const node = this.maker(name);
        if (node === null || node.operator === 'Shape') continue;
        if (wanted(node)) return node;
        if (!this.isLinear(node)) further.push(...this.computed(node));
      }
      values = further;
    }
    return null;
  }

  /** The nearest node after `value` that is wanted, not further than linear layers and shapes. */
  after(
    value: string,
    wanted: (node: GraphNode) => boolean,
    seen: (node: GraphNode) => void = () => {},
  ): GraphNode | null {
    let values = [value];
    const met = new Set<GraphNode>();
    for (let depth = 0; depth < 24 && values.length > 0; depth++) {
      const further: string[] = [];
      for (const name of values) {
        for (const node of this.takers(name)) {
          if (met.has(node) || node.operator === 'Shape') continue;
          met.add(node);
          if (wanted(node)) return node;
          seen(node);
          if (!this.isLinear(node)) further.push(...node.outputs);
        }
      }
      values = further;
    }
    return null;
  }
}

/** Values of a tensor as floats. */
export function floatsOf(tensor: Tensor, node: GraphNode | null): Float32Array {
  if (tensor.type === TensorType.float) {
    return new Float32Array(aligned(tensor.bytes));
  }
  if (tensor.type === TensorType.float16) {
    return halvesToFloats(Buffer.from(tensor.bytes));
  }
  return refuse(node, `tensor ${tensor.name} has data type ${tensor.type}, expected floats`);
}

/** Values of a tensor of bytes, signed or not. */
export function bytesOf(tensor: Tensor, node: GraphNode | null): Int8Array | Uint8Array {
  if (tensor.type === TensorType.int8) return new Int8Array(aligned(tensor.bytes));
  if (tensor.type === TensorType.uint8) return tensor.bytes;
  return refuse(node, `tensor ${tensor.name} has data type ${tensor.type}, expected bytes`);
}

function aligned(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}
