/**
 * What an ONNX file says of its graph: inputs, outputs and the kinds of operators, without loading it
 * (onnx/onnx.proto3). Weights are skipped, so that even a large file takes a few milliseconds.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';

/** Sizes of a tensor; null where the graph leaves one open. */
export type GraphValue = { name: string; dims: readonly (number | null)[] };

export type GraphDescription = {
  inputs: GraphValue[];
  outputs: GraphValue[];
  /** Kinds of operators, with their domain where it is not ONNX's own: 'com.microsoft.MatMulNBits'. */
  operators: Set<string>;
  /** Types of the weights, by their numbers in TensorProto.DataType. */
  weightTypes: Set<number>;
  /** Other files that hold weights, as the graph names them. */
  externalData: Set<string>;
};

/** Fields of the messages that are looked into. */
const MODEL = { graph: 7 };
const GRAPH = { node: 1, initializer: 5, input: 11, output: 12 };
const NODE = { operator: 4, domain: 7 };
const TENSOR = { dataType: 2, name: 8, externalData: 13 };

const WINDOW_BYTES = 1 << 16;
/** A node or an initializer's head that is longer is not looked into. */
const MAX_MESSAGE_BYTES = 1 << 20;

/** Throws INVALID_MODEL when the file is no ONNX graph. */
export async function describeGraph(file: string): Promise<GraphDescription> {
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch (cause) {
    throw new MaxSimError('INVALID_MODEL', `${file} cannot be read: ${String(cause)}`, { cause });
  }
  try {
    const { size } = await handle.stat();
    const reader = new Reader(handle, size);
    const description: GraphDescription = {
      inputs: [],
      outputs: [],
      operators: new Set(),
      weightTypes: new Set(),
      externalData: new Set(),
    };
    const initializers = new Set<string>();
    let found = false;
    for (let at = 0; at < size; ) {
      const field = await reader.field(at, size);
      at = field.end;
      if (field.number !== MODEL.graph || field.wire !== 2) continue;
      found = true;
      for (let inner = field.start; inner < field.end; ) {
        const part = await reader.field(inner, field.end);
        inner = part.end;
        await look(reader, part, description, initializers);
      }
    }
    if (!found || description.outputs.length === 0) throw new RangeError('it has no graph');
    description.inputs = description.inputs.filter(({ name }) => !initializers.has(name));
    return description;
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new MaxSimError('INVALID_MODEL', `${file} is no ONNX file: ${cause.message}.`, { cause });
  } finally {
    await handle.close();
  }
}

type Field = { number: number; wire: number; start: number; end: number };

async function look(
  reader: Reader,
  part: Field,
  description: GraphDescription,
  initializers: Set<string>,
): Promise<void> {
  const { number, start, end } = part;
  if (number === GRAPH.initializer) {
    for (let at = start; at < end; ) {
      const field = await reader.field(at, end);
      at = field.end;
      if (field.number === TENSOR.name)
        initializers.add((await reader.bytes(field)).toString('utf8'));
      if (field.number === TENSOR.dataType && field.wire === 0)
        description.weightTypes.add(varint(await reader.bytes(field), 0).value);
      if (field.number !== TENSOR.externalData || field.wire !== 2) continue;
      const entry = strings(await reader.bytes(field));
      if (entry.get(1) === 'location') description.externalData.add(entry.get(2) ?? '');
    }
    return;
  }
  if (end - start > MAX_MESSAGE_BYTES) return;
  if (number === GRAPH.node) {
    const node = strings(await reader.bytes(part));
    const domain = node.get(NODE.domain) ?? '';
    const operator = node.get(NODE.operator) ?? '';
    description.operators.add(
      domain === '' || domain === 'ai.onnx' ? operator : `${domain}.${operator}`,
    );
  } else if (number === GRAPH.input) {
    description.inputs.push(valueInfoOf(await reader.bytes(part)));
  } else if (number === GRAPH.output) {
    description.outputs.push(valueInfoOf(await reader.bytes(part)));
  }
}

/** Reads a file by a window that moves along. */
class Reader {
  private readonly memory = Buffer.alloc(WINDOW_BYTES);
  private window = this.memory.subarray(0, 0);
  private from = 0;

  constructor(
    private readonly handle: FileHandle,
    private readonly size: number,
  ) {}

  /** The field that begins at `at`, within a message that ends at `limit`. */
  async field(at: number, limit: number): Promise<Field> {
    await this.hold(at, Math.min(32, limit - at));
    const offset = at - this.from;
    const cut = this.window.subarray(offset, Math.min(this.window.length, limit - this.from));
    const field = fieldAt(cut, 0, limit - at);
    return { ...field, start: at + field.start, end: at + field.end };
  }

  /** Good until the next call: mostly of the window, as a read each would take ten times as long. */
  async bytes({ start, end }: Field): Promise<Buffer> {
    if (end - start <= WINDOW_BYTES) {
      await this.hold(start, end - start);
      const bytes = this.window.subarray(start - this.from, end - this.from);
      if (bytes.length !== end - start) throw new RangeError('it is cut short');
      return bytes;
    }
    const bytes = Buffer.alloc(end - start);
    const { bytesRead } = await this.handle.read(bytes, 0, bytes.length, start);
    if (bytesRead !== bytes.length) throw new RangeError('it is cut short');
    return bytes;
  }

  private async hold(at: number, length: number): Promise<void> {
    if (at >= this.from && at + length <= this.from + this.window.length) return;
    const wanted = Math.min(WINDOW_BYTES, this.size - at);
    const { bytesRead } = await this.handle.read(this.memory, 0, wanted, at);
    this.window = this.memory.subarray(0, bytesRead);
    this.from = at;
  }
}

/** `length` is that of the whole message; `bytes` may hold only the head of a field. */
function fieldAt(bytes: Buffer, at: number, length: number): Field {
  const tag = varint(bytes, at);
  const wire = tag.value & 7;
  const number = Math.floor(tag.value / 8);
  let start = tag.next;
  let end: number;
  if (wire === 0) end = varint(bytes, start).next;
  else if (wire === 1) end = start + 8;
  else if (wire === 5) end = start + 4;
  else if (wire === 2) {
    const size = varint(bytes, start);
    start = size.next;
    end = start + size.value;
  } else throw new RangeError('it has a field of an unknown kind');
  if (number === 0 || end > length) throw new RangeError('it is cut short or damaged');
  return { number, wire, start, end };
}

function varint(bytes: Buffer, at: number): { value: number; next: number } {
  let value = 0;
  let scale = 1;
  for (let i = at; i < bytes.length && i < at + 10; i++) {
    const byte = bytes[i] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: i + 1 };
    scale *= 128;
  }
  throw new RangeError('it is cut short or damaged');
}

function* fieldsOf(bytes: Buffer): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    const field = fieldAt(bytes, at, bytes.length);
    yield field;
    at = field.end;
  }
}

/** The last string of each field. */
function strings(bytes: Buffer): Map<number, string> {
  const found = new Map<number, string>();
  for (const { number, wire, start, end } of fieldsOf(bytes))
    if (wire === 2) found.set(number, bytes.toString('utf8', start, end));
  return found;
}

/** ValueInfoProto: name = 1, type = 2 > tensor_type = 1 > shape = 2 > dim = 1 > dim_value = 1. */
function valueInfoOf(bytes: Buffer): GraphValue {
  const inside = (message: Buffer | undefined, number: number): Buffer | undefined => {
    if (message === undefined) return undefined;
    for (const field of fieldsOf(message))
      if (field.number === number && field.wire === 2)
        return message.subarray(field.start, field.end);
    return undefined;
  };
  const shape = inside(inside(inside(bytes, 2), 1), 2);
  const dims: (number | null)[] = [];
  for (const dim of shape === undefined ? [] : fieldsOf(shape)) {
    if (dim.number !== 1 || dim.wire !== 2) continue;
    const message = (shape as Buffer).subarray(dim.start, dim.end);
    let size: number | null = null;
    for (const field of fieldsOf(message))
      if (field.number === 1 && field.wire === 0) size = varint(message, field.start).value;
    dims.push(size);
  }
  return { name: strings(bytes).get(1) ?? '', dims };
}
