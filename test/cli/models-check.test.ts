import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { maxsim, type Outcome } from './run.js';

const LATE = 'answerai-colbert-small-v1-int8-pca96';
const CROSS = 'ms-marco-MiniLM-L-12-v2-int8';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'maxsim-models-check-'));
  vi.stubEnv('MAXSIM_CACHE', folder);
});

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

// biome-ignore lint/suspicious/noExplicitAny: fixtures are damaged in places that types would forbid
type Json = any;

/** A few texts of a model's own fixture, changed by `change`. */
function fixture(model: string, change: (fixture: Json) => void): string {
  const file = new URL(`../../models/${model}/parity.json`, import.meta.url);
  const value = JSON.parse(readFileSync(file, 'utf8')) as Json;
  if (model === CROSS) value.pairs.length = 3;
  else {
    value.queries.length = 3;
    value.documents.length = 4;
    value.configs.length = 1;
    const [config] = value.configs;
    config.query_tokens.length = 3;
    config.document_tokens.length = 4;
    config.scores = config.scores.slice(0, 3).map((row: number[]) => row.slice(0, 4));
    config.sample_embeddings = [];
  }
  change(value);
  const path = join(folder, 'parity.json');
  writeFileSync(path, JSON.stringify(value));
  return path;
}

function check(model: string, ...args: string[]): Promise<Outcome> {
  return maxsim('models', 'check', model, '--seconds', '0', ...args);
}

it.each([
  [LATE, 4],
  [CROSS, 1],
])('%s agrees with its own fixture', async (model, tokenReports) => {
  const { status, json } = await check(model, '--json');
  expect(status).toBe(0);
  const report = json() as Json;
  expect(report).toMatchObject({
    ok: true,
    name: model,
    fixture: { file: expect.stringMatching(/parity\.json$/) },
    failures: [],
    chosen: null,
    verdict: expect.stringMatching(/agrees with .+ \d\.\d\.\d; its speed was not measured/),
  });
  expect(report.tokens).toHaveLength(tokenReports);
  for (const { texts, equalIds, equalKept } of report.tokens) {
    expect([equalIds, equalKept]).toEqual([texts, texts]);
  }
  const [form] = report.forms;
  for (const { scores } of form.comparisons) {
    expect(scores.maxDifference).toBeGreaterThan(0);
    expect(scores.worst.found).not.toBe(scores.worst.expected);
  }
});

it('ids, kept tokens and scores that are others end with 1 and are named', async () => {
  const damaged = fixture(LATE, ({ configs: [config] }) => {
    config.query_tokens[2].input_ids[1] = 1234;
    config.document_tokens[3].keep = `0${config.document_tokens[3].keep.slice(1)}`;
    config.scores[1][2] += 0.5;
  });
  const { status, stdout } = await check(LATE, '--parity', damaged);
  expect(status).toBe(1);
  expect(stdout).toMatch(/number 2, .*token ids differ at position 1, where 1234 was expected/);
  expect(stdout).toMatch(/number 3, .*kept vectors differ at position 0/);
  expect(stdout).toMatch(/most for query 1 and document 2/);
  expect(stdout).toMatch(/3 differences, and nothing was chosen/);
});

it('token types and logits that are others end with 1 and are named', async () => {
  const damaged = fixture(CROSS, ({ pairs }) => {
    pairs[1].token_type_ids = `1${pairs[1].token_type_ids.slice(1)}`;
    pairs[2].logit -= 3;
  });
  const { status, stdout } = await check(CROSS, '--parity', damaged);
  expect(status).toBe(1);
  expect(stdout).toMatch(/number 1, .*token types differ at position 0/);
  expect(stdout).toMatch(/most for pair 2/);
});

it.each<[string, string, (fixture: Json) => void, RegExp]>([
  [
    'without scores',
    LATE,
    ({ configs: [config] }) => {
      config.scores = undefined;
    },
    /configs\[0\]\.scores must be a list of 3, but is undefined/,
  ],
  ['of the other kind', CROSS, () => {}, /is of a cross-encoder model, but/],
])('a fixture %s is refused in words', async (_, model, change, named) => {
  const { status, stderr } = await check(LATE, '--parity', fixture(model, change), '--json');
  expect(status).toBe(1);
  const { error } = JSON.parse(stderr) as { error: { code: string; message: string } };
  expect(error.code).toBe('INVALID_SOURCE');
  expect(error.message).toMatch(named);
});
