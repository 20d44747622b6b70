/** NumPy's .npy: a header that is a Python literal, then the array. Read here, never written. */
import { refused, type SourceFile } from './source-file.js';
import { bytesOf, checkPlace, type Dtype, type Tensor } from './tensor.js';

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

const DTYPES: Record<string, Dtype> = {
  f8: 'F64',
  f4: 'F32',
  f2: 'F16',
  i8: 'I64',
  u8: 'U64',
  i4: 'I32',
  u4: 'U32',
  i2: 'I16',
  u2: 'U16',
  i1: 'I8',
  u1: 'U8',
  b1: 'BOOL',
};

export function isNpy(head: Buffer): boolean {
  return head.subarray(0, MAGIC.length).equals(MAGIC);
}

/** The array in a file, or in `size` bytes of it from `offset` on. Refuses, in words, what is no plain array. */
export async function readNpy(
  file: SourceFile,
  offset = 0,
  size = file.size,
  name = file.path,
): Promise<Tensor> {
  const head = await file.read(offset, Math.min(12, size));
  if (!isNpy(head) || head.length < 12) throw refused(name, 'is no .npy file');
  const major = head[6] as number;
  if (major < 1 || major > 3) throw refused(name, `has .npy version ${major}, expected 1 to 3`);
  const start = major === 1 ? 10 : 12;
  const length = major === 1 ? head.readUInt16LE(8) : head.readUInt32LE(8);
  if (start + length > size) throw refused(name, 'is cut short in its header');
  const header = (await file.read(offset + start, length)).toString('latin1');
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const sizes = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(header)?.[1];
  if (descr === undefined || fortran === undefined || sizes === undefined) {
    throw refused(
      name,
      `has a header that names no plain array (structured types are not read): ${header.trim().slice(0, 100)}`,
    );
  }
  const dtype = DTYPES[descr.slice(1)];
  if (descr.endsWith('O')) {
    throw refused(name, 'holds Python objects, which only Python can load; save plain numbers');
  }
  if (dtype === undefined || (descr[0] === '>' && !descr.endsWith('1'))) {
    throw refused(name, `has type ${descr}, expected little-endian floats or whole numbers`);
  }
  const shape = sizes
    .split(',')
    .map((part) => part.trim().replace(/L$/, ''))
    .filter((part) => part !== '')
    .map(Number);
  if (fortran === 'True' && shape.filter((extent) => extent > 1).length > 1) {
    throw refused(
      name,
      'is in Fortran order (columns first); save it with numpy.ascontiguousarray',
    );
  }
  const tensor = { name, file, offset: offset + start + length, dtype, shape };
  const bytes = bytesOf(tensor);
  const there = size - start - length;
  if (bytes !== there) {
    throw refused(
      name,
      `${bytes > there ? 'is cut short' : 'is too long'}: its header needs ${bytes} bytes of data, but ${there} follow`,
    );
  }
  return checkPlace(tensor);
}
