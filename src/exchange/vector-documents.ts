/** Documents cut out of plain tensors: rows with lengths, padded blocks with a mask, or a tensor each. */
import { LIMITS } from '../check.js';
import type { IndexDocument } from '../index/store.js';
import type { DocumentSource, ImportFormat } from './documents.js';
import { Ids, toId } from './ids.js';
import { refused, type SourceFile } from './source-file.js';
import {
  ITEM_BYTES,
  isFloat,
  shapeName,
  type Tensor,
  TensorStream,
  toFloats,
  toIntegers,
} from './tensor.js';

/** How many tokens each document has: lengths of all, or a mask [docs, tokens] that says which count. */
type Extent = { lengths: Float64Array } | { mask: Tensor } | { padding: true };

type Layout = {
  format: ImportFormat;
  /** [tokens, dim], or [docs, tokens, dim]. */
  vectors: Tensor;
  extent: Extent;
  ids: string | readonly string[] | null;
  files: readonly SourceFile[];
};

/** One tensor for all documents. Throws INVALID_SOURCE where lengths and shapes do not agree. */
export function blockSource({ format, vectors, extent, ids, files }: Layout): DocumentSource {
  const { shape, name, file } = vectors;
  const dim = checkDim(shape.at(-1) as number, vectors);
  const flat = shape.length === 2;
  if (flat && !('lengths' in extent)) {
    throw refused(
      file.path,
      `has ${name} of shape ${shapeName(vectors)}, but nothing says where each document ends`,
    );
  }
  const documents = 'lengths' in extent ? extent.lengths.length : (shape[0] as number);
  if ('lengths' in extent) checkLengths(extent.lengths, vectors);
  let skipped = 0;
  return {
    format,
    description: `${format}, ${vectors.dtype} ${shapeName(vectors)}`,
    dim,
    documents,
    header: null,
    get skipped() {
      return skipped;
    },
    async *read() {
      const names = new Ids(ids);
      const rows = new TensorStream(vectors);
      const mask = 'mask' in extent ? new TensorStream(extent.mask) : null;
      const rowBytes = dim * ITEM_BYTES[vectors.dtype];
      for (let i = 0; i < documents; i++) {
        const record = await names.next();
        const length = 'lengths' in extent ? (extent.lengths[i] as number) : 0;
        const count = flat ? length : (shape[1] as number);
        let values = toFloats(await rows.take(count * rowBytes), vectors.dtype);
        if (!flat) {
          if ('lengths' in extent) values = values.subarray(0, length * dim);
          else if ('mask' in extent && mask !== null) {
            const { dtype } = extent.mask;
            values = select(values, dim, flags(await mask.take(count * ITEM_BYTES[dtype]), dtype));
          } else values = withoutPadding(values, dim);
        }
        if (values.length === 0) skipped += 1;
        else yield { ...record, vectors: values };
      }
      await names.end();
    },
    close: () => closeAll(files),
  };
}

/** A tensor [tokens, dim] per document, named by id. */
export function namedSource(
  format: ImportFormat,
  tensors: readonly { id: string; tensor: Tensor }[],
  files: readonly SourceFile[],
): DocumentSource {
  const first = tensors[0]?.tensor as Tensor;
  const dim = checkDim(first.shape.at(-1) as number, first);
  for (const { tensor } of tensors) {
    if (tensor.shape.length !== 2 || tensor.shape[1] !== dim || !isFloat(tensor)) {
      throw refused(
        tensor.file.path,
        `has ${tensor.name} of shape ${shapeName(tensor)} and type ${tensor.dtype}, expected floats [tokens, ${dim}] like the others`,
      );
    }
  }
  let skipped = 0;
  return {
    format,
    description: `${format}, a tensor per document`,
    dim,
    documents: tensors.length,
    header: null,
    get skipped() {
      return skipped;
    },
    async *read(): AsyncGenerator<IndexDocument> {
      for (const { id, tensor } of tensors) {
        const tokens = tensor.shape[0] as number;
        checkTokens(tokens, tensor.file.path, tensor.name);
        if (tokens === 0) {
          skipped += 1;
          continue;
        }
        const bytes = tokens * dim * ITEM_BYTES[tensor.dtype];
        const vectors = toFloats(await tensor.file.read(tensor.offset, bytes), tensor.dtype);
        yield { id: toId(id, tensor.name), vectors };
      }
    },
    close: () => closeAll(files),
  };
}

/** Offsets [0, 3, 7, …] as lengths. */
export function toLengths(offsets: Float64Array, file: string): Float64Array {
  const lengths = new Float64Array(Math.max(0, offsets.length - 1));
  for (let i = 0; i < lengths.length; i++) {
    lengths[i] = (offsets[i + 1] as number) - (offsets[i] as number);
    if ((lengths[i] as number) < 0) throw refused(file, `has offsets that fall at document ${i}`);
  }
  if (offsets[0] !== 0)
    throw refused(file, `has offsets that begin with ${offsets[0]}, expected 0`);
  return lengths;
}

export async function closeAll(files: readonly SourceFile[]): Promise<void> {
  for (const file of new Set(files)) await file.close();
}

export function checkDim(dim: number, { file, name }: Pick<Tensor, 'file' | 'name'>): number {
  if (dim >= LIMITS.minDim && dim <= LIMITS.maxDim) return dim;
  throw refused(
    file.path,
    `has ${name} of dim ${dim}; token vectors have ${LIMITS.minDim} to ${LIMITS.maxDim} values`,
  );
}

export function checkTokens(tokens: number, file: string, name: string): void {
  if (Number.isInteger(tokens) && tokens >= 0 && tokens <= LIMITS.maxDocumentTokens) return;
  throw refused(
    file,
    `gives ${name} ${tokens} tokens; a document has 0 to ${LIMITS.maxDocumentTokens}`,
  );
}

function checkLengths(lengths: Float64Array, vectors: Tensor): void {
  const { shape, file, name } = vectors;
  const flat = shape.length === 2;
  let sum = 0;
  for (const [i, length] of lengths.entries()) {
    checkTokens(length, file.path, `document ${i}`);
    if (!flat && length > (shape[1] as number)) {
      throw refused(
        file.path,
        `has ${shape[1]} rows a document, but document ${i} is to have ${length} tokens`,
      );
    }
    sum += length;
  }
  if (flat && sum !== shape[0]) {
    throw refused(
      file.path,
      `has ${shape[0]} rows in ${name}, but the lengths of the ${lengths.length} documents add up to ${sum}`,
    );
  }
  if (!flat && lengths.length !== shape[0]) {
    throw refused(
      file.path,
      `has ${shape[0]} documents in ${name}, but there are ${lengths.length} lengths`,
    );
  }
}

function flags(bytes: Buffer, dtype: Tensor['dtype']): ArrayLike<number> {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F64'
    ? toFloats(bytes, dtype)
    : toIntegers(bytes, dtype);
}

/** The rows whose flag is not 0. */
function select(values: Float32Array, dim: number, keep: ArrayLike<number>): Float32Array {
  let kept = 0;
  for (let i = 0; i < keep.length; i++) {
    if (keep[i] === 0) continue;
    if (kept !== i) values.copyWithin(kept * dim, i * dim, (i + 1) * dim);
    kept += 1;
  }
  return values.subarray(0, kept * dim);
}

/** Without rows of zeros at the end: padding, where no mask says otherwise. */
function withoutPadding(values: Float32Array, dim: number): Float32Array {
  let end = values.length;
  while (end > 0 && values[end - 1] === 0) end -= 1;
  return values.subarray(0, Math.ceil(end / dim) * dim);
}
