import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { maxsim } from './run.js';

let root: string;
const at = (name: string): string => join(root, name);
const fields = ['--field', 'lang:keyword', '--field', 'year:number'];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-filters-'));
  await writeFile(
    at('corpus.jsonl'),
    [
      {
        _id: 'a',
        text: 'Business class is for long flights.',
        metadata: { lang: 'en', year: 2020 },
      },
      { _id: 'b', text: 'Business class needs approval.', metadata: { lang: 'de', year: 2021 } },
      { _id: 'c', text: 'The canteen opens at noon.', metadata: { lang: 'en', year: 'noon' } },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
  await writeFile(at('other.jsonl'), '{"_id":"a","text":"Business class is for nobody."}\n');
});

afterAll(() => rm(root, { recursive: true, force: true }));

const idsOf = (result: Record<string, unknown>): string[] =>
  (result['hits'] as { id: string }[]).map(({ id }) => id).sort();

it('fields are declared with the index, name the bad line, and filter search and rerank', async () => {
  const made = await maxsim('index', at('index'), at('corpus.jsonl'), ...fields);
  expect(made.status).toBe(1);
  expect(made.stderr).toMatch(/corpus\.jsonl:3 .*payload\.year must be a number/);
  const filter = ['--filter', '{"lang":"en","year":{"gte":2000}}', '--json'];
  const found = await maxsim('search', at('index'), 'business class', ...filter);
  expect(idsOf(found.json())).toEqual(['a']);
  const ids = ['--ids', 'a,b', ...filter];
  const ranked = (await maxsim('rerank', at('index'), 'business class', ...ids)).json();
  expect(idsOf(ranked)).toEqual(['a']);
  expect(ranked['excludedIds']).toEqual(['b']);

  const table = await maxsim(
    'rerank',
    at('index'),
    'business',
    '--ids',
    'a,b',
    '--filter',
    '{"lang":"de"}',
  );
  expect(table.stderr).toContain('kept out by the filter: a');
  const unknown = await maxsim('search', at('index'), 'business', '--filter', '{"language":"en"}');
  expect(unknown.status).toBe(1);
  expect(unknown.stderr).toContain('lang (keyword), year (number)');
  const broken = await maxsim('search', at('index'), 'business', '--filter', '{lang');
  expect(broken.stderr).toContain('It must be JSON');
  const type = await maxsim('index', at('x'), at('corpus.jsonl'), '--field', 'lang:text');
  expect(type.stderr).toContain('keyword, number, boolean');
  const other = await maxsim('index', at('index'), at('corpus.jsonl'), '--field', 'lang:number');
  expect(other.stderr).toContain('MODEL_MISMATCH');
  expect((await maxsim('inspect', at('index'))).stdout).toContain('lang (keyword), year (number)');
});

it('a tenant is named for every document and every question', async () => {
  const options = (tenant: string) => ['--tenant', tenant, '--json'];
  await maxsim('index', at('shared'), at('corpus.jsonl'), ...options('acme'));
  const added = await maxsim('index', at('shared'), at('other.jsonl'), ...options('rival'));
  expect(added.json()).toMatchObject({ added: 1, index: { documents: 4 } });
  const rival = await maxsim('search', at('shared'), 'business class', ...options('rival'));
  expect((rival.json() as { hits: { text: string }[] }).hits.map(({ text }) => text)).toEqual([
    'Business class is for nobody.',
  ]);
  const acme = await maxsim('rerank', at('shared'), 'business', '--ids', 'a,b', ...options('acme'));
  expect(idsOf(acme.json())).toEqual(['a', 'b']);
  const stored = await maxsim('inspect', at('shared'), '--id', 'a', ...options('rival'));
  expect(stored.json()).toMatchObject({ id: 'a', text: 'Business class is for nobody.' });
  const listed = (await maxsim('inspect', at('shared'), '--json')).json();
  expect(listed['tenants']).toMatchObject([{ tenant: 'acme' }, { tenant: 'rival' }]);

  for (const args of [
    ['search', at('shared'), 'business'],
    ['inspect', at('shared'), '--id', 'a'],
    ['index', at('shared'), at('corpus.jsonl')],
  ]) {
    const { status, stderr } = await maxsim(...args);
    expect(status).toBe(1);
    expect(stderr).toContain('TENANT_REQUIRED');
  }
});
