/** The safetensors layout: u64 header size, a JSON header, then the tensors' bytes. */
import { show } from '../errors.js';
import { isObject, refused, type SourceFile } from './source-file.js';
import { bytesOf, checkPlace, type Dtype, ITEM_BYTES, type Tensor } from './tensor.js';

/** The format's own bound on its header. */
const MAX_HEADER_BYTES = 100_000_000;

export type SafetensorsFile = {
  tensors: Map<string, Tensor>;
  metadata: Record<string, string>;
};

/** Whether the first bytes of a file can be those of the format. */
export function isSafetensors(head: Buffer, size: number): boolean {
  if (head.length < 9 || head[8] !== 0x7b) return false;
  const length = head.readBigUInt64LE(0);
  return length >= 2n && length <= BigInt(Math.min(MAX_HEADER_BYTES, size - 8));
}

export async function readSafetensors(file: SourceFile): Promise<SafetensorsFile> {
  const { path, size } = file;
  const length = Number((await file.read(0, 8)).readBigUInt64LE());
  if (length > MAX_HEADER_BYTES || 8 + length > size) {
    throw refused(
      path,
      `is cut short or no safetensors file: its header is to have ${length} bytes`,
    );
  }
  const start = 8 + length;
  let header: unknown;
  try {
    header = JSON.parse((await file.read(8, length)).toString('utf8'));
  } catch (cause) {
    throw refused(path, `has a header that is not JSON (${(cause as Error).message})`);
  }
  if (!isObject(header)) throw refused(path, 'has a header that is no JSON object');
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = new Map<string, Tensor>();
  const places: { from: number; to: number }[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    const { dtype, shape, data_offsets: offsets } = isObject(entry) ? entry : {};
    if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2 || typeof dtype !== 'string') {
      throw refused(path, `describes tensor ${show(name)} in a way that is not read here`);
    }
    const [from, to] = offsets as [number, number];
    places.push({ from, to });
    // Other types are no vectors and no lengths; they stay unread.
    if (!(dtype in ITEM_BYTES)) continue;
    const tensor = checkPlace({
      name: `tensor ${show(name)}`,
      file,
      offset: start + from,
      dtype: dtype as Dtype,
      shape,
    });
    if (to - from !== bytesOf(tensor)) {
      throw refused(
        path,
        `gives ${tensor.name} ${to - from} bytes, but it needs ${bytesOf(tensor)}`,
      );
    }
    tensors.set(name, tensor);
  }
  places.sort((a, b) => a.from - b.from || a.to - b.to);
  let end = 0;
  for (const { from, to } of places) {
    if (from !== end || to < from) throw refused(path, 'has tensors that overlap or leave gaps');
    end = to;
  }
  if (start + end !== size) {
    throw refused(
      path,
      `${start + end > size ? 'is cut short' : 'is too long'}: its tensors need ${start + end} bytes, but it has ${size}`,
    );
  }
  return { tensors, metadata: isObject(metadata) ? (metadata as Record<string, string>) : {} };
}

/** The bytes before the tensors, which follow in the order given, and where each of them begins. */
export function layOut(
  tensors: readonly { name: string; dtype: Dtype; shape: readonly number[] }[],
  metadata: Record<string, string>,
): { head: Buffer; offsets: number[] } {
  let at = 0;
  const places = tensors.map((tensor) => {
    const from = at;
    at += bytesOf(tensor);
    return [from, at] as const;
  });
  const json = JSON.stringify({
    __metadata__: metadata,
    ...Object.fromEntries(
      tensors.map(({ name, dtype, shape }, i) => [name, { dtype, shape, data_offsets: places[i] }]),
    ),
  });
  // Tensors begin at a multiple of 8, as the format asks of writers.
  const bytes = Buffer.byteLength(json);
  const padded = json + ' '.repeat((8 - (bytes % 8)) % 8);
  const head = Buffer.alloc(8 + Buffer.byteLength(padded));
  head.writeBigUInt64LE(BigInt(head.length - 8));
  head.write(padded, 8);
  return { head, offsets: places.map(([from]) => head.length + from) };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}
