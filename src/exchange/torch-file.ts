/** Files of torch.save: a zip archive of a pickle and the storages of its tensors. */
import { PickledGlobal, readPickle } from './pickle.js';
import { refused, SourceFile } from './source-file.js';
import { bytesOf, checkPlace, type Dtype, ITEM_BYTES, shapeName, type Tensor } from './tensor.js';
import { isZip, readZip, type ZipEntry } from './zip.js';

const STORAGES: Record<string, Dtype> = {
  'torch DoubleStorage': 'F64',
  'torch FloatStorage': 'F32',
  'torch HalfStorage': 'F16',
  'torch BFloat16Storage': 'BF16',
  'torch LongStorage': 'I64',
  'torch IntStorage': 'I32',
  'torch ShortStorage': 'I16',
  'torch CharStorage': 'I8',
  'torch ByteStorage': 'U8',
  'torch BoolStorage': 'BOOL',
};

type Storage = { entry: ZipEntry; dtype: Dtype };

/** What was saved: a tensor, or tuples, lists and dicts of tensors. The caller closes the file. */
export async function readTorch(path: string): Promise<{ file: SourceFile; value: unknown }> {
  const file = await SourceFile.open(path);
  try {
    return { file, value: await load(file) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function load(file: SourceFile): Promise<unknown> {
  const { path } = file;
  if (!isZip(await file.read(0, Math.min(4, file.size)))) {
    throw refused(path, 'is no zip archive of torch.save (files of torch before 1.6 are not read)');
  }
  const entries = await readZip(file);
  const pickle = [...entries.keys()].find((name) => name.endsWith('/data.pkl'));
  if (pickle === undefined) throw refused(path, 'holds no data.pkl: it is no file of torch.save');
  const folder = pickle.slice(0, -'data.pkl'.length);
  const order = entries.get(`${folder}byteorder`);
  if (order !== undefined) {
    const name = (await file.read(order.offset, order.size)).toString('latin1');
    if (name !== 'little') throw refused(path, `has byte order ${name}, expected little`);
  }
  const { offset, size } = entries.get(pickle) as ZipEntry;
  return readPickle(await file.read(offset, size), path, {
    persistent: (id) => storage(path, entries, folder, id),
    reduce: (name, args) => {
      if (name === 'collections OrderedDict' && args.length === 0) return new Map();
      return name === 'torch._utils _rebuild_tensor_v2' ? tensor(file, args) : undefined;
    },
  });
}

function storage(
  path: string,
  entries: Map<string, ZipEntry>,
  folder: string,
  id: unknown,
): Storage {
  const [kind, type, key] = Array.isArray(id) ? (id as unknown[]) : [];
  const dtype = type instanceof PickledGlobal ? STORAGES[type.name] : undefined;
  if (kind !== 'storage' || dtype === undefined) {
    const name = type instanceof PickledGlobal ? type.name : 'unnamed';
    throw refused(path, `holds a tensor of a type that is not read here (${name})`);
  }
  const entry = entries.get(`${folder}data/${String(key)}`);
  if (entry === undefined) throw refused(path, `lacks the data of its tensor ${String(key)}`);
  return { entry, dtype };
}

function tensor(file: SourceFile, args: unknown[]): Tensor {
  const [from, start, shape, strides] = args as [Storage, unknown, unknown, unknown];
  if (
    typeof start !== 'number' ||
    !isSizes(shape) ||
    !isSizes(strides) ||
    from?.entry === undefined ||
    strides.length !== shape.length
  ) {
    throw refused(file.path, 'describes a tensor in a way that is not read here');
  }
  const { entry, dtype } = from;
  const offset = entry.offset + start * ITEM_BYTES[dtype];
  const found = { name: `its tensor ${entry.name}`, file, offset, dtype, shape };
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if ((shape[i] as number) > 1 && strides[i] !== step) {
      throw refused(file.path, `holds a tensor ${shapeName(found)} that is not contiguous`);
    }
    step *= shape[i] as number;
  }
  if (start < 0 || offset + bytesOf(found) > entry.offset + entry.size) {
    throw refused(
      file.path,
      `is inconsistent: a tensor ${shapeName(found)} of ${dtype} does not fit its ${entry.size} bytes`,
    );
  }
  return checkPlace(found);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && (n as number) >= 0);
}

export function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'dtype' in value && 'shape' in value;
}
