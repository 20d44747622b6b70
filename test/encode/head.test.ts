import { afterAll, describe, expect, it } from 'vitest';
import { encodeTexts } from '../../dist/encode/encode-texts.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import type { ModelOptions } from '../../dist/encode/model-options.js';
import { tokenizerOptions } from '../../dist/encode/recipe.js';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import { idOf, removeModels, rowOf, safetensors, type TinyModel, tinyModel } from './tiny-model.js';

afterAll(removeModels);

const PYLATE = {
  model_type: 'ColBERT',
  query_prefix: '',
  document_prefix: '',
  do_query_expansion: false,
  skiplist_words: [],
};

const LENGTHS = { queryLength: 16, documentLength: 16 };

/** Token vectors of the text "one two", [CLS] and [SEP] included, and the recipe that made them. */
async function encode(model: TinyModel, options: Omit<ModelOptions, 'model'> = {}) {
  const files = { 'config_sentence_transformers.json': PYLATE, ...model.files };
  const folder = tinyModel({ ...model, files });
  const loaded = await loadRecipe({ model: folder, ...LENGTHS, ...options });
  const { recipe, directory, graph } = loaded;
  const tokenizer = await TextTokenizer.open(directory, tokenizerOptions(recipe));
  const session = await OnnxSession.open(graph);
  const steps = encodeTexts(
    { texts: ['one two'], kind: 'document', recipe, graph, directory },
    tokenizer,
    session,
  );
  for (;;) {
    const step = await steps.next();
    if (!step.done) continue;
    await session.close();
    const vectors = step.value[0]?.vectors as Float32Array;
    const rows = Array.from({ length: 4 }, (_, i) => [
      ...vectors.subarray(i * recipe.dim, (i + 1) * recipe.dim),
    ]);
    return { recipe, rows };
  }
}

const IDS = ['[CLS]', 'one', 'two', '[SEP]'].map(idOf);

type Layer = {
  config: { in_features: number; out_features: number; [key: string]: unknown };
  weight: number[];
  bias?: number[];
  residual?: number[];
};

function layer(from: number, to: number, more: Record<string, unknown> = {}, seed = 1): Layer {
  const some = (count: number, k: number): number[] =>
    Array.from({ length: count }, (_, i) => Math.cos(seed + i * k) / 2);
  return {
    config: {
      in_features: from,
      out_features: to,
      bias: false,
      activation_function: 'Identity',
      ...more,
    },
    weight: some(from * to, 1.7),
    ...(more['bias'] === true && { bias: some(to, 2.3) }),
    ...(more['use_residual'] === true && from !== to && { residual: some(from * to, 3.1) }),
  };
}

/** modules.json and the folders of Dense layers, as PyLate saves them. */
function chain(...layers: Layer[]): Record<string, unknown> {
  const files: Record<string, unknown> = {
    'modules.json': [
      { path: '', type: 'sentence_transformers.models.Transformer' },
      ...layers.map((_, i) => ({ path: `${i + 1}_Dense`, type: 'pylate.models.Dense.Dense' })),
    ],
  };
  layers.forEach(({ config, weight, bias, residual }, i) => {
    const shape = [config.out_features, config.in_features];
    files[`${i + 1}_Dense/config.json`] = config;
    files[`${i + 1}_Dense/model.safetensors`] = safetensors({
      'linear.weight': { shape, values: weight },
      ...(bias && { 'linear.bias': { shape: [config.out_features], values: bias } }),
      ...(residual && { 'residual.weight': { shape, values: residual } }),
    });
  });
  return files;
}

const times = (x: number[], weight: number[], to: number): number[] =>
  Array.from({ length: to }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * (weight[o * x.length + i] as number), 0),
  );

const unit = (x: number[]): number[] => {
  const norm = Math.hypot(...x);
  return x.map((value) => value / norm);
};

function applied(x: number[], { config, weight, bias, residual }: Layer, f: (v: number) => number) {
  const to = config.out_features;
  const beside = residual ? times(x, residual, to) : x;
  return times(x, weight, to).map(
    (value, o) =>
      f(value + (bias?.[o] ?? 0)) + (config['use_residual'] === true ? (beside[o] as number) : 0),
  );
}

function expectRows(rows: number[][], expected: (row: number[]) => number[], width: number): void {
  rows.forEach((row, i) => {
    const wanted = expected(rowOf(IDS[i] as number, width));
    expect(row).toHaveLength(wanted.length);
    row.forEach((value, k) => {
      expect(value).toBeCloseTo(wanted[k] as number, 5);
    });
  });
}

describe('Dense layers', () => {
  it('are applied where the graph ends before them, one after the other', async () => {
    const first = layer(12, 10, { bias: true });
    const second = layer(10, 8, {}, 2);
    const { recipe, rows } = await encode({ width: 12, files: chain(first, second) });
    expect(
      recipe.projection.map(({ inFeatures, outFeatures }) => [inFeatures, outFeatures]),
    ).toEqual([
      [12, 10],
      [10, 8],
    ]);
    expect(recipe).toMatchObject({ dim: 8, normalise: true });
    const none = (value: number): number => value;
    expectRows(rows, (row) => unit(applied(applied(row, first, none), second, none)), 12);
  });

  it('are not applied again where the graph is as narrow as the last', async () => {
    const { recipe, rows } = await encode({ width: 8, files: chain(layer(12, 8)) });
    expect(recipe.projection).toEqual([]);
    expectRows(rows, unit, 8);
  });

  it('need no weights where the graph has them', async () => {
    const files = { ...chain(layer(12, 8)), '1_Dense/model.safetensors': undefined };
    expect((await encode({ width: 8, files })).recipe.projection).toEqual([]);
  });

  it('of one width are refused: whether the graph has them cannot be told', async () => {
    await expect(encode({ files: chain(layer(8, 8)) })).rejects.toThrow('cannot be told');
  });

  const gelu = (v: number): number => (v / 2) * (1 + erf(v / Math.SQRT2));
  const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
  it.each([
    ['torch.nn.modules.activation.Tanh', Math.tanh],
    ['torch.nn.modules.activation.ReLU', (v: number) => Math.max(v, 0)],
    ['torch.nn.modules.activation.GELU', gelu],
    ['torch.nn.modules.activation.SiLU', (v: number) => v * sigmoid(v)],
    ['torch.nn.modules.activation.Sigmoid', sigmoid],
    ['torch.nn.modules.activation.LeakyReLU', (v: number) => (v < 0 ? v / 100 : v)],
    ['torch.nn.modules.activation.ELU', (v: number) => (v < 0 ? Math.expm1(v) : v)],
  ])('with %s', async (activation_function, f) => {
    const dense = layer(10, 8, { activation_function, bias: true });
    const { rows } = await encode({ width: 10, files: chain(dense) });
    expectRows(rows, (row) => unit(applied(row, dense, f)), 10);
  });

  it('add what they were given if residual, projected where the widths differ', async () => {
    const tanh = { activation_function: 'torch.nn.modules.activation.Tanh', use_residual: true };
    const first = layer(10, 10, tanh);
    const second = layer(10, 8, tanh, 3);
    const { rows } = await encode({ width: 10, files: chain(first, second) });
    expectRows(rows, (row) => unit(applied(applied(row, first, Math.tanh), second, Math.tanh)), 10);
  });

  it('of Stanford: linear.weight in the root', async () => {
    const { weight } = layer(12, 8);
    const root = safetensors({
      'bert.weight': { shape: [2], values: [1, 2] },
      'linear.weight': { shape: [8, 12], values: weight },
    });
    const files = {
      'model.safetensors': root,
      'artifact.metadata': { mask_punctuation: false, dim: 8 },
      'config_sentence_transformers.json': undefined,
    };
    const { rows } = await encode({ width: 12, files }, { documentPrefix: '' });
    expectRows(rows, (row) => unit(times(row, weight, 8)), 12);
  });

  it.each([
    ['an unknown activation', chain(layer(12, 8, { activation_function: 'my.Thing' })), 'Thing'],
    ['a width that fits neither end', chain(layer(20, 16)), 'take 20 and give 16'],
    [
      'weights in pytorch_model.bin',
      { ...chain(layer(12, 8)), '1_Dense/model.safetensors': undefined },
      'save the weights as safetensors',
    ],
  ])('refuse %s', async (_, files, words) => {
    await expect(encode({ width: 12, files })).rejects.toThrow(words);
  });
});

it('a smaller dim is cut off first and made of unit length then', async () => {
  const { rows } = await encode({ width: 16, normalised: true }, { dim: 8 });
  expectRows(rows, (row) => unit(row.slice(0, 8)), 16);
});

it('vectors are of unit length whether or not the graph makes them so, or not by hand', async () => {
  expectRows((await encode({ normalised: true })).rows, unit, 8);
  expectRows((await encode({})).rows, unit, 8);
  expectRows((await encode({}, { normalise: false })).rows, (row) => row, 8);
});

it('a graph whose width is open is run on one token to see it', async () => {
  expectRows((await encode({ open: true })).rows, unit, 8);
  const dense = layer(12, 8);
  const { rows } = await encode({ width: 12, open: true, files: chain(dense) });
  expectRows(rows, (row) => unit(times(row, dense.weight, 8)), 12);
});

it('a graph that gives float16 gives float32 to the engine', async () => {
  const { rows } = await encode({ half: true });
  rows.forEach((row, i) => {
    const wanted = unit(rowOf(IDS[i] as number, 8));
    for (const [k, value] of row.entries()) expect(value).toBeCloseTo(wanted[k] as number, 2);
  });
});

/** Abramowitz and Stegun 7.1.26 is too coarse; this is the Maclaurin series, for small arguments. */
function erf(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
