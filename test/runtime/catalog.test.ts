import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MaxSimError } from '../../dist/errors.js';
import {
  catalogEntries,
  catalogEntry,
  isNonCommercial,
  locateModel,
  modelsHere,
  nearestNames,
  pulledFolder,
} from '../../dist/runtime/catalog.js';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-catalog-'));
  vi.stubEnv('MAXSIM_CACHE', join(root, 'cache'));
  vi.stubEnv('MAXSIM_MODELS', join(root, 'own'));
  return () => rm(root, { recursive: true, force: true });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

async function put(folder: string, ...files: string[]): Promise<string> {
  for (const file of files) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    await writeFile(join(folder, file), '{}');
  }
  return folder;
}

function refusal(attempt: () => unknown): MaxSimError {
  try {
    attempt();
  } catch (error) {
    return error as MaxSimError;
  }
  throw new Error('nothing was thrown');
}

describe('every entry of the catalog', () => {
  const entries = catalogEntries().map((entry) => [entry.name, entry] as const);

  it.each(entries)('%s is well formed', (name, entry) => {
    expect(name).toMatch(/^[\w.-]+$/);
    if (entry.id === null) expect(Object.keys(entry.files)).toContain('model.onnx');
    else {
      expect(entry.id).toMatch(/^[\w.-]+\/[\w.-]+$/);
      expect(entry.id.split('/')[1]).toBe(name);
      // No commit was verified: a branch says that it may move.
      expect(entry.revision).toMatch(/^(main|[0-9a-f]{40})$/);
    }
    expect(['Apache-2.0', 'MIT', 'CC-BY-NC-4.0']).toContain(entry.license);
    expect(entry.nonCommercial).toBe(isNonCommercial(entry.license));
    expect(entry.languages.length).toBeGreaterThan(0);
    if (entry.kind === 'cross-encoder') expect(entry.dims).toBeUndefined();
    else expect(entry.dims?.every((dim) => Number.isInteger(dim) && dim > 0)).toBe(true);
    for (const { measure, value, source } of entry.quality) {
      expect(measure).toMatch(/@10/);
      expect(value > 0 && value < 1).toBe(true);
      expect(source).not.toBe('');
    }
    for (const { sizeBytes, sha256 } of Object.values(entry.files)) {
      expect(sizeBytes).toBeGreaterThan(0);
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it('has a name and an id of its own', () => {
    const names = catalogEntries().flatMap(({ name, id }) => (id === null ? [name] : [name, id]));
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(names.length);
  });
});

it.each([
  ['bge-reranker-large-v2', 'bge-reranker-large'],
  ['BAAI/bge-reranker-base-v2', 'bge-reranker-base'],
  ['anwserai-colbert-small', 'answerai-colbert-small-v1'],
  ['colbertv2', 'colbertv2.0'],
  ['ettin-reranker-17m', 'ettin-reranker-17m-v1'],
])('%s is no name: did you mean %s?', (wrong, right) => {
  expect(catalogEntry(wrong)).toBeUndefined();
  expect(nearestNames(wrong)[0]).toBe(right);
});

it('names that are like no other have no nearest ones', () => {
  expect(nearestNames('zzz')).toEqual([]);
});

it('a model is found by name and by id, in own folders before the cache', async () => {
  const cached = await put(
    pulledFolder('lightonai/LateOn'),
    'tokenizer.json',
    'onnx/model_int8.onnx',
  );
  expect(locateModel('LateOn', 'late-interaction').directory).toBe(cached);
  expect(locateModel('lightonai/LateOn', 'late-interaction').directory).toBe(cached);
  const own = await put(join(root, 'own/lightonai/LateOn'), 'tokenizer.json', 'model.onnx');
  expect(locateModel('LateOn', 'late-interaction').directory).toBe(own);
  expect(modelsHere()).toEqual([
    { name: 'lightonai/LateOn', directory: own },
    { name: 'lightonai/LateOn', directory: cached },
  ]);
});

it('a folder without a graph or without a tokenizer is no model', async () => {
  await put(join(root, 'own/LateOn'), 'tokenizer.json', 'onnx/README.md');
  await put(pulledFolder('lightonai/LateOn'), 'onnx/model.onnx');
  await put(`${pulledFolder('lightonai/LateOn')}.partial`, 'tokenizer.json', 'model.onnx');
  const error = refusal(() => locateModel('LateOn', 'late-interaction'));
  expect(error.code).toBe('MODEL_NOT_FOUND');
  expect(error.message).toContain('"maxsim models pull LateOn"');
  expect(error.message).toContain(join(root, 'own', 'LateOn'));
  expect(error.message).toContain(pulledFolder('lightonai/LateOn'));
  expect(modelsHere()).toEqual([]);
});

it('a licence that forbids commercial use is asked for, wherever the weights lie', async () => {
  await put(join(root, 'own/jina-colbert-v2'), 'tokenizer.json', 'model.onnx');
  const error = refusal(() => locateModel('jina-colbert-v2', 'late-interaction'));
  expect(error.code).toBe('LICENSE_REFUSED');
  expect(error.message).toContain('allowNonCommercial');
  locateModel('jina-colbert-v2', 'late-interaction', { allowNonCommercial: true });
});

it('what a pulled folder says of its licence has to be readable', async () => {
  const folder = await put(pulledFolder('some/model'), 'tokenizer.json', 'model.onnx');
  await writeFile(join(folder, 'maxsim-model.json'), '{"license": "cc-by-nc-4.0"}');
  expect(refusal(() => locateModel(folder, 'late-interaction')).code).toBe('LICENSE_REFUSED');
  await writeFile(join(folder, 'maxsim-model.json'), '{"license":');
  expect(refusal(() => locateModel('some/model', 'late-interaction')).code).toBe('INVALID_MODEL');
});

it('a model of another kind is refused', () => {
  const error = refusal(() => locateModel('bge-reranker-base', 'late-interaction'));
  expect(error.code).toBe('INVALID_MODEL');
});
