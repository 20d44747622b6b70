import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import type { EncodedText } from '../../dist/types.js';

/** Golden models with a configuration changed a little: goldens/variants.py. */
const golden = fileURLToPath(new URL('../golden/', import.meta.url));

type Text = { text: string; ids?: number[]; vectors: number[][] };

type Variant = {
  name: string;
  base: string;
  patch: Record<string, Record<string, unknown>>;
  queries: Text[];
  documents: Text[];
};

const folder = mkdtempSync(join(tmpdir(), 'maxsim-variants-'));
let pool: WorkerPool;
beforeAll(() => {
  pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

/** A copy of a golden model with keys of its files set, or, where null, deleted. */
function patched(name: string, base: string, patch: Variant['patch']): string {
  const directory = join(folder, name.replaceAll(/\W/g, '-'));
  cpSync(`${golden}encoders/${base}`, directory, { recursive: true });
  for (const [file, changes] of Object.entries(patch)) {
    const path = join(directory, file);
    const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const entries = Object.entries({ ...config, ...changes });
    const kept = entries.filter(([, value]) => value !== null);
    writeFileSync(path, JSON.stringify(Object.fromEntries(kept)));
  }
  return directory;
}

function rowsOf({ vectors }: EncodedText, dim: number): number[][] {
  return Array.from({ length: vectors.length / dim }, (_, i) => [
    ...vectors.subarray(i * dim, (i + 1) * dim),
  ]);
}

/** For pooled vectors, whose order means nothing. */
const inOrder = (rows: readonly number[][]): number[][] =>
  [...rows].sort((a, b) => (a[0] as number) - (b[0] as number));

function expectSame(ours: number[][], theirs: number[][], text: string): void {
  expect(ours.length, text).toBe(theirs.length);
  ours.flat().forEach((value, i) => {
    expect(Math.abs(value - (theirs.flat()[i] as number)), text).toBeLessThan(2e-5);
  });
}

describe.each(['pylate', 'sentence-transformers'])('as %s reads it:', (library) => {
  const variants = JSON.parse(
    readFileSync(`${golden}variants/${library}.json`, 'utf8'),
  ) as Variant[];

  for (const variant of variants) {
    it(variant.name, async () => {
      const model = patched(`${library} ${variant.name}`, variant.base, variant.patch);
      const encoder = await ModelEncoder.open({ model, specialTokens: 'as-written' }, pool);
      const encode = { queries: 'encodeQueries', documents: 'encodeDocuments' } as const;
      for (const kind of ['queries', 'documents'] as const) {
        const texts = variant[kind];
        const encoded = await encoder[encode[kind]](texts.map(({ text }) => text));
        const pooled = kind === 'documents' && encoder.recipe.pooling !== null;
        const order = pooled ? inOrder : (rows: number[][]) => rows;
        texts.forEach(({ text, vectors }, i) => {
          const rows = rowsOf(encoded[i] as EncodedText, encoder.dim);
          expectSame(order(rows), order(vectors), text);
        });
      }
    });
  }
});

it('a Stanford checkpoint whose projection cannot be found is refused', async () => {
  const model = patched('stanford without weights', 'stanford', {});
  rmSync(join(model, 'model.safetensors'));
  await expect(loadRecipe(model)).rejects.toMatchObject({ code: 'INVALID_MODEL' });
});

it('a dense layer without weights is a model that cannot be used', async () => {
  const model = patched('dense without weights', 'pylate-bert', {});
  rmSync(join(model, '1_Dense', 'model.safetensors'));
  await expect(loadRecipe(model)).rejects.toMatchObject({ code: 'INVALID_MODEL' });
});

it('-1 positions are no limit, as in the configurations of relative positions', async () => {
  const model = patched('relative positions', 'pylate-bert', {
    'config.json': { max_position_embeddings: -1 },
  });
  expect((await loadRecipe(model)).recipe.documentLength).toBe(40);
});

// next-plaid-onnx: `#[serde(default)] pub skiplist_words: Vec<String>`.
it('onnx_config.json that names no skiplist has none', async () => {
  const model = patched('no skiplist', 'onnx-config', {
    'onnx_config.json': { skiplist_words: null },
  });
  expect((await loadRecipe(model)).recipe.skiplistIds).toEqual([]);
});
