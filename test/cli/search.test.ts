import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Engine, Index, type SearchResult } from '../../dist/maxsim.js';
import { seeded, unitVectors } from '../index/fixtures.js';
import { maxsim } from './run.js';

let root: string;
let index: string;
let vectors: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-search-'));
  index = join(root, 'index');
  vectors = join(root, 'vectors');
  const next = seeded(11);
  await using engine = await Engine.open(index, { threads: 2 });
  await engine.add(
    Array.from({ length: 400 }, (_, i) => ({
      id: `d${i}`,
      text: `Passage ${i} says something that is long enough to be asked for.`,
      vectors: unitVectors(next, 20, 96),
    })),
  );
  await using own = await Index.open(vectors, { dim: 16 });
  await own.add(
    Array.from({ length: 300 }, (_, i) => ({ id: `v${i}`, vectors: unitVectors(next, 20) })),
  );
});

afterAll(() => rm(root, { recursive: true, force: true }));

const ask = async (...args: string[]): Promise<SearchResult> =>
  (await maxsim('search', index, 'what is asked for?', '--json', ...args)).json() as never;

it('an index is prepared, searched as it is asked for, shown, and given new centroids', async () => {
  const before = await ask();
  expect(before.plan).toMatchObject({ method: 'exhaustive', certified: true, scored: 400 });
  const built = await maxsim('compact', index, '--search', '--json');
  expect(built.status, built.stderr).toBe(0);
  expect(built.json()['search']).toMatchObject({ segments: 1, queries: expect.any(Number) });

  const scan = await ask('--method', 'scan', '--depth', '70');
  expect(scan.plan).toMatchObject({ method: 'scan', scored: 70, documents: 400 });
  const exact = await ask('--exact');
  expect(exact.plan.certified).toBe(true);
  expect(exact.hits).toEqual(before.hits);
  const { stdout } = await maxsim(
    ...['search', index, 'what is asked for?', '--explain', '--recall', '0.9', '--top-k', '1'],
  );
  expect(stdout).toMatch(/documents scored/);
  expect(stdout).toMatch(/^estimates +exhaustive .* lists not to be had$/m);

  const { search } = (await maxsim('inspect', index, '--json')).json();
  expect(search).toMatchObject({ codedTokens: 8000, codedSegments: 1, advice: null });

  const queries = join(root, 'queries.jsonl');
  await writeFile(
    queries,
    Array.from({ length: 40 }, (_, i) => `{"_id":"${i}","text":"question ${i}"}\n`).join(''),
  );
  const again = await maxsim(
    ...['compact', index, '--retrain', '--centroids', '64', '--lists', '--queries', queries],
    '--json',
  );
  expect(again.json()['search']).toMatchObject({ centroids: 64, queries: 40 });
  expect((await ask('--method', 'lists')).plan.method).toBe('lists');
});

it('vectors of the caller are prepared without a model', async () => {
  const { status, stdout } = await maxsim('compact', vectors, '--search');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^search +\S+ centroids, .*measured with 128 queries/m);
});

it('a wrong use is told from what cannot be done', async () => {
  const usage = async (...args: string[]): Promise<string> => {
    const { status, stderr } = await maxsim(...args);
    expect(status).toBe(2);
    return stderr;
  };
  expect(await usage('search', index, 'q', '--recall', '1')).toContain('0.5 to below 1');
  expect(await usage('search', index, 'q', '--recall', '.9', '--depth', '3')).toContain('--depth');
  expect(await usage('compact', index, '--lists')).toContain('--search');
  const small = join(root, 'small');
  await using own = await Index.open(small, { dim: 16 });
  await own.add([{ id: 'a', vectors: unitVectors(seeded(1), 2) }]);
  await own.close();
  const { status, stderr } = await maxsim('compact', small, '--search');
  expect(status).toBe(1);
  expect(stderr).toMatch(/INVALID_ARGUMENT: .*4,?096/);
});
