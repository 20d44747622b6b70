/**
 * Indexes that ColBERT, PyLate, fast-plaid and next-plaid made (samples/make.py), against what those
 * packages decode them to; and damaged ones, which are refused in words.
 */
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { describeImport, Index, importInto, type MaxSimError } from '../../dist/maxsim.js';
import { refusal, seeded, temporaryDirectory } from '../index/fixtures.js';

const FROZEN = fileURLToPath(new URL('samples/frozen', import.meta.url));
/** Samples made just now, where there are any (`samples/live.mjs`). */
const FOLDER = process.env['MAXSIM_SAMPLES'] ?? FROZEN;

type Truth = { package: string; ids: string[]; doclens: number[] };

const samples = readdirSync(FOLDER).filter((name) => existsSync(join(FOLDER, name, 'truth.json')));

/** Rows of a .npy of f32. */
function rowsOf(file: string): { values: Float32Array; dim: number } {
  const bytes = readFileSync(file);
  const end = 10 + bytes.readUInt16LE(8);
  const shape = /\((\d+), *(\d+)\)/.exec(bytes.toString('latin1', 10, end)) as RegExpExecArray;
  const values = new Float32Array(bytes.subarray(end).length / 4);
  Buffer.from(values.buffer).set(bytes.subarray(end));
  return { values, dim: Number(shape[2]) };
}

function truthOf(sample: string): Truth & { values: Float32Array; dim: number } {
  const folder = join(FOLDER, sample);
  const truth = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8')) as Truth;
  return { ...truth, ...rowsOf(join(folder, 'vectors.npy')) };
}

/** fast-plaid computes in half precision, which has 11 bits; the others in single. */
const toleranceOf = (sample: string): number =>
  /^(fast-plaid|pylate$)/.test(sample) ? 2e-3 : 1e-6;

it('there are samples of every package', () => {
  expect(samples).toEqual(
    expect.arrayContaining(['colbert', 'pylate-stanford', 'fast-plaid', 'pylate', 'next-plaid']),
  );
});

describe.each(samples)('%s', (sample) => {
  it('is decoded to what the package itself decodes', async () => {
    const { ids, doclens, values, dim } = truthOf(sample);
    const path = join(FOLDER, sample, 'index');
    expect(await describeImport(path)).toMatchObject({ format: 'plaid', dim });
    const index = await Index.open(join(temporaryDirectory(), 'index'), { dim, codec: 'f32' });
    const result = await importInto(index, path, { batchSize: 7 });
    expect(result).toMatchObject({ format: 'plaid', added: ids.length, replaced: 0 });
    expect(index.documentCount).toBe(ids.length);
    let row = 0;
    let worst = 0;
    for (const [i, id] of ids.entries()) {
      const vectors = index.vectors(id);
      const tokens = doclens[i] as number;
      expect(vectors.length).toBe(tokens * dim);
      for (const [j, x] of vectors.entries()) {
        worst = Math.max(worst, Math.abs(x - (values[row * dim + j] as number)));
      }
      row += tokens;
    }
    expect(row * dim).toBe(values.length);
    expect(worst).toBeLessThan(toleranceOf(sample));
    const again = await importInto(index, path, { resume: true });
    expect(again).toMatchObject({ added: 0, replaced: 0, unchanged: ids.length });
    await index.close();
  });

  it('is stored in our codecs', async () => {
    const { ids, dim } = truthOf(sample);
    const path = join(FOLDER, sample, 'index');
    for (const codec of ['int8', 'f16'] as const) {
      const index = await Index.open(join(temporaryDirectory(), 'index'), { dim, codec });
      expect((await importInto(index, path)).added).toBe(ids.length);
      await index.close();
    }
  });
});

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

/** Files whose bytes make up the documents; others (inverted lists, locks) are not read. */
const NEEDED =
  /(metadata\.json|doclens|codes|residuals|centroids|buckets|bucket_weights|plaid_ids_to)/;
const UNREAD = /(\d\.metadata\.json|inv_norms|\.lock|merged.*manifest)/;

describe.each(samples)('damage to %s', (sample) => {
  const damage = async (
    change: (file: string, bytes: Buffer) => void,
    check: (file: string, error: { code: string; message: string } | null) => void,
  ): Promise<void> => {
    const root = temporaryDirectory();
    const copy = join(root, 'sample');
    cpSync(join(FOLDER, sample, 'index'), copy, { recursive: true });
    const { dim } = truthOf(sample);
    // fast-plaid 1.4 and next-plaid keep merged copies beside the chunks, which are not read.
    const chunked = files(copy).some((file) => /\d\.codes\.npy$/.test(file));
    for (const [i, file] of files(copy).entries()) {
      const name = file.slice(copy.length);
      if (!NEEDED.test(name) || UNREAD.test(name) || (chunked && /merged/.test(name))) continue;
      const bytes = readFileSync(file);
      change(file, bytes);
      const index = await Index.open(join(root, `index-${i}`), { dim, codec: 'f32' });
      let error: MaxSimError | null = null;
      await importInto(index, copy).catch((cause: MaxSimError) => {
        error = cause;
      });
      check(file, error);
      await index.close();
      writeFileSync(file, bytes);
    }
  };

  it('a file cut short is named', async () => {
    for (const share of [0, 0.3, 0.97]) {
      await damage(
        (file, bytes) => writeFileSync(file, bytes.subarray(0, Math.floor(bytes.length * share))),
        (file, error) => {
          expect(error, file).toMatchObject({ code: 'INVALID_SOURCE' });
          expect(error?.message).toContain(file.slice(file.lastIndexOf('/') + 1));
        },
      );
    }
  });

  it('a missing file is named', async () => {
    await damage(
      (file) => rmSync(file),
      (file, error) => {
        // A chunk that is gone is still in fast-plaid's merged file.
        const merged = file.replace(/\d+\.(codes|residuals)\.npy$/, 'merged_$1.npy');
        if (merged !== file && existsSync(merged)) return;
        expect(error, file).toMatchObject({ code: 'INVALID_SOURCE' });
      },
    );
  });

  it('flipped bytes never crash', async () => {
    const next = seeded(5);
    for (let round = 0; round < 2; round++) {
      await damage(
        (file, bytes) => {
          const flipped = Buffer.from(bytes);
          const at = Math.floor(next() * flipped.length);
          flipped[at] = (flipped[at] as number) ^ (1 << Math.floor(next() * 8));
          writeFileSync(file, flipped);
        },
        (file, error) => {
          if (error === null) return;
          expect(['INVALID_SOURCE', 'MODEL_MISMATCH', 'INVALID_VECTORS'], file).toContain(
            error.code,
          );
        },
      );
    }
  });
});

it('a list of ids must be as long as the index', async () => {
  const { ids, dim } = truthOf('colbert');
  const path = join(FOLDER, 'colbert', 'index');
  const index = await Index.open(join(temporaryDirectory(), 'index'), { dim });
  const names = ids.map((id) => `passage-${id}`);
  for (const wrong of [names.slice(1), [...names, 'one more']]) {
    expect((await refusal(() => importInto(index, path, { ids: wrong }))).code).toBe(
      'INVALID_SOURCE',
    );
  }
  await importInto(index, path, { ids: names });
  expect(index.hasMany(names)).toEqual(names.map(() => true));
  await index.close();
});
