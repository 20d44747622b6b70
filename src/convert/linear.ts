/**
 * The weights of a linear layer as signed bytes with one scale per output. Integers of a graph that
 * has them are kept exactly wherever one scale is true of all weights of an output.
 */
import type { GraphNode } from './onnx.js';
import { bytesOf, floatsOf, type GraphWalk, refuse } from './walk.js';

export type LinearWeights = {
  outputs: number;
  inputs: number;
  /** [outputs][inputs], -127 to 127. */
  weights: Int8Array;
  scale: Float32Array;
  bias: Float32Array;
  /** Outputs whose integers are those of the graph. */
  exact: number;
  /** What the layer gives, its bias added. */
  output: string;
};

/** Rows of integers and what each is worth: value = integer * scale, per weight. */
type Rows = {
  outputs: number;
  inputs: number;
  integer: (output: number, input: number) => number;
  scale: (output: number, input: number) => number;
  /** Weights that share a scale. */
  block: number;
};

export function linearOf(walk: GraphWalk, node: GraphNode): LinearWeights {
  if (node.operator === 'com.microsoft.MatMulNBits')
    return quantised(walk, node, blocks(walk, node));
  if (node.operator === 'MatMulInteger') return quantised(walk, node, integers(walk, node));
  const { values, outputs, inputs } = floatWeights(walk, node);
  return withBias(walk, node, { outputs, inputs, ...quantise(values, outputs, inputs), exact: 0 });
}

/** The same as floats, [outputs][inputs]: for layers that are computed as such. */
export function floatsOfLinear(layer: LinearWeights): Float32Array {
  return Float32Array.from(
    layer.weights,
    (weight, i) => weight * (layer.scale[Math.floor(i / layer.inputs)] ?? 0),
  );
}

function blocks(walk: GraphWalk, node: GraphNode): Rows {
  const attribute = (name: string): number => node.attributes.get(name)?.i ?? 0;
  const outputs = attribute('N');
  const inputs = attribute('K');
  const block = attribute('block_size');
  const packed = walk.tensor(node, 1);
  const scales = walk.tensor(node, 2);
  const zeros = walk.tensor(node, 3);
  if (attribute('bits') !== 8) refuse(node, `it has ${attribute('bits')} bits, expected 8`);
  const perRow = Math.ceil(inputs / block);
  if (packed === null || scales === null || packed.bytes.length !== outputs * perRow * block) {
    return refuse(node, 'its weights or scales are not in the graph');
  }
  const values = bytesOf(packed, node);
  const scale = floatsOf(scales, node);
  const zero = zeros === null ? null : bytesOf(zeros, node);
  const at = (n: number, k: number): number => n * perRow + Math.floor(k / block);
  return {
    outputs,
    inputs,
    block,
    integer: (n, k) => (values[n * perRow * block + k] ?? 0) - (zero?.[at(n, k)] ?? 128),
    scale: (n, k) => scale[at(n, k)] ?? 0,
  };
}

function integers(walk: GraphWalk, node: GraphNode): Rows {
  const tensor = walk.tensor(node, 1);
  const zeros = walk.tensor(node, 3);
  const [inputs, outputs] = tensor?.dims ?? [];
  if (tensor === null || inputs === undefined || outputs === undefined) {
    return refuse(node, 'its weights are not in the graph');
  }
  const product = node.outputs[0] ?? '';
  const scaled = walk.after(product, (next) => next.operator === 'Mul');
  const factor =
    scaled === null
      ? null
      : walk.before(
          scaled.outputs[0] ?? '',
          (made) => walk.tensor(made, 1) !== null && made.operator === 'Mul',
        );
  const scales = factor === null ? null : walk.tensor(factor, 1);
  if (scales === null) return refuse(node, 'the scale of its weights was not found');
  const values = bytesOf(tensor, node);
  const scale = floatsOf(scales, node);
  const zero = zeros === null ? new Int8Array(1) : bytesOf(zeros, node);
  return {
    outputs,
    inputs,
    block: inputs,
    integer: (n, k) => (values[k * outputs + n] ?? 0) - (zero[zero.length > 1 ? n : 0] ?? 0),
    scale: (n) => scale[scale.length > 1 ? n : 0] ?? 0,
  };
}

function quantised(walk: GraphWalk, node: GraphNode, rows: Rows): LinearWeights {
  const { outputs, inputs } = rows;
  const weights = new Int8Array(outputs * inputs);
  const scale = new Float32Array(outputs);
  const values = new Float32Array(inputs);
  let exact = 0;
  for (let n = 0; n < outputs; n++) {
    const first = rows.scale(n, 0);
    let kept = true;
    for (let k = 0; k < inputs; k += rows.block) kept &&= rows.scale(n, k) === first;
    for (let k = 0; k < inputs && kept; k++) {
      const integer = rows.integer(n, k);
      kept = Math.abs(integer) <= 127;
      weights[n * inputs + k] = integer;
    }
    if (kept) {
      scale[n] = first;
      exact++;
      continue;
    }
    for (let k = 0; k < inputs; k++) values[k] = rows.integer(n, k) * rows.scale(n, k);
    const row = quantise(values, 1, inputs);
    weights.set(row.weights, n * inputs);
    scale[n] = row.scale[0] ?? 0;
  }
  return withBias(walk, node, { outputs, inputs, weights, scale, exact });
}

function floatWeights(walk: GraphWalk, node: GraphNode) {
  const tensor = walk.tensor(node, 1);
  const transposed = node.operator === 'Gemm' && node.attributes.get('transB')?.i === 1;
  const [a, b] = tensor?.dims ?? [];
  if (tensor === null || a === undefined || b === undefined || tensor.dims.length !== 2) {
    return refuse(node, 'its weights are not a matrix in the graph');
  }
  const given = floatsOf(tensor, node);
  if (transposed) return { values: given, outputs: a, inputs: b };
  const values = new Float32Array(a * b);
  for (let k = 0; k < a; k++) {
    for (let n = 0; n < b; n++) values[n * a + k] = given[k * b + n] ?? 0;
  }
  return { values, outputs: b, inputs: a };
}

/** Nearest bytes in steps of 1/127 of each output's largest weight. */
function quantise(values: Float32Array, outputs: number, inputs: number) {
  const weights = new Int8Array(outputs * inputs);
  const scale = new Float32Array(outputs);
  for (let n = 0; n < outputs; n++) {
    const row = values.subarray(n * inputs, (n + 1) * inputs);
    let largest = 1e-12;
    for (const value of row) largest = Math.max(largest, Math.abs(value));
    const step = Math.fround(largest / 127);
    scale[n] = step;
    for (let k = 0; k < inputs; k++) {
      weights[n * inputs + k] = Math.max(-127, Math.min(127, Math.round((row[k] ?? 0) / step)));
    }
  }
  return { weights, scale };
}

/** The bias is the next vector that is added; Gemm has its own. */
function withBias(
  walk: GraphWalk,
  node: GraphNode,
  layer: Omit<LinearWeights, 'bias' | 'output'>,
): LinearWeights {
  const own = node.operator === 'Gemm' ? walk.tensor(node, 2) : null;
  if (own !== null) return { ...layer, bias: floatsOf(own, node), output: node.outputs[0] ?? '' };
  let output = node.outputs[0] ?? '';
  for (let next = walk.takers(output); next.length > 0; next = walk.takers(output)) {
    const [taker] = next;
    if (taker === undefined) break;
    output = taker.outputs[0] ?? '';
    // Only integer products are scaled on the way.
    if (node.operator === 'MatMulInteger' && /^(Cast|Mul)$/.test(taker.operator)) continue;
    const bias = taker.operator === 'Add' ? (walk.tensor(taker, 0) ?? walk.tensor(taker, 1)) : null;
    if (bias === null || bias.dims.length !== 1) break;
    return { ...layer, bias: floatsOf(bias, taker), output };
  }
  return { ...layer, bias: new Float32Array(layer.outputs), output: node.outputs[0] ?? '' };
}
