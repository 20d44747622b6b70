import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { fastestOf, type GraphSpeed } from '../../dist/evaluate/graph-speed.js';
import { checkModel, type ModelCheck, threadCounts } from '../../dist/evaluate/model-check.js';
import { compareScores, compareTokens, compareVectors } from '../../dist/evaluate/parity.js';
import { Engine } from '../../dist/maxsim.js';
import { choiceFile, readChoice, recordChoice } from '../../dist/runtime/choice.js';

const golden = (path: string): string =>
  fileURLToPath(new URL(`../golden/${path}`, import.meta.url));

/** A tiny model in five forms, and a file that is none. */
let folder: string;
let model: string;
let check: ModelCheck;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'maxsim-check-'));
  vi.stubEnv('MAXSIM_CACHE', join(folder, 'cache'));
  model = join(folder, 'model');
  cpSync(golden('encoders/pylate-bert'), model, { recursive: true });
  mkdirSync(join(model, 'onnx'));
  cpSync(golden('forms'), join(model, 'onnx'), { recursive: true });
  writeFileSync(join(model, 'onnx', 'broken.onnx'), 'no graph');
  check = await checkModel(model, { seconds: 0.1, record: true });
});

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

it('names every form by its operators', () => {
  expect(check.forms.map(({ file, kind }) => [file, kind])).toEqual([
    ['model.onnx', 'float32'],
    ['onnx/broken.onnx', 'unreadable'],
    ['onnx/model_fp16.onnx', 'float16'],
    ['onnx/model_int8.onnx', 'int8 dynamic'],
    ['onnx/model_q4.onnx', 'MatMulNBits'],
    ['onnx/model_qdq.onnx', 'int8 QDQ'],
  ]);
});

it('compares forms with float32, and measures and chooses only what keeps parity', () => {
  expect(check).toMatchObject({ ok: true, fixture: null, against: 'model.onnx', failures: [] });
  const form = (name: string): ModelCheck['forms'][number] =>
    check.forms.find(({ file }) => file.includes(name)) as ModelCheck['forms'][number];
  expect(form('fp16')).toMatchObject({ keepsParity: true, failures: [] });
  expect(form('fp16').comparisons?.[0]?.cosines?.min).toBeGreaterThan(0.999);
  expect(form('q4')).toMatchObject({ keepsParity: false, speed: null });
  expect(form('q4').failures[0]).toMatch(
    /^scores differ from model\.onnx by 0\.\d+ per query vector/,
  );
  expect(form('broken')).toMatchObject({ keepsParity: false, comparisons: null, speed: null });
  expect(form('broken').failures[0]).toContain('is no ONNX file');
  for (const { keepsParity, speed } of check.forms) expect(speed !== null).toBe(keepsParity);
  const chosen = check.forms.find(({ file }) => file === check.chosen?.file);
  expect(chosen?.keepsParity).toBe(true);
  expect(check.optimisations.map(({ optimisation }) => optimisation)).toEqual([
    'all',
    'extended',
    'basic',
  ]);
  expect(check.threads).toContainEqual(
    expect.objectContaining({ intraThreads: check.chosen?.intraThreads }),
  );
});

it('a form that nothing else can do better is kept to a tolerance given by hand', async () => {
  const strict = await checkModel(model, { seconds: 0.1, record: false, tolerance: 1e-6 });
  expect(strict.forms.filter(({ keepsParity }) => keepsParity)).toHaveLength(1);
  expect(strict.chosen?.file).toBe('model.onnx');
  expect(strict.recorded).toBe(false);
});

it('records the choice, and a model loads by it until a file is named', async () => {
  expect(await readChoice(model)).toEqual(check.chosen);
  const choice = {
    file: 'onnx/model_fp16.onnx',
    optimisation: 'basic',
    intraThreads: 1,
    workers: 1,
  } as const;
  await recordChoice(model, choice);
  expect(await readChoice(model)).toEqual(choice);
  const loaded = await loadRecipe(model);
  expect(loaded.recipe.file).toBe('onnx/model_fp16.onnx');
  expect(loaded).toMatchObject({ choice, graph: { optimisation: 'basic' } });
  const named = await loadRecipe({ model, file: 'model.onnx' });
  expect(named).toMatchObject({ choice: null, graph: { optimisation: 'all' } });
});

it('a choice is for new indexes: one that exists stays with the graph that made it', async () => {
  const choose = (file: string): Promise<void> =>
    recordChoice(model, { file, optimisation: 'all', intraThreads: 1, workers: 1 });
  const directory = join(folder, 'index');
  await choose('onnx/model_qdq.onnx');
  {
    await using engine = await Engine.open(directory, { model });
    await engine.add([{ id: 'a', text: 'Who approves travel?' }]);
    expect(engine.encoder.recipe).toMatchObject({ file: 'onnx/model_qdq.onnx' });
  }
  await choose('onnx/model_fp16.onnx');
  await using engine = await Engine.open(directory, { model, mode: 'read' });
  expect(engine.encoder.recipe).toMatchObject({ file: 'onnx/model_qdq.onnx' });
  expect((await loadRecipe(model)).recipe.file).toBe('onnx/model_fp16.onnx');
});

it('an engine has the threads that were measured, unless a number is given', async () => {
  const file = 'model.onnx';
  await recordChoice(model, { file, optimisation: 'all', intraThreads: 2, workers: 3 });
  const threadsOf = async (threads?: number): Promise<unknown> => {
    const options = { model, ...(threads === undefined ? {} : { threads }) };
    await using engine = await Engine.open(join(folder, `threads-${threads}`), options);
    await engine.add([{ id: 'a', text: 'Who approves travel?' }]);
    return Reflect.get(engine, 'pool');
  };
  expect(await threadsOf()).toMatchObject({ threadCount: 3, threadsPerRun: 2 });
  expect(await threadsOf(1)).toMatchObject({ threadCount: 1, threadsPerRun: null });
});

it.each<[string, (text: string) => string]>([
  ['no JSON', (text) => text.slice(0, -5)],
  ['of another shape', () => '{"file": "model.onnx"}'],
  ['from another machine', (text) => text.replace(/"cpu": "/g, '"cpu": "Other ')],
  ['from another onnxruntime', (text) => text.replace(/"onnxruntime": "/g, '"onnxruntime": "0.')],
  ['for another graph', (text) => text.replace(/"sha256": "./g, '"sha256": "x')],
  ['with threads nobody has', (text) => text.replace(/"intraThreads": \d+/g, '"intraThreads": 0')],
  ['of a file elsewhere', (text) => text.replace(/"file": "/g, '"file": "../')],
])('a choice that is %s counts for nothing', async (_, damage) => {
  const good = readFileSync(choiceFile(), 'utf8');
  expect(await readChoice(model)).not.toBeNull();
  try {
    writeFileSync(choiceFile(), damage(good));
    expect(await readChoice(model)).toBeNull();
    expect((await loadRecipe(model)).recipe.file).toBe('model.onnx');
  } finally {
    writeFileSync(choiceFile(), good);
  }
});

it('a choice ends when a file of the model is another', async () => {
  const copy = join(folder, 'copy');
  cpSync(model, copy, { recursive: true });
  expect(await readChoice(copy)).not.toBeNull();
  appendFileSync(join(copy, 'model.onnx'), 'more');
  expect(await readChoice(copy)).toBeNull();
});

const speed = (shortMedianMs: number, longPerSecond: number): { speed: GraphSpeed } => ({
  speed: { runs: 9, shortMedianMs, shortP99Ms: shortMedianMs, longPerSecond },
});

it('the usual stays unless another is faster by more than chance', () => {
  const usual = speed(10, 10);
  const hardly = speed(9.8, 10.3);
  const faster = speed(6, 11);
  const latencyOnly = speed(9, 5);
  expect(fastestOf([usual, hardly, latencyOnly])).toBe(usual);
  expect(fastestOf([usual, hardly, faster])).toBe(faster);
});

it('thread counts never ask for more cores than there are', () => {
  expect(threadCounts(1)).toEqual([{ workers: 1, intraThreads: 1 }]);
  expect(threadCounts(6)).toEqual([
    { workers: 6, intraThreads: 1 },
    { workers: 3, intraThreads: 2 },
    { workers: 1, intraThreads: 4 },
    { workers: 1, intraThreads: 6 },
  ]);
});

it('finds the first token that differs, and counts texts', () => {
  const expected = [
    { ids: [1, 2, 3], kept: [0, 1, 2] },
    { ids: [1, 5], kept: [0] },
  ];
  const found = [
    { ids: [1, 2, 3], kept: [0, 1, 2] },
    { ids: [1, 5, 6], kept: [0, 1] },
  ];
  expect(compareTokens('document', expected, found)).toEqual({
    kind: 'document',
    texts: 2,
    equalIds: 1,
    equalKept: 1,
    first: { what: 'token ids', text: 1, position: 2, expected: null, found: 6 },
  });
});

it('a score that is no number is the largest difference', () => {
  const scores = compareScores(
    [
      [1, 2],
      [3, 4],
    ],
    [
      [1, 2.5],
      [Number.NaN, 4],
    ],
    [2, 2],
  );
  expect(scores).toMatchObject({ maxDifference: Number.NaN, maxPerQueryVector: Number.NaN });
  expect(scores.worst).toMatchObject({ query: 1, document: 0 });
  expect(compareScores([[1, 2]], [[1, 2.5]], [5])).toMatchObject({
    maxDifference: 0.5,
    maxPerQueryVector: 0.1,
    meanDifference: 0.25,
    sameBest: 1,
    worst: { query: 0, document: 1, expected: 2, found: 2.5 },
  });
  expect(
    compareVectors(
      [
        [
          [1, 0],
          [Number.NaN, 0],
        ],
      ],
      2,
    ).min,
  ).toBeNaN();
});
