/**
 * A BERT in an ONNX graph: embeddings, blocks and head, found by what feeds what, whatever the nodes
 * are called. Whatever else is in the graph is refused.
 */
import { floatsOfLinear, type LinearWeights, linearOf } from './linear.js';
import type { Graph, GraphNode, Tensor } from './onnx.js';
import { bytesOf, floatsOf, GraphWalk, refuse } from './walk.js';

export type NormWeights = { gamma: Float32Array; beta: Float32Array; output: string };

/** value = byte * scale[row][0] + scale[row][1] */
export type Embedding = { rows: number; hidden: number; bytes: Uint8Array; scale: Float32Array };

export type BertBlock = {
  query: LinearWeights;
  key: LinearWeights;
  value: LinearWeights;
  attentionOutput: LinearWeights;
  attentionNorm: NormWeights;
  up: LinearWeights;
  activation: 'gelu' | 'gelu-tanh' | 'relu';
  down: LinearWeights;
  norm: NormWeights;
};

/** weights: [inputs][outputs] */
export type DenseLayer = {
  inputs: number;
  outputs: number;
  activation: 'none' | 'tanh';
  weights: Float32Array;
  bias: Float32Array;
};

export type Bert = {
  words: Embedding;
  positions: Float32Array;
  types: Float32Array;
  norm: NormWeights;
  blocks: BertBlock[];
  dense: DenseLayer[];
  pooling: 'tokens' | 'first';
  normalise: boolean;
};

/**
 * All that becomes of tokens in such a graph. What is made of attention_mask and of sizes alone may be
 * anything: masks are written in many ways.
 */
const KNOWN = new Set(
  `Add Cast Concat Constant ConstantOfShape DequantizeLinear Div DynamicQuantizeLinear Equal Erf Expand
  Flatten Gather Gelu Gemm Identity IsNaN LayerNormalization LpNormalization MatMul MatMulInteger Max Mul
  Pow Range ReduceL2 ReduceMean Relu Reshape Shape Slice Softmax Sqrt Squeeze Sub Tanh Transpose
  Unsqueeze Where com.microsoft.FastGelu com.microsoft.Gelu com.microsoft.MatMulNBits`.split(/\s+/),
);

/** Throws INVALID_MODEL, naming the node, for a graph that is no BERT. */
export function readBert(graph: Graph): Bert {
  const walk = new GraphWalk(graph);
  for (const node of graph.nodes) {
    if (!KNOWN.has(node.operator) && walk.isOfTokens(node)) {
      refuse(node, 'its operator is not of a BERT');
    }
    if (node.operator === 'Trilu') refuse(node, 'it keeps tokens from looking at later ones');
  }
  const used = new Set<GraphNode>();
  const { words, positions, types, sum } = embeddings(walk);
  const norm = normAfter(walk, sum, words.hidden);
  const blocks: BertBlock[] = [];
  let input = norm.output;
  for (const softmax of graph.nodes.filter(({ operator }) => operator === 'Softmax')) {
    const block = blockOf(walk, softmax, used);
    if (block.query.inputs !== words.hidden) refuse(softmax, 'its queries have other inputs');
    blocks.push(block);
    input = block.norm.output;
  }
  if (blocks.length === 0) refuse(null, 'it has no attention');
  const head = headOf(walk, input, used);
  for (const node of graph.nodes) {
    if (walk.isLinear(node) && !used.has(node)) refuse(node, 'it has no place in a BERT');
  }
  return { words, positions, types, norm, blocks, ...head };
}

function linear(walk: GraphWalk, node: GraphNode, used: Set<GraphNode>): LinearWeights {
  used.add(node);
  return linearOf(walk, node);
}

function blockOf(walk: GraphWalk, softmax: GraphNode, used: Set<GraphNode>): BertBlock {
  const isLinear = (node: GraphNode): boolean => walk.isLinear(node);
  const isProduct = (node: GraphNode): boolean => node.operator === 'MatMul' && !isLinear(node);
  const found = (node: GraphNode | null, what: string): GraphNode =>
    node ?? refuse(softmax, `${what} was not found`);
  const scores = found(
    walk.before(softmax.inputs[0] ?? '', isProduct),
    'its product of queries and keys',
  );
  const mixed = found(walk.after(softmax.outputs[0] ?? '', isProduct), 'its product with values');
  const from = (value: string | undefined, what: string): LinearWeights =>
    linear(walk, found(walk.before(value ?? '', isLinear), what), used);
  const query = from(scores.inputs[0], 'the layer of its queries');
  const key = from(scores.inputs[1], 'the layer of its keys');
  const value = from(mixed.inputs[1], 'the layer of its values');
  const next = (name: string, what: string, seen?: (node: GraphNode) => void): LinearWeights =>
    linear(walk, found(walk.after(name, isLinear, seen), what), used);
  const attentionOutput = next(mixed.outputs[0] ?? '', 'the layer after it');
  const attentionNorm = normAfter(walk, attentionOutput.output, attentionOutput.outputs);
  const up = next(attentionNorm.output, 'the first feed-forward layer');
  let activation: BertBlock['activation'] | null = null;
  const down = next(up.output, 'the second feed-forward layer', (node) => {
    activation ??= activationOf(node);
  });
  if (activation === null)
    return refuse(softmax, 'the activation of its block is none that is known');
  const norm = normAfter(walk, down.output, down.outputs);
  return { query, key, value, attentionOutput, attentionNorm, up, activation, down, norm };
}

function activationOf(node: GraphNode): BertBlock['activation'] | null {
  if (node.operator === 'Erf' || node.operator === 'com.microsoft.Gelu') return 'gelu';
  if (node.operator === 'Gelu') {
    return node.attributes.get('approximate')?.s === 'tanh' ? 'gelu-tanh' : 'gelu';
  }
  if (node.operator === 'Tanh' || node.operator === 'com.microsoft.FastGelu') return 'gelu-tanh';
  return node.operator === 'Relu' ? 'relu' : null;
}

/** The LayerNorm after a sum: one node, or the end of its parts, a product and a sum with vectors. */
function normAfter(walk: GraphWalk, value: string, hidden: number): NormWeights {
  const vector = (node: GraphNode): Tensor | null => {
    const tensor = walk.tensor(node, 1) ?? walk.tensor(node, 0);
    return tensor?.dims.length === 1 && tensor.dims[0] === hidden ? tensor : null;
  };
  const node = walk.after(
    value,
    (next) =>
      next.operator === 'LayerNormalization' || (next.operator === 'Mul' && vector(next) !== null),
  );
  if (node === null) return refuse(walk.maker(value), 'no LayerNorm follows it');
  if (node.operator === 'LayerNormalization') {
    const gamma = walk.tensor(node, 1);
    const beta = walk.tensor(node, 2);
    if (gamma === null || beta === null) return refuse(node, 'it has no weights or no bias');
    return {
      gamma: floatsOf(gamma, node),
      beta: floatsOf(beta, node),
      output: node.outputs[0] ?? '',
    };
  }
  const sum = walk.takers(node.outputs[0] ?? '').find((next) => next.operator === 'Add');
  const gamma = vector(node);
  const beta = sum === undefined ? null : vector(sum);
  if (sum === undefined || gamma === null || beta === null)
    return refuse(node, 'no bias follows it');
  return {
    gamma: floatsOf(gamma, node),
    beta: floatsOf(beta, sum),
    output: sum.outputs[0] ?? '',
  };
}

function embeddings(walk: GraphWalk) {
  let words: { embedding: Embedding; sum: string } | null = null;
  let types: Embedding | null = null;
  let positions: Embedding | null = null;
  for (const node of walk.graph.nodes) {
    if (node.operator !== 'Gather' || walk.tensor(node, 0)?.dims.length !== 2) continue;
    const embedding = embeddingOf(walk, node);
    const indices = node.inputs[1] ?? '';
    if (indices === 'input_ids') words = { embedding, sum: node.outputs[0] ?? '' };
    else if (indices === 'token_type_ids') types = embedding;
    else if (walk.comesFrom(indices, 'input_ids')) {
      refuse(node, 'its positions depend on which tokens there are');
    } else if (positions === null) positions = embedding;
    else refuse(node, 'it is one table of embeddings too many');
  }
  if (words === null) return refuse(null, 'it has no table of embeddings of input_ids');
  if (positions === null) return refuse(null, 'it has no table of positions');
  const { hidden } = words.embedding;
  for (const table of [types, positions]) {
    if (table !== null && table.hidden !== hidden) refuse(null, 'its embeddings differ in size');
  }
  return {
    words: words.embedding,
    positions: valuesOf(positions),
    types: types === null ? new Float32Array(hidden) : valuesOf(types),
    sum: words.sum,
  };
}

function embeddingOf(walk: GraphWalk, node: GraphNode): Embedding {
  const tensor = walk.tensor(node, 0);
  const [rows, hidden] = tensor?.dims ?? [];
  if (tensor === null || rows === undefined || hidden === undefined) {
    return refuse(node, 'its table is not in the graph');
  }
  const scaled = walk
    .takers(node.outputs[0] ?? '')
    .find((next) => next.operator === 'DequantizeLinear');
  const scale = new Float32Array(2 * rows);
  if (scaled !== undefined) {
    const values = bytesOf(tensor, node);
    const step = walk.tensor(scaled, 1);
    const zeros = walk.tensor(scaled, 2);
    if (step === null || step.bytes.length !== 4)
      return refuse(scaled, 'its scale is not one number');
    const [unit = 0] = floatsOf(step, scaled);
    const [zero = 0] = zeros === null ? [0] : bytesOf(zeros, scaled);
    const signed = values instanceof Int8Array;
    const least = signed ? -128 : 0;
    for (let row = 0; row < rows; row++) scale.set([unit, (least - zero) * unit], 2 * row);
    const bytes = signed ? Uint8Array.from(values, (value) => value + 128) : values;
    return { rows, hidden, scale, bytes };
  }
  const values = floatsOf(tensor, node);
  const bytes = new Uint8Array(values.length);
  for (let row = 0; row < rows; row++) {
    const of = values.subarray(row * hidden, (row + 1) * hidden);
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const value of of) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const unit = Math.max((high - low) / 255, 1e-12);
    for (let i = 0; i < hidden; i++)
      bytes[row * hidden + i] = Math.round(((of[i] ?? 0) - low) / unit);
    scale.set([unit, low], 2 * row);
  }
  return { rows, hidden, bytes, scale };
}

function valuesOf({ bytes, scale, hidden }: Embedding): Float32Array {
  return Float32Array.from(bytes, (byte, i) => {
    const row = Math.floor(i / hidden);
    return byte * (scale[2 * row] ?? 0) + (scale[2 * row + 1] ?? 0);
  });
}

/** What follows the last block: up to two linear layers, of the first token or of all. */
function headOf(walk: GraphWalk, input: string, used: Set<GraphNode>) {
  const dense: DenseLayer[] = [];
  let pooling: Bert['pooling'] = 'tokens';
  let normalise = false;
  let value = input;
  for (;;) {
    const node = walk.after(
      value,
      (next) => walk.isLinear(next),
      (next) => {
        if (next.operator === 'Gather') pooling = 'first';
        if (next.operator === 'ReduceL2' || next.operator === 'LpNormalization') normalise = true;
        const last = dense.at(-1);
        if (next.operator === 'Tanh' && last !== undefined) last.activation = 'tanh';
      },
    );
    if (node === null) break;
    if (dense.length === 2) refuse(node, 'it is one layer of the head too many');
    const layer = linear(walk, node, used);
    const { inputs, outputs } = layer;
    const rows = floatsOfLinear(layer);
    const weights = new Float32Array(rows.length);
    for (let n = 0; n < outputs; n++) {
      for (let k = 0; k < inputs; k++) weights[k * outputs + n] = rows[n * inputs + k] ?? 0;
    }
    dense.push({ inputs, outputs, activation: 'none', weights, bias: layer.bias });
    value = layer.output;
  }
  return { dense, pooling, normalise };
}
