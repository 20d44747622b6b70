/**
 * Dense layers and layer norms as a small ONNX graph, for models whose own graph ends before them. Written in memory and
 * run by onnxruntime like any other: states [batch, tokens, in] -> [batch, tokens, out].
 * Messages and field numbers: onnx/onnx.proto3.
 */
import { MaxSimError } from '../errors.js';
import { readWeights } from './weights.js';

/** A layer: activation(x W^T + b), plus x or its own projection of x where there is a residual. */
export type DenseSpec = {
  /** A safetensors file with `linear.weight` [out, in], and `linear.bias`, `residual.weight`. */
  file: string;
  inFeatures: number;
  outFeatures: number;
  bias: boolean;
  activation: Activation;
  residual: boolean;
};

/** (x - mean) / sqrt(variance + 1e-5) * weight + bias, over the features of a token, as torch has it. */
export type LayerNormSpec = {
  kind: 'layer-norm';
  /** A safetensors file with `norm.weight` and `norm.bias`, [features] each. */
  file: string;
  features: number;
};

export type HeadLayer = DenseSpec | LayerNormSpec;

export const ACTIVATIONS = [
  'Identity',
  'Tanh',
  'ReLU',
  'GELU',
  'SiLU',
  'Sigmoid',
  'LeakyReLU',
  'ELU',
] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** Gelu is an operator of its own since this version. */
const OPSET = 20;
const IR_VERSION = 9;
const FLOAT = 1;

/** Throws INVALID_MODEL when a layer's weights are missing or of another shape. */
export async function headGraph(layers: readonly HeadLayer[]): Promise<Uint8Array> {
  const nodes: Buffer[] = [];
  const initializers: Buffer[] = [];
  let current = 'states';
  for (const [i, layer] of layers.entries()) {
    const names = isNorm(layer)
      ? ['norm.weight', 'norm.bias']
      : ['linear.weight', 'linear.bias', 'residual.weight'];
    const weights = await readWeights(layer.file, names);
    const [inFeatures, outFeatures] = widthsOf(layer);
    const constant = (name: string, shape: readonly number[]): string => {
      const found = weights.get(name);
      if (found === undefined || found.shape.join() !== shape.join()) {
        throw new MaxSimError(
          'INVALID_MODEL',
          `${layer.file} must hold ${name} of [${shape.join(', ')}], but ${found === undefined ? 'has none' : `it is [${found.shape.join(', ')}]`}.`,
        );
      }
      const transposed = shape.length === 2;
      const values = transposed ? transpose(found.values, outFeatures, inFeatures) : found.values;
      const dims = transposed ? [inFeatures, outFeatures] : [outFeatures];
      initializers.push(tensor(`${i}.${name}`, dims, values));
      return `${i}.${name}`;
    };
    let made = 0;
    const add = (operator: string, inputs: readonly string[]): string => {
      const output = `${i}.${made++}.${operator}`;
      nodes.push(node(operator, inputs, output));
      return output;
    };
    const input = current;
    if (isNorm(layer)) {
      const parts = ['norm.weight', 'norm.bias'].map((name) => constant(name, [outFeatures]));
      current = add('LayerNormalization', [input, ...parts]);
      continue;
    }
    current = add('MatMul', [input, constant('linear.weight', [outFeatures, inFeatures])]);
    if (layer.bias) current = add('Add', [current, constant('linear.bias', [outFeatures])]);
    if (layer.activation === 'SiLU') current = add('Mul', [current, add('Sigmoid', [current])]);
    else if (layer.activation !== 'Identity') current = add(OPERATORS[layer.activation], [current]);
    if (layer.residual) {
      const residual =
        inFeatures === outFeatures
          ? input
          : add('MatMul', [input, constant('residual.weight', [outFeatures, inFeatures])]);
      current = add('Add', [current, residual]);
    }
  }
  const graph = Buffer.concat([
    ...nodes.map((bytes) => field(1, bytes)),
    field(2, 'head'),
    ...initializers.map((bytes) => field(5, bytes)),
    field(11, valueInfo('states', widthsOf(layers[0] as HeadLayer)[0])),
    field(12, valueInfo(current, widthsOf(layers.at(-1) as HeadLayer)[1])),
  ]);
  return Buffer.concat([
    number(1, IR_VERSION),
    field(7, graph),
    field(8, Buffer.concat([field(1, ''), number(2, OPSET)])),
  ]);
}

function isNorm(layer: HeadLayer): layer is LayerNormSpec {
  return 'kind' in layer;
}

/** What goes in and comes out, of a token. */
export function widthsOf(layer: HeadLayer): [inFeatures: number, outFeatures: number] {
  return isNorm(layer) ? [layer.features, layer.features] : [layer.inFeatures, layer.outFeatures];
}

const OPERATORS = {
  Tanh: 'Tanh',
  ReLU: 'Relu',
  GELU: 'Gelu',
  Sigmoid: 'Sigmoid',
  LeakyReLU: 'LeakyRelu',
  ELU: 'Elu',
} as const;

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) turned[c * rows + r] = values[r * columns + c] as number;
  return turned;
}

function node(operator: string, inputs: readonly string[], output: string): Buffer {
  return Buffer.concat([
    ...inputs.map((name) => field(1, name)),
    field(2, output),
    field(4, operator),
  ]);
}

function tensor(name: string, dims: readonly number[], values: Float32Array): Buffer {
  return Buffer.concat([
    ...dims.map((dim) => number(1, dim)),
    number(2, FLOAT),
    field(8, name),
    field(9, Buffer.from(values.buffer, values.byteOffset, values.byteLength)),
  ]);
}

/** f32 [batch, tokens, width]. */
function valueInfo(name: string, width: number): Buffer {
  const dims = [field(2, 'batch'), field(2, 'tokens'), number(1, width)];
  const shape = Buffer.concat(dims.map((dim) => field(1, dim)));
  const tensorType = Buffer.concat([number(1, FLOAT), field(2, shape)]);
  return Buffer.concat([field(1, name), field(2, field(1, tensorType))]);
}

function field(id: number, content: Buffer | string): Buffer {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes]);
}

function number(id: number, value: number): Buffer {
  return Buffer.concat([varint(id * 8), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 0x80);
  }
}
