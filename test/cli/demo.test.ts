import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { maxsim } from './run.js';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-demo-'));
  const write = (name: string, records: readonly object[]): Promise<void> =>
    writeFile(join(root, name), records.map((record) => JSON.stringify(record)).join('\n'));
  await write('corpus.jsonl', [
    { _id: 'laptop', text: 'A stolen laptop is reported to the security desk in two hours.' },
    { _id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
    { _id: 'remote', text: 'Flights to another country for remote work are not paid for.' },
    { _id: 'price', text: 'The enterprise plan costs 40 dollars per seat and month.' },
  ]);
  await write('queries.jsonl', [
    {
      _id: 'q1',
      text: 'my computer was stolen',
      metadata: { mode: 'paraphrase', answer: 'Two hours.', trap: 'A trap.', demo: true },
    },
    { _id: 'q2', text: 'may I fly business class?', metadata: { mode: 'lexical', answer: 'Yes.' } },
    { _id: 'q3', text: 'who is the chief executive?', metadata: { mode: 'none', answer: null } },
  ]);
  await mkdir(join(root, 'qrels'));
  await writeFile(
    join(root, 'qrels', 'test.tsv'),
    'query-id\tcorpus-id\tscore\nq1\tlaptop\t2\nq1\tprice\t0\nq2\ttravel\t2\nq2\tremote\t1\nq3\tprice\t0\n',
  );
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('demo shows the chosen questions, marks passages, measures the cross-encoder with --all only', async () => {
  const { status, stdout } = await maxsim('demo', '--challenge', root);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^1 +✔ laptop +✔ laptop +✔ laptop$/m);
  expect(stdout).toContain('✗ price');
  expect(stdout).not.toContain('may I fly');
  expect(stdout).toMatch(/nDCG@10 BM25 +nDCG@10 late int\. +P@1/);
});

it('demo --all shows every question and measures every stage, the unanswerable aside', async () => {
  const { status, stdout } = await maxsim('demo', '--challenge', root, '--all');
  expect(status).toBe(0);
  expect(stdout).toMatch(/✔ travel .*✔ travel/);
  expect(stdout).toContain('~ remote');
  expect(stdout).toContain('nothing in the corpus answers this');
  expect(stdout).toMatch(/nDCG@10 BM25 +nDCG@10 late int\. +nDCG@10 cross-enc\. +P@1/);
  expect(stdout).toMatch(/^all +2( +\d\.\d{3}){6}$/m);
});

it("demo --question ranks for a question of one's own", async () => {
  const question = 'what does a seat cost?';
  const { status, stdout } = await maxsim('demo', '--challenge', root, '--question', question);
  expect(status).toBe(0);
  expect(stdout).toContain(question);
  expect(stdout).toMatch(/^best +The enterprise plan costs 40 dollars/m);
});
