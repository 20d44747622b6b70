import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { maxsim, outcome, start } from './run.js';

const PASSAGES = [
  ['remote', 'Remote work', 'Employees may work from another country for at most 30 days a year.'],
  ['travel', 'Flights', 'Business class is booked only for flights longer than seven hours.'],
  ['laptop', 'Lost devices', 'A stolen laptop is reported to the security desk in two hours.'],
  [
    'leave',
    'Parental leave',
    'Parental leave is sixteen weeks, paid in full, in one or two parts.',
  ],
  ['price', '', 'The enterprise plan costs 40 dollars per seat and month, billed yearly.'],
] as const;

const lines = (records: object[]): string =>
  records.map((one) => `${JSON.stringify(one)}\n`).join('');

let root: string;
let corpus: string;
let index: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-'));
  corpus = join(root, 'corpus.jsonl');
  index = join(root, 'index');
  await writeFile(
    corpus,
    lines(
      PASSAGES.map(([_id, title, text]) => ({ _id, title, text, metadata: { kind: 'policy' } })),
    ),
  );
  const { status, json } = await maxsim('index', index, corpus, '--json');
  expect(status).toBe(0);
  expect(json()).toMatchObject({
    read: 5,
    added: 5,
    unchanged: 0,
    bad: 0,
    index: { documents: 5 },
  });
});

afterAll(() => rm(root, { recursive: true, force: true }));

describe('maxsim index', () => {
  it('skips what did not change, and replaces what did', async () => {
    const again = await maxsim('index', index, corpus, '--json');
    expect(again.json()).toMatchObject({ added: 0, replaced: 0, unchanged: 5 });
    const other = join(root, 'changed.jsonl');
    const changed = 'The enterprise plan costs 45 dollars per seat and month, billed yearly.';
    await writeFile(other, lines([{ id: 'price', text: changed, metadata: { kind: 'policy' } }]));
    expect((await maxsim('index', index, other, '--json')).json()).toMatchObject({ replaced: 1 });
    const shown = await maxsim('inspect', index, '--id', 'price', '--json');
    expect(JSON.stringify(shown.json())).toContain(changed);
  });

  it('names bad lines by file and line, keeps the good ones, and ends with 1', async () => {
    const file = join(root, 'bad.jsonl');
    const good = (id: string): string =>
      JSON.stringify({ _id: id, text: `Passage ${id} is fine.` });
    await writeFile(
      file,
      [
        good('a'),
        '{"_id": "b", "text": ',
        good('c'),
        '{"_id":"d"}',
        '[1]',
        '{"_id":"e","text":" "}',
      ].join('\n'),
    );
    const directory = join(root, 'kept');
    const { status, stderr } = await maxsim('index', directory, file);
    expect(status).toBe(1);
    expect(stderr).toContain('error INVALID_SOURCE: 4 of 6');
    for (const line of [2, 4, 5, 6]) expect(stderr).toContain(`${file}:${line}`);
    const inspected = await Index.open(directory, { mode: 'read' });
    expect(inspected.hasMany(['a', 'b', 'c', 'd', 'e'])).toEqual([true, false, true, false, false]);
    await inspected.close();
  });

  it('takes folders of .txt and .md files, by their path, and says which are empty', async () => {
    const folder = join(root, 'notes');
    await mkdir(join(folder, 'deep'), { recursive: true });
    await writeFile(join(folder, 'one.md'), '# One\n\nThe first note is about tulips.');
    await writeFile(join(folder, 'deep', 'two.txt'), 'The second note is about onions.');
    await writeFile(join(folder, 'deep', 'empty.txt'), '\n');
    await writeFile(join(folder, 'photo.png'), 'not text');
    const directory = join(root, 'notes-index');
    const { status, stderr } = await maxsim('index', directory, folder);
    expect(status).toBe(0);
    expect(stderr).toContain('empty.txt');
    const { json } = await maxsim('search', directory, 'which one is about flowers?', '--json');
    expect((json()['hits'] as { id: string }[]).map((hit) => hit.id)).toEqual([
      'one.md',
      'deep/two.txt',
    ]);
  });

  it('loses nothing committed on ^C, says so, and ends with 130', async () => {
    const file = join(root, 'long.jsonl');
    const text = 'a sentence about something that takes a while to read '.repeat(20);
    await writeFile(
      file,
      lines(Array.from({ length: 400 }, (_, i) => ({ _id: `d${i}`, text: `${i} ${text}` }))),
    );
    const directory = join(root, 'interrupted');
    const child = start('index', directory, file, '--batch', '4', '--json');
    const done = outcome(child);
    // Two commits are visible to a reader before the signal is sent.
    for (;;) {
      const seen = await Index.open(directory, { mode: 'read' }).catch(() => null);
      const generation = seen?.generation ?? 0;
      await seen?.close();
      if (generation >= 2) break;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    child.kill('SIGINT');
    const { status, json } = await done;
    expect(status).toBe(130);
    const report = json() as { added: number; interrupted: boolean };
    expect(report.interrupted).toBe(true);
    expect(report.added).toBeGreaterThanOrEqual(4);
    expect(report.added).toBeLessThan(400);
    const kept = await Index.open(directory, { mode: 'read' });
    expect(kept.documentCount).toBe(report.added);
    expect(kept.documentCount % 4).toBe(0);
    await kept.close();
  });

  it('refuses a source that is none before it makes an index', async () => {
    const { status, stderr } = await maxsim('index', join(root, 'none'), join(root, 'nowhere'));
    expect(status).toBe(1);
    expect(stderr).toContain('INVALID_SOURCE');
    expect((await maxsim('inspect', join(root, 'none'))).stderr).toContain('NOT_AN_INDEX');
  });
});

describe('maxsim search and rerank', () => {
  it('print a table with the best passage first', async () => {
    const { status, stdout } = await maxsim('search', index, 'somebody took my computer');
    expect(status).toBe(0);
    const rows = stdout.split('\n').filter((line) => /late-interaction/.test(line));
    expect(rows[0]).toContain('laptop');
    expect(rows).toHaveLength(5);
  });

  it('rerank ids, name unknown ones, and explain token by token', async () => {
    const { json } = await maxsim(
      'rerank',
      index,
      'how long is parental leave?',
      '--ids',
      'travel,leave,nobody',
      '--explain',
      '--json',
    );
    const result = json() as {
      hits: { id: string; explanation: { contribution: number }[]; score: number }[];
      unknownIds: string[];
    };
    expect(result.hits.map((hit) => hit.id)).toEqual(['leave', 'travel']);
    expect(result.unknownIds).toEqual(['nobody']);
    const [best] = result.hits;
    const sum = best?.explanation.reduce((total, match) => total + match.contribution, 0);
    expect(sum).toBeCloseTo(best?.score as number, 3);
    const table = await maxsim(
      'rerank',
      index,
      'parental leave',
      '--ids',
      'leave,nobody',
      '--explain',
    );
    expect(table.stdout + table.stderr).toContain('not in the index: nobody');
    expect(table.stdout).toContain('[leave]');
  });

  it('rerank candidates from a file, with the cross-encoder', async () => {
    const file = join(root, 'candidates.jsonl');
    await writeFile(
      file,
      lines([{ id: 'price' }, { id: 'new', text: 'Team seats cost 12 dollars a month.' }]),
    );
    const { json } = await maxsim(
      'rerank',
      index,
      'what does the enterprise plan cost?',
      '--candidates',
      file,
      '--cross-encoder',
      '--json',
    );
    const hits = json()['hits'] as { id: string; stage: string }[];
    expect(hits.map((hit) => [hit.id, hit.stage])).toEqual([
      ['price', 'cross-encoder'],
      ['new', 'cross-encoder'],
    ]);
  });

  it('write TREC runs of whole sets, and rerank such a run', async () => {
    const queries = join(root, 'queries.jsonl');
    await writeFile(
      queries,
      lines([
        { _id: 'q1', text: 'stolen computer' },
        { _id: 'q2', text: 'flying in business class' },
      ]),
    );
    const first = join(root, 'first.trec');
    const second = join(root, 'second.trec');
    expect(
      (await maxsim('search', index, '--queries', queries, '--run', first, '--top-k', '3')).status,
    ).toBe(0);
    const parse = async (file: string): Promise<string[][]> =>
      (await readFile(file, 'utf8'))
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' '));
    const rows = await parse(first);
    expect(rows.map((row) => [row[0], row[1], row[3]])).toEqual([
      ['q1', 'Q0', '1'],
      ['q1', 'Q0', '2'],
      ['q1', 'Q0', '3'],
      ['q2', 'Q0', '1'],
      ['q2', 'Q0', '2'],
      ['q2', 'Q0', '3'],
    ]);
    expect([rows[0]?.[2], rows[3]?.[2]]).toEqual(['laptop', 'travel']);
    const reranked = await maxsim(
      'rerank',
      index,
      '--queries',
      queries,
      '--candidates-run',
      first,
      '--run',
      second,
    );
    expect(reranked.status).toBe(0);
    expect((await parse(second)).map((row) => row[2])).toEqual(rows.map((row) => row[2]));
  });
});

describe('maxsim inspect, doctor and errors', () => {
  it('inspect says what the index holds', async () => {
    const { json } = await maxsim('inspect', index, '--json');
    expect(json()).toMatchObject({ documents: 5 });
    expect(JSON.stringify(json())).toContain('answerai-colbert-small-v1-int8-pca96');
  });

  it('doctor finds kernels and models, and can encode', async () => {
    const { status, json } = await maxsim('doctor', '--json');
    expect(status).toBe(0);
    const text = JSON.stringify(json());
    for (const word of ['avx', 'scalar', 'ms-marco-MiniLM-L-12-v2-int8'])
      expect(text).toContain(word);
  });

  it('a directory that is no index: a code, a sentence, and 1', async () => {
    const { status, stderr, stdout } = await maxsim('search', root, 'q');
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^error NOT_AN_INDEX: .*\.$/m);
    const asJson = await maxsim('search', root, 'q', '--json');
    expect(JSON.parse(asJson.stderr)).toMatchObject({ error: { code: 'NOT_AN_INDEX' } });
  });

  it.each([
    [['search']],
    [['search', 'somewhere']],
    [['rerank', 'somewhere', 'q']],
    [['search', 'somewhere', 'q', '--top-k', 'many']],
    [['search', 'somewhere', 'q', '--topk', '3']],
    [['sing']],
  ])('wrong usage %j: 2', async (args) => {
    const { status, stderr } = await maxsim(...args);
    expect(status).toBe(2);
    expect(stderr).toContain('error');
  });
});

describe('maxsim demo', () => {
  it('compares the three rankings on the challenge set, and measures them', async () => {
    const folder = join(root, 'challenge');
    await mkdir(join(folder, 'qrels'), { recursive: true });
    await writeFile(join(folder, 'corpus.jsonl'), await readFile(corpus));
    await writeFile(
      join(folder, 'queries.jsonl'),
      lines([
        {
          _id: 'q1',
          text: 'my computer was stolen',
          metadata: { mode: 'paraphrase', answer: 'Two hours.', trap: 'None.', demo: true },
        },
        {
          _id: 'q2',
          text: 'who is the CEO?',
          metadata: { mode: 'unanswerable', answer: null, trap: 'None.', demo: true },
        },
      ]),
    );
    await writeFile(
      join(folder, 'qrels', 'test.tsv'),
      'query-id\tcorpus-id\tscore\nq1\tlaptop\t2\nq1\tprice\t0\nq2\tprice\t0\n',
    );
    const { status, json } = await maxsim('demo', '--challenge', folder, '--json');
    expect(status).toBe(0);
    const { questions, measures } = json() as {
      questions: { id: string }[];
      measures: { mode: string; questions: number; lateInteraction: { ndcg10: number } }[];
    };
    expect(questions).toHaveLength(2);
    expect(measures.find((row) => row.mode === 'all')).toMatchObject({
      questions: 1,
      lateInteraction: { ndcg10: 1, p1: 1 },
    });
  });
});
