import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { random, unitVectors } from '../../bench/stats.mjs';
import { Index } from '../../dist/maxsim.js';
import { maxsim, outcome, start } from './run.js';

const SAMPLE = fileURLToPath(new URL('../exchange/samples/frozen/pylate/index', import.meta.url));
const DIM = 32;

let root: string;
let directory: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-exchange-'));
  directory = join(root, 'index');
  const next = random(1);
  const index = await Index.open(directory, { dim: DIM });
  await index.add(
    Array.from({ length: 120 }, (_, i) => ({
      id: `d${i}`,
      vectors: unitVectors(60, DIM, next),
      text: `passage ${i}`,
      payload: { n: i },
    })),
  );
  await index.close();
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('an index goes out and comes back with every score', async () => {
  for (const format of ['jsonl', 'safetensors']) {
    const path = join(root, `out.${format}`);
    const written = await maxsim('export', directory, path, '--json');
    expect(written.status).toBe(0);
    expect(written.json()).toMatchObject({ format, documents: 120, tokens: 7200 });
    const copy = join(root, `copy-${format}`);
    const read = await maxsim('import', copy, path, '--json');
    expect(read.status).toBe(0);
    expect(read.json()).toMatchObject({ format, added: 120, index: { documents: 120 } });
    await using left = await Index.open(directory, { mode: 'read' });
    await using right = await Index.open(copy, { mode: 'read' });
    expect(right.codec).toEqual(left.codec);
    const query = unitVectors(8, DIM, random(2));
    const ids = Array.from({ length: 120 }, (_, i) => `d${i}`);
    expect(right.score(query, ids)).toEqual(left.score(query, ids));
    expect(right.get('d7')).toEqual(left.get('d7'));
    const again = await maxsim('export', directory, path);
    expect(again.status).toBe(1);
    expect(again.stderr).toContain('INVALID_ARGUMENT');
    expect((await maxsim('export', directory, path, '--overwrite')).stdout).toMatch(
      /documents +120/,
    );
  }
});

it('a corpus goes out, for another model to encode', async () => {
  const path = join(root, 'corpus.jsonl');
  expect((await maxsim('export', directory, path, '--no-vectors')).status).toBe(0);
  const [first] = readFileSync(path, 'utf8').split('\n');
  expect(JSON.parse(first as string)).toEqual({ id: 'd0', text: 'passage 0', metadata: { n: 0 } });
});

it('a PLAID index comes in, in any codec', async () => {
  const copy = join(root, 'plaid');
  const read = await maxsim('import', copy, SAMPLE);
  expect(read.status).toBe(0);
  expect(read.stdout).toMatch(/source +fast-plaid index, 4 bits/);
  const shown = (await maxsim('inspect', copy, '--json')).json();
  expect(shown).toMatchObject({ documents: 30, dim: 16, codec: { name: 'int8' } });
  const resumed = await maxsim('import', copy, SAMPLE, '--resume', '--json');
  expect(resumed.json()).toMatchObject({ added: 0, replaced: 0, unchanged: 30 });
  expect((await maxsim('import', copy, SAMPLE, '--codec', 'f16')).stderr).toContain(
    'MODEL_MISMATCH',
  );
});

it('a residual codec learns from all that came in', async () => {
  const copy = join(root, 'residual');
  const read = await maxsim('import', copy, join(root, 'out.jsonl'), '--codec', 'r4', '--json');
  expect(read.status).toBe(0);
  expect((await maxsim('inspect', copy, '--json')).json()).toMatchObject({
    documents: 120,
    codec: { name: 'r4' },
  });
});

it('what cannot be read is named, and leaves no index behind', async () => {
  const bad = join(root, 'bad.bin');
  writeFileSync(bad, 'something else');
  const copy = join(root, 'none');
  const read = await maxsim('import', copy, bad, '--json');
  expect(read.status).toBe(1);
  expect(JSON.parse(read.stderr).error).toMatchObject({ code: 'INVALID_SOURCE' });
  expect((await maxsim('import', copy, SAMPLE, '--dim', '32')).stderr).toContain('MODEL_MISMATCH');
  expect(existsSync(copy)).toBe(false);
  expect((await maxsim('export', join(root, 'nowhere'), join(root, 'x.jsonl'))).stderr).toContain(
    'NOT_AN_INDEX',
  );
  expect((await maxsim('export', directory, join(root, 'x'), '--format', 'csv')).status).toBe(2);
});

it('an interrupted import keeps what it committed, and goes on', async () => {
  const path = join(root, 'many.jsonl');
  const vectors = (i: number): number[][] => [Array.from({ length: 8 }, (_, d) => i + d + 1)];
  const line = (i: number): string => `${JSON.stringify({ id: `m${i}`, vectors: vectors(i) })}\n`;
  const count = 20_000;
  writeFileSync(path, Array.from({ length: count }, (_, i) => line(i)).join(''));
  const copy = join(root, 'many');
  const child = start('import', copy, path, '--codec', 'f32', '--batch', '50', '--json');
  const ended = outcome(child);
  child.stderr?.once('data', () => child.kill('SIGINT'));
  const stopped = await ended;
  expect(stopped.status).toBe(130);
  const { error } = JSON.parse(stopped.stderr.trim().split('\n').at(-1) as string);
  expect(error.code).toBe('ABORTED');
  const { committed } = error.details as { committed: number };
  const { documents } = (await maxsim('inspect', copy, '--json')).json() as { documents: number };
  expect(documents).toBe(committed);
  expect(documents).toBeLessThan(count);
  const rest = await maxsim('import', copy, path, '--resume', '--json');
  expect(rest.json()).toMatchObject({
    added: count - documents,
    unchanged: documents,
    replaced: 0,
  });
});

it('backup copies an index', async () => {
  const target = join(root, 'backup');
  const made = await maxsim('backup', directory, target, '--json');
  expect(made.json()).toMatchObject({ documents: 120, copiedFiles: 0 });
  const shown = await maxsim('backup', directory, join(root, 'backup-2'));
  expect(shown.stdout).toMatch(/documents +120/);
  expect((await maxsim('backup', directory, target)).stderr).toContain('INVALID_ARGUMENT');
  await using backup = await Index.open(target, { mode: 'read' });
  expect(backup.documentCount).toBe(120);
});
