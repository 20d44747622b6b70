import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { openEncoder } from '../../dist/maxsim.js';

const goldens = fileURLToPath(new URL('../golden/encoders/', import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'maxsim-recipe-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let copies = 0;

/** A golden model, with fields of one of its files set. */
function changed(model: string, file: string, fields: Record<string, unknown>): string {
  const directory = join(folder, String(copies++));
  cpSync(join(goldens, model), directory, { recursive: true });
  const path = join(directory, file);
  const before = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...before, ...fields }));
  return directory;
}

it('a model whose projection is missing or damaged is refused, not read without it', async () => {
  const directory = changed('stanford', 'artifact.metadata', {});
  const weights = join(directory, 'model.safetensors');
  writeFileSync(weights, readFileSync(weights).subarray(0, 100));
  await expect(loadRecipe(directory)).rejects.toMatchObject({ code: 'INVALID_MODEL' });
  rmSync(weights);
  await expect(loadRecipe(directory)).rejects.toMatchObject({
    code: 'INVALID_MODEL',
    message: expect.stringMatching(/gives 32 values a token, but the model's vectors have 16/),
  });
});

it.each([
  ['pylate-bert', 'config_sentence_transformers.json', { query_length: 1 }, 'queryLength is 1'],
  ['stanford', 'artifact.metadata', { doc_maxlen: 2 }, 'documentLength is 2'],
])('lengths that hold no text are refused (%s)', async (model, file, fields, message) => {
  await expect(loadRecipe(changed(model, file, fields))).rejects.toMatchObject({
    code: 'INVALID_MODEL',
    message: expect.stringContaining(message),
  });
});

it('with the strategy "min", queryLength is the most a query has, and not the least', async () => {
  const model = join(goldens, 'st-min');
  const { recipe } = await loadRecipe({ model, queryLength: 60 });
  expect(recipe).toMatchObject({ queryLength: 60, expansion: { strategy: 'min', length: 12 } });
  await expect(loadRecipe({ model, queryLength: 6 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

it('an empty list of tokens to keep restricts nothing', async () => {
  const file = '2_MultiVectorMask/config.json';
  const { recipe } = await loadRecipe(changed('st-min', file, { keep_only_token_ids: [] }));
  expect(recipe.keepOnlyIds).toBeNull();
});

it.each([
  [100, 100],
  [1e30, 128], // no limit of the tokenizer's: that of the positions
])('lengths that are not said are the tokenizer’s, %d', async (limit, expected) => {
  const file = 'sentence_bert_config.json';
  const directory = changed('st-fixed', file, {
    query_length: null,
    document_length: null,
    max_seq_length: null,
  });
  const path = join(directory, 'tokenizer_config.json');
  const tokenizer = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...tokenizer, model_max_length: limit }));
  expect((await loadRecipe(directory)).recipe.documentLength).toBe(expected);
});

it('pools a long document window by window: its work does not grow with the square', async () => {
  const model = join(goldens, 'xlmr');
  await using encoder = await openEncoder({ model, longDocuments: 'split', poolFactor: 2 });
  await using whole = await openEncoder({ model, longDocuments: 'split' });
  const text = 'word and more '.repeat(800);
  const [pooled] = await encoder.encodeDocuments([text]);
  const [unpooled] = await whole.encodeDocuments([text]);
  expect(pooled?.windows).toBe(unpooled?.windows);
  const windows = pooled?.windows as number;
  expect(windows).toBeGreaterThan(20);
  // The first vector of each window is kept, and half of the others.
  const half = ((unpooled?.tokenCount as number) - windows) / 2 + windows;
  expect(Math.abs((pooled?.tokenCount as number) - half)).toBeLessThanOrEqual(windows);
});
