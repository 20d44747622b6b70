import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../dist/maxsim.js';
import { maxsim } from './run.js';

let root: string;
let index: string;
let queries: string;
const at = (name: string): string => join(root, name);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-ranking-'));
  index = at('index');
  queries = at('queries.jsonl');
  await using engine = await Engine.open(index, { threads: 2 });
  await engine.add([
    { id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
    { id: 'laptop', text: 'A stolen laptop must be reported to the security desk in two hours.' },
    { id: 'leave', text: 'Parental leave is sixteen weeks, paid in full, in one part or two.' },
    { id: 'price', text: 'The \u001b[31menterprise plan costs 40 dollars per seat and month.' },
  ]);
  await writeFile(
    queries,
    '{"_id":"q1","text":"my computer was taken"}\n{"_id":"q2","text":"how long can a new father stay at home?"}\n{"_id":"q3","text":"may I fly?"}\n',
  );
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('the cross-encoder reads the best --keep; the others stay behind them as they were', async () => {
  const args = ['--cross-encoder', '--keep', '2', '--top-k', '3', '--json'];
  const { json } = await maxsim('search', index, 'may I fly business class?', ...args);
  const { hits } = json() as { hits: { id: string; stage: string }[] };
  expect(hits[0]?.id).toBe('travel');
  expect(hits.map((hit) => hit.stage)).toEqual([
    'cross-encoder',
    'cross-encoder',
    'late-interaction',
  ]);
});

it('tables hold no control characters of the texts', async () => {
  const { stdout } = await maxsim('search', index, 'what does a seat cost?', '--explain');
  expect(stdout).toContain('enterprise plan costs');
  expect(stdout).not.toContain('\u001b');
});

describe('a set of queries', () => {
  it('takes its candidates from a run by score, counts what is missing, writes in query order', async () => {
    await writeFile(
      at('first.trec'),
      'q2 Q0 price 2 1.5 x\nq2 Q0 leave 1 2.5 x\nq2 Q0 leave 4 0.5 x\nq2 Q0 ghost 3 1 x\nq1 Q0 laptop 1 9 x\n',
    );
    const files = ['--candidates-run', at('first.trec'), '--run', at('second.trec')];
    const { status, json, stderr } = await maxsim(
      ...['rerank', index, '--queries', queries, ...files, '--deadline-ms', '60000', '--json'],
    );
    expect(status, stderr).toBe(0);
    expect(json()).toMatchObject({
      queries: 3,
      hits: 3,
      withoutCandidates: 1,
      unknownIds: 1,
      degraded: 0,
      p50Ms: expect.any(Number),
      p99Ms: expect.any(Number),
    });
    const lines = readFileSync(at('second.trec'), 'utf8').trimEnd().split('\n');
    const rows = lines.map((line) => line.split(' '));
    expect(rows.map(([query, q0, id, rank, , tag]) => [query, q0, id, rank, tag])).toEqual([
      ['q1', 'Q0', 'laptop', '1', 'maxsim'],
      ['q2', 'Q0', 'leave', '1', 'maxsim'],
      ['q2', 'Q0', 'price', '2', 'maxsim'],
    ]);
  });

  it('leaves no run behind when a query fails, and names the query', async () => {
    const file = at('blank.jsonl');
    await writeFile(file, `${readFileSync(queries, 'utf8')}{"_id":"q4","text":" "}\n`);
    const args = ['--queries', file, '--run', at('blank.trec')];
    const { status, stderr } = await maxsim('search', index, ...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error EMPTY_TEXT: Query "q4": /m);
    expect((await readdir(root)).filter((name) => name.startsWith('blank.trec'))).toEqual([]);
  });

  it('says where a run cannot be written', async () => {
    const args = ['--queries', queries, '--run', at('no/such/folder.trec')];
    const { status, stderr } = await maxsim('search', index, ...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error IO_ERROR: .*folder\.trec cannot be written/m);
  });
});

describe('failures', () => {
  it('name file and line of a bad candidate', async () => {
    await writeFile(at('broken.jsonl'), '{"id":"leave"}\n{"id":7}\n');
    await writeFile(at('broken.trec'), 'q1 Q0 leave 1 2 x\nq1 leave\n');
    const one = await maxsim('rerank', index, 'who?', '--candidates', at('broken.jsonl'));
    expect(one.status).toBe(1);
    expect(one.stderr).toContain(`error INVALID_SOURCE: Line 2 of ${at('broken.jsonl')}`);
    const files = ['--candidates-run', at('broken.trec'), '--run', at('never.trec')];
    const set = await maxsim('rerank', index, '--queries', queries, ...files);
    expect(set.status).toBe(1);
    expect(set.stderr).toContain(`error INVALID_SOURCE: Line 2 of ${at('broken.trec')}`);
  });

  it('name a model that is nowhere', async () => {
    const { status, stderr } = await maxsim('search', index, 'who?', '--model', 'nobody-has-it');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error MODEL_NOT_FOUND: /);
  });

  it('of usage: options that exclude each other end with 2, as JSON too', async () => {
    const set = ['--queries', 'q.jsonl', '--run', 'r.trec'];
    const wrong = [
      ['search', index, 'q', ...set],
      ['search', index, ...set, '--explain'],
      ['search', index, '--queries', 'q.jsonl'],
      ['rerank', index, 'q', '--ids', 'a', '--candidates', 'c.jsonl'],
      ['rerank', index, ...set, '--ids', 'a'],
      ['rerank', index, 'q', '--ids', 'a', '--deadline-ms', '-1'],
    ];
    for (const args of wrong) {
      const { status, stdout, stderr } = await maxsim(...args);
      expect([status, stdout], args.join(' ')).toEqual([2, '']);
      expect(stderr).toMatch(/^error: /);
    }
    const { status, stderr } = await maxsim('search', index, '--json');
    expect(status).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'USAGE' } });
  });
});

it('help and version end with 0', async () => {
  expect((await maxsim('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  const { status, stdout } = await maxsim('rerank', '--help');
  expect(status).toBe(0);
  expect(stdout).toContain('--candidates-run');
});
