import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CrossEncoder } from '../../dist/rerank/cross-encoder.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { idOf, removeModels, rowOf, safetensors, tinyModel } from '../encode/tiny-model.js';

const WIDTH = 8;
const HIDDEN = 4;
const some = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.cos(seed + 2 * i));

const FIRST = { weight: some(HIDDEN * WIDTH, 1), bias: some(HIDDEN, 2) };
const NORM = { weight: some(HIDDEN, 3), bias: some(HIDDEN, 4) };
const LAST = { weight: some(HIDDEN, 5), bias: [0.25] };

const module = (name: string, path: string) => ({
  type: `sentence_transformers.base.${name}`,
  path,
});
const MODULES = [
  module('modules.transformer.Transformer', ''),
  module('modules.pooling.Pooling', '1_Pooling'),
  module('modules.dense.Dense', '2_Dense'),
  module('modules.layer_norm.LayerNorm', '3_LayerNorm'),
  module('modules.dense.Dense', '4_Dense'),
];

const FILES = {
  'modules.json': MODULES,
  '1_Pooling/config.json': { pooling_mode_cls_token: true },
  '2_Dense/config.json': {
    ...{ in_features: WIDTH, out_features: HIDDEN, bias: true },
    activation_function: 'torch.nn.modules.activation.Tanh',
  },
  '2_Dense/model.safetensors': safetensors({
    'linear.weight': { shape: [HIDDEN, WIDTH], values: FIRST.weight },
    'linear.bias': { shape: [HIDDEN], values: FIRST.bias },
  }),
  '3_LayerNorm/config.json': { dimension: HIDDEN },
  '3_LayerNorm/model.safetensors': safetensors({
    'norm.weight': { shape: [HIDDEN], values: NORM.weight },
    'norm.bias': { shape: [HIDDEN], values: NORM.bias },
  }),
  '4_Dense/config.json': {
    ...{ in_features: HIDDEN, out_features: 1, bias: true },
    activation_function: 'torch.nn.modules.linear.Identity',
  },
  '4_Dense/model.safetensors': safetensors({
    'linear.weight': { shape: [1, HIDDEN], values: LAST.weight },
    'linear.bias': { shape: [1], values: LAST.bias },
  }),
};

let pool: WorkerPool;

beforeAll(() => {
  pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
});

afterAll(async () => {
  await pool.close();
  removeModels();
});

/** The layers in double precision, over the row of [CLS]. */
function logit(): number {
  const x = rowOf(idOf('[CLS]'), WIDTH);
  const hidden = FIRST.bias.map((bias, row) =>
    Math.tanh(
      x.reduce((sum, value, i) => sum + value * (FIRST.weight[row * WIDTH + i] ?? 0), bias),
    ),
  );
  const mean = hidden.reduce((a, b) => a + b) / HIDDEN;
  const variance = hidden.reduce((sum, value) => sum + (value - mean) ** 2, 0) / HIDDEN;
  const scale = 1 / Math.sqrt(variance + 1e-5);
  const normed = hidden.map(
    (value, i) => (value - mean) * scale * (NORM.weight[i] ?? 0) + (NORM.bias[i] ?? 0),
  );
  return normed.reduce((sum, value, i) => sum + value * (LAST.weight[i] ?? 0), LAST.bias[0] ?? 0);
}

const open = (files: Record<string, unknown>) =>
  CrossEncoder.open(tinyModel({ width: WIDTH, files: { ...FILES, ...files } }), pool);

it('a cross-encoder of modules gives the logit that its layers make of [CLS]', async () => {
  const model = await open({});
  const scores = await model.score('one two', ['three', 'one, two and three', '']);
  expect(scores).toHaveLength(3);
  for (const score of scores) expect(score).toBeCloseTo(logit(), 5);
});

it('layers are part of what scores depend on', async () => {
  const other = safetensors({
    'norm.weight': { shape: [HIDDEN], values: some(HIDDEN, 6) },
    'norm.bias': { shape: [HIDDEN], values: NORM.bias },
  });
  const one = await (await open({})).identify();
  const two = await (await open({ '3_LayerNorm/model.safetensors': other })).identify();
  expect(one.model).not.toBe(two.model);
  expect(one).toMatchObject({ quantisation: 'model.onnx', maxLength: 512 });
});

describe('INVALID_MODEL, in words', () => {
  it.each<[string, Record<string, unknown>, RegExp]>([
    ['a mean of tokens', { '1_Pooling/config.json': { pooling_mode: 'mean' } }, /by its \[CLS\]/],
    ['two logits', { 'modules.json': MODULES.slice(0, 3) }, /must end in one logit, but ends in 4/],
    [
      'a module nobody knows',
      { 'modules.json': [...MODULES, module('LogitScore', '')] },
      /the module .*LogitScore is not supported/,
    ],
    ['a layer norm of no dimension', { '3_LayerNorm/config.json': {} }, /must give the dimension/],
  ])('for %s', async (_, files, message) => {
    await expect(open(files)).rejects.toMatchObject({
      ...{ code: 'INVALID_MODEL', message: expect.stringMatching(message) },
    });
  });
});
