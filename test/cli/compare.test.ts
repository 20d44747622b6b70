import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ComparisonReport } from '../../dist/evaluate/comparison/report.js';
import { mean, ndcg } from '../../dist/evaluate/measures.js';
import { openCollection } from '../../dist/evaluate/open-collection.js';
import { readRun } from '../../dist/evaluate/trec-run.js';
import { schemaErrors } from '../evaluate/report-schema.js';
import { maxsim, outcome, start } from './run.js';

const CHALLENGE = fileURLToPath(new URL('../../challenge/', import.meta.url));

let root: string;
let data: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-compare-'));
  data = join(root, 'data');
  await mkdir(join(data, 'qrels'), { recursive: true });
  const write = (name: string, records: readonly object[]): Promise<void> =>
    writeFile(join(data, name), records.map((record) => JSON.stringify(record)).join('\n'));
  await write('corpus.jsonl', [
    { _id: 'laptop', text: 'A stolen laptop is reported to the security desk in two hours.' },
    { _id: 'painting', text: 'A painting was stolen from a museum in Paris in 1911.' },
    { _id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
    { _id: 'remote', text: 'Flights to another country for remote work are not paid for.' },
    { _id: 'blank', text: '' },
  ]);
  await write('queries.jsonl', [
    { _id: 'q1', text: 'my computer was stolen', metadata: { mode: 'paraphrase' } },
    { _id: 'q2', text: 'may I fly business class?', metadata: { mode: 'lexical' } },
    { _id: 'q3', text: 'who is the chief executive?', metadata: { mode: 'none' } },
  ]);
  await writeFile(
    join(data, 'qrels', 'test.tsv'),
    'query-id\tcorpus-id\tscore\nq1\tlaptop\t2\nq2\ttravel\t2\nq2\tremote\t1\nq3\ttravel\t0\n',
  );
  await writeFile(
    join(root, 'mine.trec'),
    'q1 Q0 painting 1 9 x\nq1 Q0 gone 2 8 x\nq1 Q0 laptop 3 7 x\n',
  );
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('compares every kind of system, and its runs measure what its report says', async () => {
  const out = join(root, 'out');
  const systems = `bm25,hybrid,colbert,cross-encoder,cascade,colbert:${join(root, 'mine.trec')}`;
  const args = ['compare', data, '--systems', systems, '--depth', '2,4', '--out', out, '--json'];
  const { status, stderr, json } = await maxsim(...args);
  expect(stderr).not.toContain('error');
  expect(status).toBe(0);
  const report = json() as unknown as ComparisonReport;
  expect(report).toMatchObject({ format: 'maxsim-comparison', version: 1, measure: 'nDCG@10' });
  expect(schemaErrors(report)).toEqual([]);
  expect(report.systems.map(({ name }) => name)).toEqual([
    'bm25',
    'hybrid',
    'mine',
    ...['colbert:bm25@2', 'colbert:bm25@4', 'colbert:mine@2', 'colbert:mine@4'],
    ...['cross-encoder:bm25@2', 'cross-encoder:bm25@4', 'cascade:bm25@2', 'cascade:bm25@4'],
  ]);
  expect(report.data).toMatchObject({ documents: 5, queries: 2, withoutRelevant: 1 });
  expect(report.notes).toEqual([
    '1 judged queries have no relevant document and are left out.',
    'The run mine has no ranking for 1 queries; they count with 0.',
    '1 documents of imported runs are not in the corpus, or have no text; they are ranked last.',
  ]);
  expect(report.models.map(({ role, license }) => [role, license])).toEqual([
    ['late interaction', 'Apache-2.0'],
    ['cross-encoder', 'Apache-2.0'],
  ]);
  expect(JSON.stringify(report)).not.toContain(root);
  expect(JSON.parse(await readFile(join(out, 'report.json'), 'utf8'))).toEqual(report);
  expect(await readFile(join(out, 'report.html'), 'utf8')).toMatch(/^<!doctype html>/);
  const { judgements } = await openCollection(data);
  for (const { name, measures } of report.systems) {
    const run = await readRun(join(out, 'runs', `${name.replaceAll(':', '.')}.trec`));
    // What a run has no ranking for is not in its mean, and is in ours.
    const found = mean(run, judgements, (ranking, grades) => ndcg(ranking, grades, 10));
    expect((found * run.size) / 2, name).toBeCloseTo(measures['nDCG@10'] as number, 9);
  }
  const reranked = report.systems.find(({ name }) => name === 'colbert:bm25@4');
  expect(reranked?.interval.mean).toBeCloseTo(reranked?.headroom?.oracle ?? 0, 12);
  const imported = report.comparisons.find(({ system }) => system === 'colbert:mine@4');
  expect(imported).toMatchObject({ against: 'mine', effect: { better: 1, worse: 0 } });

  // Again: nothing is encoded or scored a second time, and the numbers are the same.
  const scores = readFileSync(scoresOf(out, 'cross-encoder'), 'utf8');
  const table = await maxsim(...args.filter((arg) => arg !== '--json'));
  expect(table.status).toBe(0);
  expect(readFileSync(scoresOf(out, 'cross-encoder'), 'utf8')).toBe(scores);
  const again = JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as ComparisonReport;
  expect(again.comparisons).toEqual(report.comparisons);
  expect(table.stdout).toMatch(/^cascade:bm25@4 +\d\.\d{3} \[/m);
  expect(table.stdout).toMatch(/^paraphrase +1 /m);
  expect(table.stdout).toContain('- The highest nDCG@10 is that of');
  expect(table.stdout).toContain('note The run mine has no ranking for 1 queries');
});

function scoresOf(out: string, system: string): string {
  const folder = join(out, 'cache', 'scores');
  const name = readdirSync(folder).find((one) => one.startsWith(system));
  return join(folder, name ?? 'none');
}

it('goes on after ^C from the queries that it has, also deeper', async () => {
  const out = join(root, 'cut');
  const args = ['compare', CHALLENGE, '--systems', 'cross-encoder', '--query-count', '12'];
  const child = start(...args, '--depth', '4', '--out', out, '--json');
  const ended = outcome(child);
  const lines = (): string[] => {
    try {
      return readFileSync(scoresOf(out, 'cross-encoder'), 'utf8').trimEnd().split('\n');
    } catch {
      return [];
    }
  };
  while (lines().length < 2 && child.exitCode === null)
    await new Promise((go) => setTimeout(go, 20));
  child.kill('SIGINT');
  expect((await ended).status).toBe(130);
  const kept = lines();
  expect(kept.length).toBeGreaterThanOrEqual(2);
  expect(kept.length).toBeLessThan(12);
  expect(readdirSync(out)).not.toContain('report.json');

  const { status } = await maxsim(...args, '--depth', '4', '--out', out, '--json');
  expect(status).toBe(0);
  expect(lines().slice(0, kept.length)).toEqual(kept);
  expect(lines()).toHaveLength(12);

  // The first four of six are known: only two are read.
  const deeper = await maxsim(...args, '--depth', '4,6', '--out', out, '--json');
  expect(deeper.status).toBe(0);
  const [before = '{}', after = '{}'] = [lines()[0], lines()[12]];
  const scoresIn = (line: string): number[] => (JSON.parse(line) as { scores: number[] }).scores;
  expect(scoresIn(after).slice(0, 4)).toEqual(scoresIn(before));
  expect(scoresIn(after)).toHaveLength(6);
  const known = lines();
  const shallower = await maxsim(...args, '--depth', '4', '--out', out, '--json');
  expect(shallower.status).toBe(0);
  expect(lines()).toEqual(known);
});

it.each([
  [['--systems', 'bm26'], 'systems must be some of', 1],
  [['--depth', '0,5'], 'whole numbers from 1', 2],
  [['--split', 'dev'], 'its splits are test', 1],
  [['--systems', './none.trec'], 'none.trec cannot be read', 1],
])('refuses %j in words', async (args, message, code) => {
  const { status, stderr } = await maxsim('compare', data, '--out', join(root, 'no'), ...args);
  expect(status).toBe(code);
  expect(stderr).toContain(message);
});

it('leaves out bad documents when told to, and names them', async () => {
  const corpus = join(root, 'bad.jsonl');
  await writeFile(corpus, `${await readFile(join(data, 'corpus.jsonl'), 'utf8')}\n{"_id":""}\n`);
  const args = ['compare', data, '--corpus', corpus, '--systems', 'bm25', '--out', join(root, 'b')];
  const refused = await maxsim(...args);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/error INVALID_SOURCE: Line 6 of .*bad\.jsonl is not usable/);
  const { status, stdout, stderr } = await maxsim(...args, '--skip-bad-documents');
  expect(status).toBe(0);
  expect(stderr).toMatch(/^warning Line 6 of/m);
  expect(stdout).toContain('note 1 bad lines of the corpus are left out.');
});
