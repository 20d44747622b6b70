/** A tensor that lies in a file: its type, its shape, where its bytes are; C order, little-endian. */
import { MaxSimError } from '../errors.js';
import { bfloatsToFloats, halvesToFloats } from '../half.js';
import { refused, type SourceFile } from './source-file.js';

export const ITEM_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  U64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof ITEM_BYTES;

const FLOATS: ReadonlySet<Dtype> = new Set<Dtype>(['F64', 'F32', 'F16', 'BF16']);

export type Tensor = {
  /** For messages: "vectors.npy", 'tensor "x" of y.safetensors'. */
  name: string;
  file: SourceFile;
  /** Of its first byte in the file. */
  offset: number;
  dtype: Dtype;
  shape: readonly number[];
};

/** Bytes that are read at once: few calls for small documents, little memory for large ones. */
const WINDOW_BYTES = 1 << 22;

export function isFloat({ dtype }: Tensor): boolean {
  return FLOATS.has(dtype);
}

export function isInteger({ dtype }: Tensor): boolean {
  return !FLOATS.has(dtype);
}

export function elementsOf({ shape }: Pick<Tensor, 'shape'>): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function bytesOf(tensor: Pick<Tensor, 'shape' | 'dtype'>): number {
  return elementsOf(tensor) * ITEM_BYTES[tensor.dtype];
}

export function shapeName({ shape }: Pick<Tensor, 'shape'>): string {
  return `[${shape.join(', ')}]`;
}

/** Throws INVALID_SOURCE unless shape and place are whole numbers within the file. */
export function checkPlace(tensor: Tensor): Tensor {
  const bytes = bytesOf(tensor);
  const whole = [...tensor.shape, tensor.offset].every((n) => Number.isSafeInteger(n) && n >= 0);
  if (!whole || !Number.isSafeInteger(bytes) || tensor.offset + bytes > tensor.file.size) {
    throw refused(
      tensor.file.path,
      `is cut short or inconsistent: ${tensor.name} of shape ${shapeName(tensor)} and type ${tensor.dtype} needs ${bytes} bytes at ${tensor.offset}, but the file has ${tensor.file.size}`,
    );
  }
  return tensor;
}

export function toFloats(bytes: Buffer, dtype: Dtype): Float32Array {
  const count = bytes.length / ITEM_BYTES[dtype];
  switch (dtype) {
    case 'F32': {
      const floats = new Float32Array(count);
      Buffer.from(floats.buffer).set(bytes);
      return floats;
    }
    case 'F64':
      return Float32Array.from({ length: count }, (_, i) => bytes.readDoubleLE(i * 8));
    case 'F16':
      return halvesToFloats(bytes);
    case 'BF16':
      return bfloatsToFloats(bytes);
    default:
      throw new MaxSimError('INTERNAL', `${dtype} is no float type.`);
  }
}

export function toIntegers(bytes: Buffer, dtype: Dtype): Float64Array {
  const size = ITEM_BYTES[dtype];
  const read: Partial<Record<Dtype, (at: number) => number>> = {
    I64: (at) => Number(bytes.readBigInt64LE(at)),
    U64: (at) => Number(bytes.readBigUInt64LE(at)),
    I32: (at) => bytes.readInt32LE(at),
    U32: (at) => bytes.readUInt32LE(at),
    I16: (at) => bytes.readInt16LE(at),
    U16: (at) => bytes.readUInt16LE(at),
    I8: (at) => bytes.readInt8(at),
    U8: (at) => bytes.readUInt8(at),
    BOOL: (at) => bytes.readUInt8(at),
  };
  const one = read[dtype];
  if (one === undefined) throw new MaxSimError('INTERNAL', `${dtype} is no integer type.`);
  const integers = new Float64Array(bytes.length / size);
  for (let i = 0; i < integers.length; i++) integers[i] = one(i * size);
  return integers;
}

export async function readFloats(tensor: Tensor): Promise<Float32Array> {
  if (!isFloat(tensor)) {
    throw refused(tensor.file.path, `has ${tensor.name} of type ${tensor.dtype}, expected floats`);
  }
  return toFloats(await tensor.file.read(tensor.offset, bytesOf(tensor)), tensor.dtype);
}

export async function readIntegers(tensor: Tensor): Promise<Float64Array> {
  if (!isInteger(tensor)) {
    throw refused(
      tensor.file.path,
      `has ${tensor.name} of type ${tensor.dtype}, expected whole numbers`,
    );
  }
  return toIntegers(await tensor.file.read(tensor.offset, bytesOf(tensor)), tensor.dtype);
}

/** Reads the bytes of a tensor from front to back, a window at a time. */
export class TensorStream {
  private window: Buffer = Buffer.alloc(0);
  private start: number;
  private at: number;
  private readonly end: number;

  /** From byte `from` of the tensor on. */
  constructor(
    private readonly tensor: Tensor,
    from = 0,
  ) {
    this.at = tensor.offset + from;
    this.start = this.at;
    this.end = tensor.offset + bytesOf(tensor);
  }

  /** The next `length` bytes; good until the next call. */
  async take(length: number): Promise<Buffer> {
    const { file, name } = this.tensor;
    if (this.at + length > this.end) {
      throw refused(file.path, `has too few rows: ${name} ends before the last document does`);
    }
    if (this.at + length > this.start + this.window.length) {
      const size = Math.min(Math.max(length, WINDOW_BYTES), this.end - this.at);
      this.window = await file.read(this.at, size);
      this.start = this.at;
    }
    const from = this.at - this.start;
    this.at += length;
    return this.window.subarray(from, from + length);
  }
}
