/** Layouts that others write: taken in where they say enough, refused in words where they do not. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ImportOptions, Index, importInto } from '../../dist/maxsim.js';
import { refusal, seeded, temporaryDirectory, unitVectors } from '../index/fixtures.js';

const DIM = 8;
const LENGTHS = [3, 1, 5, 2];
const MOST = 5;

type Shape = number[];

let root: string;
let documents: Float32Array[];

beforeEach(() => {
  root = temporaryDirectory();
  const next = seeded(9);
  documents = LENGTHS.map((tokens) => unitVectors(next, tokens, DIM));
});

const bytesOf = (values: ArrayBufferView): Buffer =>
  Buffer.from(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);

/** The rows of all documents; or blocks of `MOST` rows, filled up with `fill`. */
function flat(): Buffer {
  return Buffer.concat(documents.map(bytesOf));
}

function padded(fill = 0): Buffer {
  return Buffer.concat(
    documents.map((vectors) => {
      const block = new Float32Array(MOST * DIM).fill(fill);
      block.set(vectors);
      return bytesOf(block);
    }),
  );
}

const TOKENS = LENGTHS.reduce((a, b) => a + b, 0);
const ints = (values: number[]): Buffer => bytesOf(Int32Array.from(values));
const longs = (values: number[]): Buffer => bytesOf(BigInt64Array.from(values.map(BigInt)));
const offsets = [0, 3, 4, 9, 11];
const mask = LENGTHS.flatMap((tokens) =>
  Array.from({ length: MOST }, (_, i) => (i < tokens ? 1 : 0)),
);

function npy(descr: string, shape: Shape, data: Buffer, fortran = 'False', version = 1): Buffer {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const body = `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': (${sizes}), }`;
  const header = Buffer.from(`${body.padEnd(117)}\n`);
  const size = Buffer.alloc(version === 1 ? 2 : 4);
  size.writeUInt16LE(header.length);
  return Buffer.concat([
    Buffer.from('\x93NUMPY', 'latin1'),
    Buffer.from([version, 0]),
    size,
    header,
    data,
  ]);
}

type Entry = { name: string; dtype: string; shape: Shape; data: Buffer };

function safetensors(entries: Entry[]): Buffer {
  let at = 0;
  const header = Object.fromEntries(
    entries.map(({ name, dtype, shape, data }) => {
      at += data.length;
      return [name, { dtype, shape, data_offsets: [at - data.length, at] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([size, json, ...entries.map(({ data }) => data)]);
}

function zip(entries: { name: string; data: Buffer; method?: number }[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, data, method = 0 } of entries) {
    const local = Buffer.alloc(30 + name.length);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.write(name, 30);
    const central = Buffer.alloc(46 + name.length);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc32(data), 16);
    central.writeUInt32LE(data.length, 20);
    central.writeUInt32LE(data.length, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(at, 42);
    central.write(name, 46);
    parts.push(local, data);
    directory.push(central);
    at += local.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

function write(name: string, content: Buffer | string): string {
  const path = join(root, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, content);
  return path;
}

async function expectAll(path: string, ids: string[], options?: ImportOptions): Promise<void> {
  await using index = await Index.open(join(temporaryDirectory(), 'index'), {
    dim: DIM,
    codec: 'f32',
  });
  expect(await importInto(index, path, options)).toMatchObject({ added: ids.length });
  for (const [i, id] of ids.entries()) expect(index.vectors(id)).toEqual(documents[i]);
}

async function expectRefused(path: string, words: RegExp, options?: ImportOptions): Promise<void> {
  await using index = await Index.open(join(temporaryDirectory(), 'index'), {
    dim: DIM,
    codec: 'f32',
  });
  const { code, message } = await refusal(() => importInto(index, path, options));
  expect(code).toBe('INVALID_SOURCE');
  expect(message).toMatch(words);
}

const PLAIN = ['0', '1', '2', '3'];
const NAMES = ['a', 'b', 'c', 'ü d'];

describe('npy', () => {
  it('rows with lengths beside them', async () => {
    for (const version of [1, 2]) {
      const path = write(`${version}/v.npy`, npy('<f4', [TOKENS, DIM], flat(), 'False', version));
      write(`${version}/doclens.npy`, npy('<i8', [4], longs(LENGTHS)));
      await expectAll(path, PLAIN);
      write(`${version}/v.doclens.json`, JSON.stringify([TOKENS - 1, 1]));
      await using index = await Index.open(join(root, `i${version}`), { dim: DIM });
      expect((await importInto(index, path)).added).toBe(2);
      const given = write('given.json', JSON.stringify(LENGTHS));
      await expectAll(path, PLAIN, { lengths: given });
    }
  });

  it('padded blocks, and ids in every file they may be in', async () => {
    const path = write('v.npy', npy('<f4', [4, MOST, DIM], padded()));
    await expectAll(path, PLAIN);
    await expectAll(path, NAMES, { ids: NAMES });
    const sources: [string, string][] = [
      ['x.json', JSON.stringify(NAMES)],
      ['x.txt', `${NAMES.join('\r\n')}\r\n`],
      ['x.jsonl', NAMES.map((id) => `${JSON.stringify({ id, text: `t ${id}` })}\n`).join('')],
    ];
    for (const [name, content] of sources) {
      await expectAll(path, NAMES, { ids: write(name, content) });
      write(name.replace('x', 'ids'), content);
      await expectAll(path, NAMES);
    }
    await expectRefused(path, /fits|ends after 3 ids/, { ids: NAMES.slice(1) });
    await expectRefused(path, /more ids/, { ids: [...NAMES, 'e'] });
  });

  it('other floats', async () => {
    const doubles = Float64Array.from(documents.flatMap((vectors) => [...vectors]));
    const path = write('v.npy', npy('<f8', [TOKENS, DIM], bytesOf(doubles)));
    write('doclens.json', JSON.stringify(LENGTHS));
    await expectAll(path, PLAIN);
    // 1, -2, 2^-24, 65504, 0.333…
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0, 0, 0);
    const half = write('half/h.npy', npy('<f2', [1, 1, DIM], bytesOf(halves)));
    await using index = await Index.open(join(root, 'half-index'), { dim: DIM, codec: 'f32' });
    await importInto(index, half);
    expect([...index.vectors('0')]).toEqual([1, -2, 2 ** -24, 65504, 0.333251953125, 0, 0, 0]);
  });

  it('what it cannot know or read is refused', async () => {
    const shape = [4, MOST, DIM];
    await expectRefused(write('f/v.npy', npy('<f4', shape, padded(), 'True')), /Fortran order/);
    await expectRefused(write('o/v.npy', npy('|O', [4], Buffer.alloc(32))), /Python objects/);
    await expectRefused(write('b/v.npy', npy('>f4', shape, padded())), /little-endian/);
    await expectRefused(write('i/v.npy', npy('<i4', shape, padded())), /expected floats/);
    await expectRefused(
      write('2/v.npy', npy('<f4', [TOKENS, DIM], flat())),
      /where each document ends/,
    );
    await expectRefused(write('s/v.npy', npy('<f4', shape, padded().subarray(4))), /cut short/);
    await expectRefused(
      write('l/v.npy', npy('<f4', shape, Buffer.concat([padded(), ints([1])]))),
      /too long/,
    );
    write('d/doclens.json', JSON.stringify([3, 1, 5, 3]));
    await expectRefused(write('d/v.npy', npy('<f4', [TOKENS, DIM], flat())), /add up to 12/);
    write('n/doclens.json', JSON.stringify([3, 1, 5, -2]));
    await expectRefused(write('n/v.npy', npy('<f4', [TOKENS, DIM], flat())), /-2/);
    await expectRefused(
      write('w/v.npy', npy('<f4', [4, MOST, 7], padded().subarray(0, 560))),
      /dim 7/,
    );
  });
});

describe('npz', () => {
  const vectors = (): { name: string; data: Buffer } => ({
    name: 'vectors.npy',
    data: npy('<f4', [TOKENS, DIM], flat()),
  });

  it('rows with lengths or offsets, blocks with a mask', async () => {
    const lengths = { name: 'doclens.npy', data: npy('<i4', [4], ints(LENGTHS)) };
    await expectAll(write('a.npz', zip([vectors(), lengths])), PLAIN);
    const starts = { name: 'offsets.npy', data: npy('<i8', [5], longs(offsets)) };
    await expectAll(write('b.npz', zip([starts, vectors()])), PLAIN);
    const block = { name: 'x.npy', data: npy('<f4', [4, MOST, DIM], padded(7)) };
    const flags = { name: 'mask.npy', data: npy('|b1', [4, MOST], Buffer.from(mask)) };
    await expectAll(write('c.npz', zip([block, flags])), PLAIN);
  });

  it('compressed, damaged and cut ones are refused', async () => {
    await expectRefused(write('a.npz', zip([{ ...vectors(), method: 8 }])), /compressed/);
    const whole = zip([vectors()]);
    await expectRefused(
      write('b.npz', whole.subarray(0, whole.length - 30)),
      /cut short|directory/,
    );
    const flipped = Buffer.from(whole);
    flipped[300] = (flipped[300] as number) ^ 1;
    await expectRefused(write('c.npz', flipped), /checksum/);
    await expectRefused(write('d.npz', whole), /where each document ends/);
  });
});

describe('safetensors', () => {
  const rows = (): Entry => ({ name: 'emb', dtype: 'F32', shape: [TOKENS, DIM], data: flat() });

  it('rows with lengths or offsets', async () => {
    const doclens = { name: 'doclens', dtype: 'I32', shape: [4], data: ints(LENGTHS) };
    await expectAll(write('a.safetensors', safetensors([rows(), doclens])), PLAIN);
    await expectAll(write('b.safetensors', safetensors([doclens, rows()])), NAMES, { ids: NAMES });
    const starts = { name: 'cu_offsets', dtype: 'I64', shape: [5], data: longs(offsets) };
    // Whatever it is called: the content tells.
    await expectAll(write('c.bin', safetensors([rows(), starts])), PLAIN);
  });

  it('padded blocks, with a mask or without', async () => {
    const shape = [4, MOST, DIM];
    const bare = { name: 'x', dtype: 'F32', shape, data: padded() };
    await expectAll(write('a.safetensors', safetensors([bare])), PLAIN);
    const filled = { name: 'x', dtype: 'F32', shape, data: padded(3) };
    const bools = {
      name: 'attention_mask',
      dtype: 'BOOL',
      shape: [4, MOST],
      data: Buffer.from(mask),
    };
    await expectAll(write('b.safetensors', safetensors([filled, bools])), PLAIN);
    const wide = { name: 'mask', dtype: 'I64', shape: [4, MOST], data: longs(mask) };
    await expectAll(write('c.safetensors', safetensors([filled, wide])), PLAIN);
    const counts = { name: 'lengths', dtype: 'I32', shape: [4], data: ints(LENGTHS) };
    await expectAll(write('d.safetensors', safetensors([filled, counts])), PLAIN);
  });

  it('a tensor per document, named by its id', async () => {
    const each = (): Entry[] =>
      NAMES.map((name, i) => ({
        name,
        dtype: 'F32',
        shape: [LENGTHS[i] as number, DIM],
        data: bytesOf(documents[i] as Float32Array),
      }));
    await expectAll(write('a.safetensors', safetensors(each())), NAMES);
    const other = { name: 'other', dtype: 'F32', shape: [1, 16], data: Buffer.alloc(64) };
    await expectRefused(write('b.safetensors', safetensors([...each(), other])), /like the others/);
  });

  it('bfloat16', async () => {
    const halves = new Uint16Array(
      new Uint32Array(new Float32Array([1, -0.5, 3.140625, 0, 0, 0, 0, 0]).buffer).map(
        (x) => x >>> 16,
      ),
    );
    const entry = { name: 'only', dtype: 'BF16', shape: [1, DIM], data: bytesOf(halves) };
    await using index = await Index.open(join(root, 'index'), { dim: DIM, codec: 'f32' });
    await importInto(index, write('a.safetensors', safetensors([entry])));
    expect([...index.vectors('only')].slice(0, 3)).toEqual([1, -0.5, 3.140625]);
  });

  it('contradictions are refused', async () => {
    const file = (entries: Entry[]): string => write('x.safetensors', safetensors(entries));
    const wrong = { name: 'doclens', dtype: 'I32', shape: [4], data: ints([3, 1, 5, 9]) };
    await expectRefused(file([rows(), wrong]), /add up to 18/);
    await expectRefused(file([{ ...rows(), shape: [TOKENS + 1, DIM] }]), /needs|cut short/);
    await expectRefused(file([wrong]), /no floats/);
    const whole = safetensors([rows(), wrong]);
    for (const cut of [4, 9, 50, whole.length - 1]) {
      await expectRefused(write('y.safetensors', whole.subarray(0, cut)), /./, {
        format: 'safetensors',
      });
    }
    await expectRefused(
      write('z.safetensors', Buffer.concat([whole, Buffer.alloc(1)])),
      /too long/,
    );
  });
});

describe('jsonl', () => {
  const line = (value: object): string => `${JSON.stringify(value)}\n`;
  const rowsOf = (vectors: Float32Array): number[][] =>
    Array.from({ length: vectors.length / DIM }, (_, i) => [
      ...vectors.subarray(i * DIM, (i + 1) * DIM),
    ]);

  it('rows of numbers, or base64 beside a dim', async () => {
    const rows = documents.map((vectors, i) => line({ _id: NAMES[i], vectors: rowsOf(vectors) }));
    await expectAll(write('a.jsonl', rows.join('\n')), NAMES);
    const packed = documents.map((vectors, i) =>
      line({ id: NAMES[i], dim: DIM, vectors: bytesOf(vectors).toString('base64') }),
    );
    await expectAll(write('b.jsonl', `\uFEFF${packed.join('')}`), NAMES);
  });

  it('a bad line is named by its number, and what came before it stays', async () => {
    const good = line({ id: 'a', vectors: rowsOf(documents[0] as Float32Array) });
    const bad: [string, RegExp][] = [
      ['{"id": "b", "vectors": [[1,', /not valid JSON/],
      [line({ id: 'b' }), /has no vectors/],
      [line({ id: 'b', vectors: [[1, 2]] }), /row of 8/],
      [line({ id: 'b', vectors: [['x', 0, 0, 0, 0, 0, 0, 0]] }), /expected a number/],
      [line({ id: 'b', vectors: 'AAA!AAAA' }), /base64/],
      [line({ id: 'b', vectors: 'AAAA' }), /whole rows/],
      [line({ id: 'b', vectors: [] }), /0 token vectors/],
      [line({ id: '', vectors: [[0, 0, 0, 0, 0, 0, 0, 0]] }), /no id/],
      [line({ vectors: [[0, 0, 0, 0, 0, 0, 0, 0]] }), /no id/],
      ['[1]', /JSON object/],
    ];
    for (const [content, words] of bad) {
      const path = write('x.jsonl', `${good}\n${content}`);
      await using index = await Index.open(join(temporaryDirectory(), 'i'), { dim: DIM });
      const { code, message } = await refusal(() => importInto(index, path, { batchSize: 1 }));
      expect(code).toBe('INVALID_SOURCE');
      expect(message).toMatch(words);
      expect(message).toContain('Line 3');
      expect(index.has('a')).toBe(true);
    }
  });
});

it('the last of several documents with one id wins', async () => {
  const path = write('v.npy', npy('<f4', [4, MOST, DIM], padded()));
  await using index = await Index.open(join(root, 'index'), { dim: DIM, codec: 'f32' });
  const result = await importInto(index, path, { ids: ['a', 'b', 'a', 'b'], batchSize: 3 });
  expect(result).toMatchObject({ added: 2, replaced: 2 });
  expect(index.vectors('a')).toEqual(documents[2]);
  expect(index.vectors('b')).toEqual(documents[3]);
});

it('other paths are refused', async () => {
  await expectRefused(join(root, 'nowhere'), /cannot be read/);
  mkdirSync(join(root, 'folder'));
  await expectRefused(join(root, 'folder'), /no index of the PLAID family/);
  await expectRefused(write('x', ''), /none of the formats/);
});

it('a reader takes nothing in', async () => {
  const path = write('v.npy', npy('<f4', [4, MOST, DIM], padded()));
  await (await Index.open(join(root, 'index'), { dim: DIM })).close();
  await using index = await Index.open(join(root, 'index'), { mode: 'read' });
  expect((await refusal(() => importInto(index, path))).code).toBe('READ_ONLY');
  expect((await refusal(() => importInto(index, path, { batch: 3 } as never))).code).toBe(
    'INVALID_ARGUMENT',
  );
});
