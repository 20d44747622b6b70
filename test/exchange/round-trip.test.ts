/** What is exported and imported again is what was there: ids, texts, payloads, and every score bit. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type CodecOption,
  describeImport,
  exportIndex,
  Index,
  importInto,
} from '../../dist/maxsim.js';
import { refusal, seeded, temporaryDirectory, unitVectors } from '../index/fixtures.js';

const DIM = 24;

type Made = { index: Index; ids: string[] };

async function makeIndex(directory: string, codec: CodecOption, count = 60): Promise<Made> {
  const next = seeded(7);
  const index = await Index.open(directory, {
    dim: DIM,
    codec,
    encoder: { fingerprint: 'test-encoder', recipe: { model: 'none' } },
  });
  const documents = Array.from({ length: count }, (_, i) => ({
    id: i === 3 ? 'größe "3"\n' : `d${i}`,
    vectors: unitVectors(next, 1 + (i % 17), DIM),
    ...(i % 3 === 0 ? {} : { text: `Text ${i}\u2028 "quoted"` }),
    ...(i % 4 === 0 ? {} : { payload: { n: i, list: [1.5, null, 'x'] } }),
    ...(i % 5 === 0 ? {} : { contentHash: `hash-${i}` }),
  }));
  for (let i = 0; i < count; i += 25) await index.add(documents.slice(i, i + 25));
  await index.delete(['d5', 'd41']);
  return { index, ids: documents.map(({ id }) => id).filter((id) => id !== 'd5' && id !== 'd41') };
}

async function expectSame(left: Index, right: Index, ids: string[]): Promise<void> {
  expect(right.documentCount).toBe(left.documentCount);
  expect(right.getMany(ids)).toEqual(left.getMany(ids));
  const next = seeded(11);
  for (let q = 0; q < 5; q++) {
    const query = unitVectors(next, 8, DIM);
    expect(right.score(query, ids).scores).toEqual(left.score(query, ids).scores);
  }
  for (const id of ids) expect(right.vectors(id)).toEqual(left.vectors(id));
}

// Of a narrow range most tokens have clamped components, and some are longer than 1 by their rounding.
const NARROW: CodecOption = { name: 'int8', range: 0.42 };
const EXACT: CodecOption[] = ['f32', 'f16', 'bf16', 'int8', NARROW];

describe.each(['jsonl', 'safetensors'] as const)('%s', (format) => {
  it.each(EXACT)('a round trip of %j is exact', async (codec) => {
    const root = temporaryDirectory();
    const { index, ids } = await makeIndex(join(root, 'index'), codec);
    const path = join(root, `out.${format}`);
    const seen: number[] = [];
    const exported = await exportIndex(index, path, {
      onProgress: ({ documents, total }) => seen.push(documents / total),
    });
    expect(exported).toMatchObject({ format, documents: ids.length, tokens: index.tokenCount });
    expect(seen).toHaveLength(ids.length);
    expect(seen.at(-1)).toBe(1);
    expect(readdirSync(root).sort()).toEqual(
      ['index', ...exported.files.map((file) => file.slice(root.length + 1))].sort(),
    );
    const described = await describeImport(path);
    expect(described).toMatchObject({
      format,
      dim: DIM,
      documents: ids.length,
      codec: { name: index.codec.name, scale: index.codec.scale },
      encoder: { fingerprint: 'test-encoder', recipe: { model: 'none' } },
    });
    const scale = described.codec?.scale ?? 1;
    const copy = await Index.open(join(root, 'copy'), {
      dim: DIM,
      codec: index.codec.name === 'int8' ? { name: 'int8', range: scale * 127 } : codec,
    });
    const result = await importInto(copy, path, { batchSize: 7 });
    expect(result).toMatchObject({ added: ids.length, replaced: 0, skipped: 0 });
    expect(copy.codec).toEqual(index.codec);
    await expectSame(index, copy, ids);
    const again = await importInto(copy, path, { resume: true });
    // Only what has a content hash can be told to be there already.
    const hashed = copy.contentHashes(ids).filter((hash) => hash !== null).length;
    expect(again).toMatchObject({ added: 0, replaced: ids.length - hashed, unchanged: hashed });
    await copy.close();
    await index.close();
  });

  it('never overwrites unless it is told to', async () => {
    const root = temporaryDirectory();
    const { index } = await makeIndex(join(root, 'index'), 'f32', 5);
    const path = join(root, `out.${format}`);
    writeFileSync(path, 'mine');
    expect(await refusal(() => exportIndex(index, path))).toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(readFileSync(path, 'utf8')).toBe('mine');
    expect(readdirSync(root).sort()).toEqual(['index', `out.${format}`]);
    await exportIndex(index, path, { overwrite: true });
    expect((await describeImport(path)).format).toBe(format);
    await index.close();
  });

  it('writes nothing when it is aborted', async () => {
    const root = temporaryDirectory();
    const { index } = await makeIndex(join(root, 'index'), 'f32');
    const controller = new AbortController();
    const stopped = await refusal(() =>
      exportIndex(index, join(root, `out.${format}`), {
        signal: controller.signal,
        onProgress: ({ documents }) => {
          if (documents === 20) controller.abort();
        },
      }),
    );
    expect(stopped.code).toBe('ABORTED');
    expect(readdirSync(root)).toEqual(['index']);
    await index.close();
  });

  it('is of one generation while the index changes', async () => {
    const root = temporaryDirectory();
    const { index, ids } = await makeIndex(join(root, 'index'), 'f32');
    const path = join(root, `out.${format}`);
    let change: Promise<unknown> | undefined;
    const before = index.generation;
    const exported = await exportIndex(index, path, {
      onProgress: ({ documents }) => {
        if (documents === 2) change = index.delete(ids.slice(10, 30));
      },
    });
    await change;
    expect(index.generation).toBe(before + 1);
    expect(exported).toMatchObject({ generation: before, documents: ids.length });
    const copy = await Index.open(join(root, 'copy'), { dim: DIM, codec: 'f32' });
    expect((await importInto(copy, path)).added).toBe(ids.length);
    await copy.close();
    await index.close();
  });

  it('any cut of it is refused, and so is a flipped byte of a vector', async () => {
    const root = temporaryDirectory();
    const { index, ids } = await makeIndex(join(root, 'index'), 'f32', 12);
    const path = join(root, `out.${format}`);
    const { files } = await exportIndex(index, path);
    const next = seeded(3);
    for (const file of files) {
      const whole = readFileSync(file);
      for (let i = 0; i < 40; i++) {
        const cut = Math.floor(next() * (whole.length - 1));
        writeFileSync(file, whole.subarray(0, cut));
        const copy = await Index.open(join(root, `copy-${i}`), { dim: DIM, codec: 'f32' });
        const { code, message } = await refusal(() => importInto(copy, path));
        expect(code).toBe('INVALID_SOURCE');
        expect(message).toContain(root);
        await copy.close();
      }
      writeFileSync(file, whole);
    }
    const data = readFileSync(path);
    const at = format === 'jsonl' ? data.lastIndexOf('"vectors":"') + 40 : data.length - 200;
    data[at] = format === 'jsonl' ? (data[at] === 65 ? 66 : 65) : (data[at] as number) ^ 1;
    writeFileSync(path, data);
    const copy = await Index.open(join(root, 'flipped'), { dim: DIM, codec: 'f32' });
    expect((await refusal(() => importInto(copy, path))).message).toContain('checksum');
    await copy.close();
    expect(ids.length).toBeGreaterThan(0);
    await index.close();
  });
});

it('int8-token comes back as near as its rounding', async () => {
  const root = temporaryDirectory();
  const { index, ids } = await makeIndex(join(root, 'index'), 'int8-token');
  await exportIndex(index, join(root, 'out.jsonl'));
  const copy = await Index.open(join(root, 'copy'), { dim: DIM, codec: 'int8-token' });
  await importInto(copy, join(root, 'out.jsonl'));
  for (const id of ids) {
    const left = index.vectors(id);
    const right = copy.vectors(id);
    for (const [i, x] of left.entries()) expect(right[i]).toBeCloseTo(x, 6);
  }
  await copy.close();
  await index.close();
});

it('safetensors are cut into shards, and f16 halves them', async () => {
  const root = temporaryDirectory();
  const { index, ids } = await makeIndex(join(root, 'index'), 'f16');
  const path = join(root, 'out.safetensors');
  const { files } = await exportIndex(index, path, { dtype: 'f16', shardBytes: 4000 });
  expect(files.length).toBeGreaterThan(5);
  expect(files[0]).toMatch(/out-00001-of-\d{5}\.safetensors$/);
  for (const from of [files[0] as string, files.at(-1) as string]) {
    const copy = await Index.open(join(root, `copy-${files.indexOf(from)}`), {
      dim: DIM,
      codec: 'f16',
    });
    await importInto(copy, from);
    await expectSame(index, copy, ids);
    await copy.close();
  }
  await index.close();
});

it('without vectors an export is a corpus to index anew', async () => {
  const root = temporaryDirectory();
  const { index } = await makeIndex(join(root, 'index'), 'f32', 3);
  const path = join(root, 'corpus.jsonl');
  await exportIndex(index, path, { vectors: false });
  expect(
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { id: 'd0', text: '' },
    { id: 'd1', text: 'Text 1\u2028 "quoted"', metadata: { n: 1, list: [1.5, null, 'x'] } },
    { id: 'd2', text: 'Text 2\u2028 "quoted"', metadata: { n: 2, list: [1.5, null, 'x'] } },
  ]);
  const copy = await Index.open(join(root, 'copy'), { dim: DIM });
  const { code, message } = await refusal(() => importInto(copy, path));
  expect(code).toBe('INVALID_SOURCE');
  expect(message).toContain('maxsim index');
  await copy.close();
  await index.close();
});

it('vectors of another encoder or dim are refused', async () => {
  const root = temporaryDirectory();
  const { index } = await makeIndex(join(root, 'index'), 'f32', 3);
  const path = join(root, 'out.jsonl');
  await exportIndex(index, path);
  const options = [
    { dim: 32 },
    { dim: DIM, encoder: { fingerprint: 'another', recipe: {} } },
  ] as const;
  for (const [i, option] of options.entries()) {
    const other = await Index.open(join(root, `other-${i}`), option);
    expect((await refusal(() => importInto(other, path))).code).toBe('MODEL_MISMATCH');
    expect(other.documentCount).toBe(0);
    await other.close();
  }
  await index.close();
});

describe('tenants', () => {
  it('are exported and imported one by one', async () => {
    const directory = temporaryDirectory();
    const next = seeded(3);
    const options = { dim: DIM, codec: 'f32', tenants: true, fields: { lang: 'keyword' } } as const;
    await using from = await Index.open(join(directory, 'from'), options);
    await using into = await Index.open(join(directory, 'into'), options);
    for (const tenant of ['acme', 'other']) {
      await from.tenant(tenant).add(
        Array.from({ length: 5 }, (_, i) => ({
          id: `d${i}`,
          vectors: unitVectors(next, 2, DIM),
          payload: { lang: tenant },
        })),
      );
    }
    const path = join(directory, 'acme.jsonl');
    expect((await refusal(() => exportIndex(from, path))).code).toBe('TENANT_REQUIRED');
    expect(await exportIndex(from, path, { tenant: 'acme' })).toMatchObject({ documents: 5 });
    expect((await refusal(() => importInto(into, path))).code).toBe('TENANT_REQUIRED');
    await importInto(into, path, { tenant: 'new' });
    expect(into.tenants()).toEqual([{ tenant: 'new', documents: 5, tokens: 10 }]);
    expect(into.tenant('new').vectors('d3')).toEqual(from.tenant('acme').vectors('d3'));
    expect(await into.tenant('new').count({ lang: 'acme' })).toBe(5);
  });
});
