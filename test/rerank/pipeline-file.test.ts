import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadPipeline, MaxSimError, pipelineFrom } from '../../dist/maxsim.js';

const schema = JSON.parse(
  readFileSync(new URL('../../docs/pipeline.schema.json', import.meta.url), 'utf8'),
);
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(schema);

const fingerprint = { model: 'm', quantisation: 'int8', maxLength: 512, corpus: 'c' };
const floor = { version: 1, kind: 'floor', fingerprint, floor: -3, alpha: 0.05, queries: 40 };
const gate = {
  version: 1,
  kind: 'gate',
  fingerprint,
  weights: [1, 2, 3, 4],
  intercept: 0,
  threshold: 0.9,
  queries: 40,
};
const late = { kind: 'late-interaction', keep: 20 };
const cross = { kind: 'cross-encoder', topK: 5 };
const service = { kind: 'service', provider: 'tei', url: 'http://127.0.0.1:1' };
const llm = { kind: 'llm', model: 'm', url: 'http://127.0.0.1:1' };

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-pipeline-file-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function write(name: string, value: unknown): Promise<string> {
  const file = join(root, name);
  await writeFile(file, typeof value === 'string' ? value : JSON.stringify(value));
  return file;
}

it('reads every kind of stage, and what stands beside them', () => {
  const file = {
    $schema: 'docs/pipeline.schema.json',
    stages: [
      late,
      { ...cross, model: 'default', budgetMs: 100, fuse: { method: 'reciprocal-rank', k: 10 } },
      { ...service, attempts: 1, keep: 5, resilience: { failures: 3, hedge: { share: 0.1 } } },
      { ...llm, mode: 'listwise', explain: true, allowShortBudget: true, topK: 3 },
    ],
    ...{ deadlineMs: 250, strict: true, shadowShare: 0, gate, floor: [floor] },
  };
  expect(isValid(file), JSON.stringify(isValid.errors)).toBe(true);
  const { stages, topK, deadlineMs, strict, floors } = pipelineFrom(file);
  expect(stages.map(({ kind, keep }) => [kind, keep])).toEqual([
    ['late-interaction', 20],
    ['cross-encoder', null],
    ['reranker', 5],
    ['reranker', null],
  ]);
  expect([topK, deadlineMs, strict, floors[0]?.value]).toEqual([3, 250, true, -3]);
});

it.each<[string, unknown, RegExp]>([
  ['no stages', {}, /pipeline\.stages must be an array/],
  ['an empty list', { stages: [] }, /one stage or more/],
  ['an unknown kind', { stages: [{ kind: 'magic' }] }, /^stages\[0\]: kind must be one of/],
  ['an unknown option', { stages: [late], depth: 3 }, /has no option "depth"/],
  ['an unknown option of a stage', { stages: [{ ...late, top: 1 }] }, /^stages\[0\]: .* "top"/],
  ['a wrong value', { stages: [late, { ...cross, topK: 0 }] }, /^stages\[1\]: .*topK must be/],
  ['a key', { stages: [{ ...service, apiKey: 'secret' }] }, /stages\[0\] must not hold apiKey/],
  ['an unknown provider', { stages: [{ ...service, provider: 'x' }] }, /provider must be one of/],
  ['a chat model without a name', { stages: [{ kind: 'llm' }] }, /model must be/],
  [
    'weights for nothing',
    { stages: [late, { ...cross, fuse: { method: 'weighted' } }] },
    /fuse\.weights must be/,
  ],
  ['a deadline that is no number', { stages: [late], deadlineMs: '1s' }, /deadlineMs must be/],
])('refuses %s, as the schema does', (_, file, message) => {
  expect(isValid(file)).toBe(false);
  expect(() => pipelineFrom(file)).toThrow(MaxSimError);
  expect(() => pipelineFrom(file)).toThrow(message);
});

it('the example of docs/rerank.md is one', () => {
  const text = readFileSync(new URL('../../docs/rerank.md', import.meta.url), 'utf8');
  const [, example] = text.match(/```json\n(\{\n {2}"stages"[^`]*)```/) ?? [];
  const file = JSON.parse(example ?? 'null');
  expect(isValid(file), JSON.stringify(isValid.errors)).toBe(true);
  const [late, cross, service] = file.stages;
  const here = { ...service, url: 'http://127.0.0.1:1' }; // without a key
  const { gate: _, floor: __, ...rest } = file;
  expect(pipelineFrom({ ...rest, stages: [late, cross, here] }).topK).toBe(5);
});

it('finds calibrations beside the file, and names the file in what it refuses', async () => {
  await write('floor.json', floor);
  const file = await write('pipeline.json', { stages: [late, cross], floor: 'floor.json' });
  expect((await loadPipeline(file)).floors[0]?.toJSON()).toEqual(floor);
  const failure = async (path: string): Promise<MaxSimError> =>
    await loadPipeline(path).then(
      () => expect.fail('it was read'),
      (error) => error,
    );
  expect(await failure(join(root, 'none.json'))).toMatchObject({ code: 'INVALID_SOURCE' });
  expect(await failure(await write('broken.json', '{'))).toMatchObject({
    code: 'INVALID_SOURCE',
    message: expect.stringContaining('broken.json is not JSON'),
  });
  const missing = await write('missing.json', { stages: [late], floor: 'no-floor.json' });
  expect((await failure(missing)).message).toContain('no-floor.json cannot be read');
  const wrong = await write('wrong.json', { stages: [{ ...late, keep: -1 }] });
  expect(await failure(wrong)).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(/wrong\.json: stages\[0\]: lateInteraction\.keep must be/),
    details: { file: wrong },
  });
  const older = await write('older.json', { stages: [late], floor: { ...floor, version: 0 } });
  expect(await failure(older)).toMatchObject({ code: 'UNSUPPORTED_FORMAT' });
});
