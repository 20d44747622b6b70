import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Engine, Index, MaxSimError, type ModelOptions, openEncoder } from '../../dist/maxsim.js';

/** A model of a few kilobytes, whose vectors may be cut. */
const tiny = fileURLToPath(new URL('../golden/encoders/xlmr', import.meta.url));

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-model-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function make(name: string, model: ModelOptions): Promise<string> {
  const directory = join(root, name);
  await using engine = await Engine.open(directory, { model });
  await engine.add([{ id: 'laptop', text: 'A stolen laptop must be reported.' }]);
  return directory;
}

it('an index is opened with the model it was made with, read as it was then', async () => {
  const options: ModelOptions = { model: tiny, dim: 8, documentLength: 40, queryLength: 20 };
  const directory = await make('remembered', options);
  await using engine = await Engine.open(directory);
  expect(engine.encoder.dim).toBe(8);
  expect(engine.encoder.recipe).toMatchObject({ model: tiny, documentLength: 40, queryLength: 20 });
  expect((await engine.search('stolen')).hits[0]?.id).toBe('laptop');
});

it('what is not said again is as it was; what is said must be the same', async () => {
  const directory = await make('said-again', { model: tiny, dim: 8, documentLength: 40 });
  await using engine = await Engine.open(directory, {
    model: { model: tiny, dim: 8 },
    mode: 'read',
  });
  expect(engine.encoder.recipe).toMatchObject({ documentLength: 40 });
  const attempt = Engine.open(directory, { model: { documentLength: 50 }, mode: 'read' });
  await expect(attempt).rejects.toMatchObject({
    code: 'MODEL_MISMATCH',
    message: expect.stringMatching(/documentLength.*40.*50/),
  });
});

it('a model that has moved is named, and found again by its folder', async () => {
  const before = join(root, 'models', 'tiny');
  await cp(tiny, before, { recursive: true });
  const directory = await make('moved', { model: before, dim: 8 });
  const after = join(root, 'elsewhere', 'tiny');
  await cp(before, after, { recursive: true });
  await rm(before, { recursive: true });
  await expect(Engine.open(directory, { mode: 'read' })).rejects.toMatchObject({
    code: 'MODEL_NOT_FOUND',
    message: expect.stringContaining(before),
  });
  await using engine = await Engine.open(directory, { mode: 'read', model: after });
  expect(engine.encoder.dim).toBe(8);
});

it('an index of before recipes spoke of special tokens is read as it was', async () => {
  // As a release without the option has written it.
  const { recipe, dim } = await openEncoder({ model: tiny, specialTokens: 'as-written' });
  await using encoder = await openEncoder({ model: tiny, specialTokens: 'as-written' });
  const { specialTokens: _, options: __, ...before } = recipe;
  const directory = join(root, 'before');
  await using index = await Index.open(directory, {
    dim,
    encoder: { fingerprint: encoder.fingerprint, recipe: before },
  });
  await index.close();
  await using engine = await Engine.open(directory);
  expect(engine.encoder.recipe['specialTokens']).toBe('as-written');
});

it('text that looks like a marker or a special token is text', async () => {
  await using encoder = await openEncoder(tiny);
  const tokens = async (text: string) =>
    (await encoder.explainTokens(text, 'document')).map(({ token }) => token).slice(2, -1);
  expect(await tokens('a')).toHaveLength(1);
  for (const text of ['<s>', '</s>', '<mask>', '[DocumentMarker]', '[QueryMarker]'])
    expect(await tokens(text), text).not.toContain(text);
  await using reference = await openEncoder({ model: tiny, specialTokens: 'as-written' });
  const read = (await reference.explainTokens('<mask>', 'document')).map(({ token }) => token);
  expect(read).toContain('<mask>');
});

it('an encoder without an index encodes, and is closed', async () => {
  const encoder = await openEncoder({ model: tiny, dim: 8 }, { threads: 1 });
  const [encoded] = await encoder.encodeQueries(['stolen laptop']);
  expect(encoded?.vectors).toHaveLength((encoded?.tokenCount as number) * 8);
  await encoder.close();
  await expect(encoder.encodeQueries(['again'])).rejects.toMatchObject({ code: 'CLOSED' });
});

it.each<[string, unknown]>([
  ['an option that is none', { model: tiny, dims: 8 }],
  ['more dims than there are', { model: tiny, dim: 512 }],
  ['a length beyond the positions', { model: tiny, documentLength: 4000 }],
  ['a strategy that is none', { model: tiny, longDocuments: 'windows' }],
  ['an overlap as long as the window', { model: tiny, longDocuments: 'split', windowOverlap: 64 }],
  ['pooling by less than 1', { model: tiny, poolFactor: 0.5 }],
])('%s: INVALID_ARGUMENT', async (_, model) => {
  const error = await openEncoder(model as ModelOptions).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(MaxSimError);
  expect((error as MaxSimError).code).toBe('INVALID_ARGUMENT');
});
