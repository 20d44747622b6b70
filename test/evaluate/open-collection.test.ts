import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openCollection } from '../../dist/evaluate/open-collection.js';
import { readRun } from '../../dist/evaluate/trec-run.js';

const CHALLENGE = fileURLToPath(new URL('../../challenge/', import.meta.url));
const CORPUS = '{"_id":"a","text":"apples"}\n{"_id":"b","title":"B","text":"bees"}\n';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-collection-'));
});

afterEach(() => rm(root, { recursive: true, force: true }));

async function write(files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
}

const opened = (...path: string[]) => openCollection(join(root, ...path));
const grades = (judgements: ReadonlyMap<string, ReadonlyMap<string, number>>): object =>
  Object.fromEntries([...judgements].map(([query, inner]) => [query, Object.fromEntries(inner)]));

it('reads the challenge set, and leaves out the questions that nothing answers', async () => {
  const { name, split, corpus, queries, judgements, ...noticed } = await openCollection(CHALLENGE);
  expect([name, split, corpus.length]).toEqual(['challenge', 'test', 188]);
  expect(queries.length + noticed.withoutRelevant).toBe(79);
  expect(noticed.withoutRelevant).toBeGreaterThan(0);
  expect(queries.every(({ id }) => judgements.has(id))).toBe(true);
});

describe("BEIR's folders", () => {
  const queries = '{"_id":"q1","text":"fruit"}\n{"_id":"q2","text":"insects"}\n';
  const beir = { 'corpus.jsonl': CORPUS, 'queries.jsonl': queries };
  const head = 'query-id\tcorpus-id\tscore\n';

  it('have splits, of which one is read', async () => {
    await write({
      ...beir,
      'qrels/dev.tsv': `${head}q1\ta\t1\n`,
      'qrels/train.tsv': `${head}q2\tb\t2\r\n`,
    });
    const { queries: read, judgements } = await openCollection(root, { split: 'train' });
    expect(read.map(({ id }) => id)).toEqual(['q2']);
    expect(grades(judgements)).toEqual({ q2: { b: 2 } });
    await expect(opened()).rejects.toThrow('has no test.tsv; its splits are dev, train');
  });

  it('count what is judged and cannot be measured', async () => {
    await write({
      ...beir,
      'qrels/test.tsv': `${head}q1\ta\t1\nq1\tgone\t1\nq2\tb\t0\nq9\ta\t1\n`,
    });
    const { queries: read, ...noticed } = await opened();
    expect(read.map(({ id }) => id)).toEqual(['q1']);
    expect(noticed).toMatchObject({ withoutRelevant: 1, withoutText: 1, missingRelevant: 1 });
  });

  it.each([
    ['a grade that is no number', `${head}q1\ta\thigh\n`, 'Line 2 of'],
    ['two grades for one pair', `${head}q1\ta\t1\nq1\ta\t2\n`, 'Line 3 of'],
    ['no header', 'q1\ta\t1\n', 'Line 1 of'],
    ['a field too many', `${head}q1\ta\t1\tx\n`, 'Line 2 of'],
    ['nothing relevant', `${head}q1\ta\t0\n`, 'no query with a text and a relevant document'],
  ])('with %s are refused, by line', async (_, text, message) => {
    await write({ ...beir, 'qrels/test.tsv': text });
    await expect(opened()).rejects.toMatchObject({
      code: 'INVALID_SOURCE',
      message: expect.stringContaining(message),
    });
  });

  it.each([
    ['corpus.jsonl', `${CORPUS}{"_id":"a","text":"again"}\n`, 'Line 3 of'],
    ['queries.jsonl', `${queries}{"_id":"q1","text":"again"}\n`, 'Line 3 of'],
    ['queries.jsonl', '{"_id":"q1","text":" "}\n', 'has a query without text: "q1"'],
  ])('with an id twice or an empty text in %s are refused', async (file, text, message) => {
    await write({ ...beir, 'qrels/test.tsv': `${head}q1\ta\t1\n`, [file]: text });
    await expect(opened()).rejects.toThrow(message);
  });
});

describe("TREC's files", () => {
  const topics = `<top>
<num> Number: 301
<title> Topic: International
Organized Crime
<desc> Description:
Not this.
</top>

<top>
<num> Number: 302 </num>
<title>Poliomyelitis</title>
</top>
`;

  it('are topics and qrels', async () => {
    await write({
      'corpus.jsonl': CORPUS,
      'topics.301-302.txt': topics,
      'qrels.txt': '301 0 a 1\n301 0 b -1\n302 0 b 2\n',
    });
    const { queries, judgements, split } = await opened();
    expect(queries.map(({ id, text }) => [id, text])).toEqual([
      ['301', 'International Organized Crime'],
      ['302', 'Poliomyelitis'],
    ]);
    expect(grades(judgements)).toEqual({ '301': { a: 1, b: -1 }, '302': { b: 2 } });
    expect(split).toBeNull();
  });

  it.each([
    ['topics.txt', '<top>\n<num> 1\n<title> x\n', 'Line 1 of', 'no </top>'],
    ['topics.txt', '<top>\n<title> x\n</top>\n', 'Line 1 of', 'without a <num>'],
    ['topics.txt', '<top>\n<num> 1\n<top>\n', 'Line 3 of', 'within the one of line 1'],
    ['qrels.txt', '301 0 a 1\n301 0 b\n', 'Line 2 of', 'query 0 document grade'],
  ])('a bad line of %s is named (%#)', async (file, text, line, problem) => {
    await write({
      'corpus.jsonl': CORPUS,
      'topics.txt': topics,
      'qrels.txt': '301 0 a 1\n',
      [file]: text,
    });
    await expect(opened()).rejects.toThrow(line);
    await expect(opened()).rejects.toThrow(problem);
  });

  it('runs are ranked by score, and a bad line or a document that comes twice is named', async () => {
    await write({ 'a.run': 'q1 Q0 a 1 0.5 x\nq1 Q0 b 2 0.75 x\n' });
    expect([...((await readRun(join(root, 'a.run'))).get('q1') ?? [])]).toEqual([
      ['a', 0.5],
      ['b', 0.75],
    ]);
    await write({ 'a.run': 'q1 Q0 a 1 0.5 x\nq1 Q0 a 2 0.4 x\n' });
    await expect(readRun(join(root, 'a.run'))).rejects.toThrow('Line 2 of');
    await write({ 'a.run': '\nq1 Q0 a 1 0.5\n' });
    await expect(readRun(join(root, 'a.run'))).rejects.toThrow('Line 2 of');
  });
});

describe('MS MARCO', () => {
  const parts = {
    'collection.tsv': '10\tapples\n11\tbees\n12\tcats\n',
    'queries.dev.tsv': '1\tfruit\n2\tinsects\n',
    'queries.train.tsv': '3\tpets\n',
  };

  it('triples of ids name queries and passages of other files', async () => {
    await write({ ...parts, 'qidpidtriples.train.tsv': '3\t12\t10\n3\t12\t11\n' });
    const { queries, judgements, corpus } = await openCollection(root, { split: 'train' });
    expect(corpus.map(({ id, text }) => [id, text])).toContainEqual(['11', 'bees']);
    expect(queries.map(({ text }) => text)).toEqual(['pets']);
    expect(grades(judgements)).toEqual({ '3': { '12': 1, '10': 0, '11': 0 } });
  });

  it('qrels of a split go with its queries', async () => {
    await write({ ...parts, 'qrels.dev.tsv': '1\t0\t10\t1\n', 'qrels.train.tsv': '3\t0\t12\t1\n' });
    const { queries } = await openCollection(root, { split: 'dev' });
    expect(queries.map(({ id }) => id)).toEqual(['1']);
    await expect(opened()).rejects.toThrow('holds several judgements');
  });

  it('triples of texts are a collection of their own', async () => {
    await write({ 't.tsv': 'fruit\tapples\tbees\nfruit\tpears\tapples\ninsects\tbees\tcats\n' });
    const { corpus, queries, judgements } = await opened('t.tsv');
    expect(corpus.map(({ text }) => text)).toEqual(['apples', 'bees', 'pears', 'cats']);
    expect(queries.map(({ text }) => text)).toEqual(['fruit', 'insects']);
    // Apples answer, whatever another triple drew.
    expect(grades(judgements)).toEqual({ q1: { p1: 1, p2: 0, p3: 1 }, q2: { p2: 1, p4: 0 } });
  });

  it.each([
    ['fruit\tapples\n', 'Line 1 of'],
    ['fruit\tapples\tbees\n\nfruit\tbees\tbees\n', 'Line 3 of'],
  ])('a bad triple is named (%#)', async (text, message) => {
    await write({ 't.tsv': text });
    await expect(opened('t.tsv')).rejects.toThrow(message);
  });
});

describe('CSV of queries and relevant ids', () => {
  it('has a header, quotes, and several documents for a query', async () => {
    await write({
      'corpus.jsonl': CORPUS,
      'pairs.csv':
        'Grade,query,relevant_id\r\n2,"fruit, or ""fruits""",a\r\n1,"fruit, or ""fruits""",b\r\n\r\n1,"two\nlines",b\r\n',
    });
    const { queries, judgements } = await opened('pairs.csv');
    expect(queries.map(({ id, text }) => [id, text])).toEqual([
      ['q1', 'fruit, or "fruits"'],
      ['q2', 'two\nlines'],
    ]);
    expect(grades(judgements)).toEqual({ q1: { a: 2, b: 1 }, q2: { b: 1 } });
  });

  it.each([
    ['fruit,a\n', 'Line 1 of', 'must be a header'],
    ['query,relevant_id\nfruit,a\n"two\nlines",z\n', 'Line 3 of', '"z", which the corpus has not'],
    ['query,relevant_id\n"two\nlines",a\nfruit\n', 'Line 4 of', 'has 1 fields'],
    ['query,relevant_id\nfruit "x",a\n', 'Line 2 of', 'quote where none can be'],
    ['query,relevant_id,grade\nfruit,a,\n', 'Line 2 of', 'whole-number grade'],
    ['query,relevant_id\n', 'pairs.csv', 'holds no queries'],
  ])('a bad line is named (%#)', async (text, line, problem) => {
    await write({ 'corpus.jsonl': CORPUS, 'pairs.csv': text });
    await expect(opened('pairs.csv')).rejects.toThrow(line);
    await expect(opened('pairs.csv')).rejects.toThrow(problem);
  });
});

it('says what is missing', async () => {
  await expect(opened('nowhere')).rejects.toThrow('cannot be read');
  await expect(opened()).rejects.toThrow('holds no judgements');
  await write({ 'qrels.txt': 'q1 0 a 1\n' });
  await expect(opened()).rejects.toThrow('holds no queries');
  await write({ 'topics.tsv': 'q1\tfruit\n' });
  await expect(opened()).rejects.toThrow('holds no documents');
  await write({ 'pairs.csv': 'query,relevant_id\n', 'x.txt': '' });
  await expect(openCollection(join(root, 'pairs.csv'), { split: 'dev' })).rejects.toThrow('split');
  await expect(opened('x.txt')).rejects.toThrow('must be a folder');
});
