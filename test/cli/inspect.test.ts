import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { maxsim } from './run.js';

let root: string;
let directory: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-inspect-'));
  directory = join(root, 'index');
  await using index = await Index.open(directory, {
    dim: 16,
    encoder: { fingerprint: 'abc', recipe: { model: 'made-up', queryLength: 32 } },
  });
  const vectors = new Float32Array(3 * 16).fill(0.25);
  await index.add([
    { id: 'one', vectors, text: 'The first\ntext.\u001b[31m', payload: { year: 2025 } },
    { id: 'two', vectors },
  ]);
  await index.delete(['two']);
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('inspect shows what an index holds', async () => {
  const report = (await maxsim('inspect', directory, '--json')).json();
  expect(report).toMatchObject({
    generation: 2,
    documents: 1,
    deadDocuments: 1,
    tokens: 3,
    dim: 16,
    codec: { name: 'int8' },
    encoder: { fingerprint: 'abc', recipe: { model: 'made-up' } },
    bytes: { tokens: expect.any(Number), records: expect.any(Number) },
  });
  expect(report['segments']).toHaveLength(1);
  expect(report['bytesPerToken']).toBeGreaterThanOrEqual(16);
  const { status, stdout } = await maxsim('inspect', directory);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^documents +1 \(1 dead\)$/m);
  expect(stdout).toMatch(/^model +made-up$/m);
  expect(stdout).toMatch(/^queryLength +32$/m);
  expect(stdout).toMatch(/^token vectors .*%$/m);
  expect(stdout).toMatch(/^segment +documents +dead +tokens +size$/m);
});

it('inspect --id prints one document, without control characters', async () => {
  const document = (await maxsim('inspect', directory, '--id', 'one', '--json')).json();
  expect(document).toMatchObject({
    id: 'one',
    text: 'The first\ntext.\u001b[31m',
    payload: { year: 2025 },
    tokenCount: 3,
  });
  const { stdout } = await maxsim('inspect', directory, '--id', 'one');
  expect(stdout).toContain('The first\ntext.');
  expect(stdout).toContain('{"year":2025}');
  expect(stdout).not.toContain('\u001b');
});

it('inspect --id names an id that is not there', async () => {
  const { status, stderr } = await maxsim('inspect', directory, '--id', 'two');
  expect(status).toBe(1);
  expect(stderr).toBe('error UNKNOWN_ID: The index holds no document "two".\n');
});
