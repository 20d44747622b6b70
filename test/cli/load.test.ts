import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LoadReport } from '../../dist/load/load.js';
import { maxsim } from './run.js';

let root: string;
let index: string;
let queries: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-load-'));
  index = join(root, 'index');
  queries = join(root, 'queries.jsonl');
  const corpus = join(root, 'corpus.jsonl');
  await writeFile(
    corpus,
    ['a stolen laptop', 'business class', 'the price of a seat']
      .map((text, i) => JSON.stringify({ _id: `d${i}`, text }))
      .join('\n'),
  );
  await writeFile(queries, JSON.stringify({ _id: 'q', text: 'what does a seat cost?' }));
  expect((await maxsim('index', index, corpus)).status).toBe(0);
});
afterAll(() => rm(root, { recursive: true, force: true }));

it('puts an index under load, both stages in turn, and leaves report and histograms', async () => {
  const out = join(root, 'out');
  const rates = ['--rate', '20', '--seconds', '0.5', '--warm-up', '0', '--repeats', '1'];
  const both = ['--stages', 'late-interaction,cross-encoder'];
  const { status, stdout, stderr } = await maxsim(
    ...['load', index, '--queries', queries, ...both, ...rates, '--out', out, '--json'],
  );
  expect(status).toBe(0);
  const report = JSON.parse(stdout) as LoadReport;
  expect(report.targets.map(({ name }) => name)).toEqual(['late-interaction', 'cross-encoder']);
  for (const { steps } of report.targets) {
    expect(steps).toHaveLength(1);
    expect(steps[0]).toMatchObject({ ratePerSecond: 20, okShare: 1, unstable: null });
    expect(steps[0]?.latencyMs.p50?.median).toBeGreaterThan(0);
  }
  expect(stderr).toContain('"event":"run"');
  expect(JSON.parse(readFileSync(join(out, 'load.json'), 'utf8'))).toEqual(report);
  const histograms = readdirSync(out).filter((name) => name.endsWith('.hgrm'));
  expect(histograms).toHaveLength(2);
}, 60_000);

it('prints a table, and refuses what it cannot measure', async () => {
  const rates = ['--rate', '20', '--seconds', '0.3', '--warm-up', '0', '--repeats', '1'];
  const { status, stdout } = await maxsim('load', index, '--queries', queries, ...rates);
  expect(status).toBe(0);
  expect(stdout).toMatch(/p99.9/);
  expect(stdout).toMatch(/20\.0/);
  const url = await maxsim('load', 'http://127.0.0.1:9/', '--queries', queries, ...rates);
  expect(url.status).toBe(1);
  expect(url.stderr).toContain('--candidates-run');
  const wrong = await maxsim('load', index, '--queries', queries, '--rate', '0');
  expect(wrong.status).toBe(2);
  const missing = await maxsim('load', index, '--queries', join(root, 'none.jsonl'), ...rates);
  expect(missing.status).toBe(1);
  expect(existsSync(join(root, 'none'))).toBe(false);
}, 60_000);
