/** Named tensors of a safetensors file (huggingface/safetensors), as f32. */
import { type FileHandle, open } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';
import { bfloatsToFloats, halvesToFloats } from '../half.js';

export type Weights = { shape: readonly number[]; values: Float32Array };

/** The format's own bound on its header. */
const MAX_HEADER_BYTES = 100_000_000;

type Entry = { dtype?: unknown; shape?: unknown; data_offsets?: unknown };

/** Those of `names` that the file has. Throws INVALID_MODEL when it is no whole safetensors file. */
export async function readWeights(
  file: string,
  names: readonly string[],
): Promise<Map<string, Weights>> {
  const broken = (what: string): MaxSimError =>
    new MaxSimError('INVALID_MODEL', `${file} ${what}.`);
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch (cause) {
    throw new MaxSimError('INVALID_MODEL', `${file} cannot be read: ${String(cause)}`, { cause });
  }
  try {
    const { size } = await handle.stat();
    const read = async (offset: number, length: number): Promise<Buffer> => {
      if (length < 0 || offset + length > size) throw broken('is cut short');
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await handle.read(bytes, 0, length, offset);
      if (bytesRead !== length) throw broken('is cut short');
      return bytes;
    };
    const headerBytes = Number((await read(0, 8)).readBigUInt64LE());
    if (headerBytes > Math.min(MAX_HEADER_BYTES, size - 8)) throw broken('is no safetensors file');
    let header: Record<string, Entry>;
    try {
      header = JSON.parse((await read(8, headerBytes)).toString('utf8'));
    } catch {
      throw broken('has a header that is not JSON');
    }
    const found = new Map<string, Weights>();
    for (const name of names) {
      const entry = header[name];
      if (entry === undefined) continue;
      const { dtype, shape, data_offsets: offsets } = entry;
      if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2)
        throw broken(`describes ${name} in a way that is not read here`);
      const [from, to] = offsets as [number, number];
      const bytes = await read(8 + headerBytes + from, to - from);
      const values = floatsOf(bytes, dtype);
      if (values === null)
        throw broken(`holds ${name} as ${String(dtype)}; F32, F16 and BF16 are read`);
      if (values.length !== shape.reduce((product, n) => product * n, 1))
        throw broken(`gives ${name} another number of bytes than its shape needs`);
      found.set(name, { shape, values });
    }
    return found;
  } finally {
    await handle.close();
  }
}

function floatsOf(bytes: Buffer, dtype: unknown): Float32Array | null {
  // A copy: the values of a Buffer may lie at any offset.
  if (dtype === 'F32' && bytes.length % 4 === 0)
    return new Float32Array(new Uint8Array(bytes).buffer);
  if (dtype === 'F16') return halvesToFloats(bytes);
  if (dtype === 'BF16') return bfloatsToFloats(bytes);
  return null;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}
