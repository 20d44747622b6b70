/**
 * An ONNX file in memory: nodes and tensors of its graph (onnx/onnx.proto3), for reading weights out
 * of it. Knows as much of protocol buffers as that takes.
 */
import { MaxSimError } from '../errors.js';

/** TensorProto.DataType, those that weights come in. */
export const TensorType = {
  float: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  float16: 10,
} as const;

/** `bytes`: little-endian, of `type`. */
export type Tensor = { name: string; dims: number[]; type: number; bytes: Uint8Array };

export type Attribute = { i: number; f: number; s: string; tensor: Tensor | null };

export type GraphNode = {
  name: string;
  /** With its domain where that is not ONNX's own: 'com.microsoft.MatMulNBits'. */
  operator: string;
  inputs: string[];
  outputs: string[];
  attributes: Map<string, Attribute>;
};

export type Graph = {
  nodes: GraphNode[];
  /** Initializers and constants. */
  tensors: Map<string, Tensor>;
  outputs: string[];
};

const text = new TextDecoder();

/** Throws INVALID_MODEL when `bytes` are no ONNX model, or its tensors lie in other files. */
export function readGraph(bytes: Uint8Array, file: string): Graph {
  try {
    for (const field of fieldsOf(bytes)) {
      if (field.number === 7 && field.bytes !== null) return graphOf(field.bytes);
    }
    throw new RangeError('it has no graph');
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new MaxSimError('INVALID_MODEL', `${file} is no ONNX model: ${cause.message}.`, {
      cause,
    });
  }
}

function graphOf(bytes: Uint8Array): Graph {
  const graph: Graph = { nodes: [], tensors: new Map(), outputs: [] };
  for (const field of fieldsOf(bytes)) {
    if (field.bytes === null) continue;
    if (field.number === 1) {
      const node = nodeOf(field.bytes);
      const constant = node.operator === 'Constant' ? node.attributes.get('value')?.tensor : null;
      const [output] = node.outputs;
      if (constant && output !== undefined) graph.tensors.set(output, constant);
      graph.nodes.push(node);
    } else if (field.number === 5) {
      const tensor = tensorOf(field.bytes);
      graph.tensors.set(tensor.name, tensor);
    } else if (field.number === 12) {
      for (const part of fieldsOf(field.bytes)) {
        if (part.number === 1 && part.bytes !== null) graph.outputs.push(text.decode(part.bytes));
      }
    }
  }
  // One tensor under several names.
  for (const { operator, inputs, outputs } of graph.nodes) {
    const same = operator === 'Identity' ? graph.tensors.get(inputs[0] ?? '') : undefined;
    if (same !== undefined) for (const output of outputs) graph.tensors.set(output, same);
  }
  return graph;
}

function nodeOf(bytes: Uint8Array): GraphNode {
  const node: GraphNode = {
    name: '',
    operator: '',
    inputs: [],
    outputs: [],
    attributes: new Map(),
  };
  let domain = '';
  for (const { number, bytes: value } of fieldsOf(bytes)) {
    if (value === null) continue;
    if (number === 1) node.inputs.push(text.decode(value));
    else if (number === 2) node.outputs.push(text.decode(value));
    else if (number === 3) node.name = text.decode(value);
    else if (number === 4) node.operator = text.decode(value);
    else if (number === 7) domain = text.decode(value);
    else if (number === 5) {
      const attribute: Attribute = { i: 0, f: 0, s: '', tensor: null };
      let name = '';
      for (const part of fieldsOf(value)) {
        if (part.number === 1 && part.bytes !== null) name = text.decode(part.bytes);
        else if (part.number === 2) attribute.f = float32(part.value);
        else if (part.number === 3) attribute.i = part.value;
        else if (part.number === 4 && part.bytes !== null) attribute.s = text.decode(part.bytes);
        else if (part.number === 5 && part.bytes !== null) attribute.tensor = tensorOf(part.bytes);
      }
      node.attributes.set(name, attribute);
    }
  }
  if (domain !== '' && domain !== 'ai.onnx') node.operator = `${domain}.${node.operator}`;
  return node;
}

function tensorOf(bytes: Uint8Array): Tensor {
  const tensor: Tensor = { name: '', dims: [], type: 0, bytes: new Uint8Array() };
  for (const { number, value, bytes: part } of fieldsOf(bytes)) {
    if (number === 1) {
      if (part === null) tensor.dims.push(value);
      else
        for (let at = 0; at < part.length; ) at = varint(part, at, (dim) => tensor.dims.push(dim));
    } else if (number === 2) tensor.type = value;
    else if (number === 8 && part !== null) tensor.name = text.decode(part);
    else if (number === 9 && part !== null) tensor.bytes = part;
    else if (number === 4 && part !== null) tensor.bytes = part;
    else if (number === 4) tensor.bytes = concatenate(tensor.bytes, word(value));
    else if (number === 5 || number === 7) tensor.bytes = integersOf(tensor, number, value, part);
    else if (number === 13) throw new RangeError('its weights lie in another file');
  }
  return tensor;
}

/** int32_data and int64_data: numbers of variable length, whatever the type is. */
function integersOf(tensor: Tensor, field: number, value: number, part: Uint8Array | null) {
  const numbers: number[] = [];
  if (part === null) numbers.push(value);
  else for (let at = 0; at < part.length; ) at = varint(part, at, (n) => numbers.push(n));
  let bytes: Uint8Array;
  if (field === 7) bytes = new Uint8Array(BigInt64Array.from(numbers, (n) => BigInt(n)).buffer);
  else if (tensor.type === TensorType.int32) {
    bytes = new Uint8Array(Int32Array.from(numbers).buffer);
  } else if (tensor.type === TensorType.float16) {
    bytes = new Uint8Array(Uint16Array.from(numbers).buffer);
  } else bytes = Uint8Array.from(numbers);
  return concatenate(tensor.bytes, bytes);
}

function concatenate(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

type Field = { number: number; value: number; bytes: Uint8Array | null };

function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    let key = 0;
    at = varint(bytes, at, (n) => {
      key = n;
    });
    const number = Math.floor(key / 8);
    const wire = key % 8;
    let value = 0;
    let part: Uint8Array | null = null;
    if (wire === 0) {
      at = varint(bytes, at, (n) => {
        value = n;
      });
    } else if (wire === 2) {
      at = varint(bytes, at, (n) => {
        value = n;
      });
      if (value < 0 || value > bytes.length - at) throw new RangeError('it ends too early');
      part = bytes.subarray(at, at + value);
      at += value;
    } else if (wire === 5 || wire === 1) {
      const size = wire === 5 ? 4 : 8;
      if (size > bytes.length - at) throw new RangeError('it ends too early');
      if (wire === 5) value = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0, true);
      at += size;
    } else throw new RangeError(`a field has wire type ${wire}`);
    yield { number, value, bytes: part };
  }
}

/** Gives the number at `at`, sign extended, and returns where it ends. */
function varint(bytes: Uint8Array, at: number, give: (value: number) => void): number {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) throw new RangeError('it ends too early');
    value |= BigInt(byte & 127) << BigInt(7 * i);
    if (byte < 128) {
      give(Number(BigInt.asIntN(64, value)));
      return at + i + 1;
    }
  }
  throw new RangeError('a number has more than ten bytes');
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function float32(word32: number): number {
  return new Float32Array(Uint32Array.of(word32).buffer)[0] ?? 0;
}
