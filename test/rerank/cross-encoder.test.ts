import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CrossEncoder } from '../../dist/rerank/cross-encoder.js';
import { longestFirst, toPair } from '../../dist/rerank/pair.js';
import { locateModel } from '../../dist/runtime/catalog.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';

type Pair = {
  query: string;
  document: string;
  input_ids: number[];
  token_type_ids: string;
  logit: number;
  logit_shipped_int8: number;
};

const { pairs } = JSON.parse(
  readFileSync(
    new URL('../../models/ms-marco-MiniLM-L-12-v2-int8/parity.json', import.meta.url),
    'utf8',
  ),
) as { pairs: Pair[] };

let pool: WorkerPool;
let crossEncoder: CrossEncoder;

beforeAll(async () => {
  pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
  crossEncoder = await CrossEncoder.open('default', pool);
});

afterAll(() => pool.close());

it('builds every pair as sentence-transformers does: ids, types and truncation', async () => {
  const tokenizer = await TextTokenizer.open(locateModel('default', 'cross-encoder').directory);
  for (const pair of pairs) {
    // The reference takes two empty texts for one; the engine refuses an empty query.
    if (pair.query === '' && pair.document === '') continue;
    const built = toPair(
      tokenizer.encode(pair.query),
      tokenizer.encode(pair.document),
      crossEncoder.maxLength,
      tokenizer.pair,
    );
    expect(built.ids).toEqual(pair.input_ids);
    expect(built.types.join('')).toBe(pair.token_type_ids);
  }
});

it('gives the raw logits of the reference, pair by pair', async () => {
  let total = 0;
  let scored = 0;
  for (const pair of pairs) {
    if (pair.query.trim() === '') continue; // refused by the engine; the reference takes it
    const [logit] = await crossEncoder.score(pair.query, [pair.document]);
    const error = Math.abs((logit as number) - pair.logit);
    expect(error, pair.document.slice(0, 40)).toBeLessThan(0.6);
    total += error;
    scored += 1;
  }
  expect(total / scored).toBeLessThan(0.08);
});

it('scores a list in any batch as it scores each document alone', async () => {
  const query = (pairs[0] as Pair).query;
  const documents = pairs.map((pair) => pair.document);
  const together = await crossEncoder.score(query, documents);
  for (let i = 0; i < documents.length; i += 5) {
    const [alone] = await crossEncoder.score(query, [documents[i] as string]);
    expect(together[i]).toBeCloseTo(alone as number, 2);
  }
});

it('stops when its budget ends, with the first ones scored as they would be without it', async () => {
  const query = (pairs[0] as Pair).query;
  const text = pairs.map((pair) => pair.document).join(' ');
  const documents = Array.from({ length: 200 }, (_, i) => text.slice(i, i + 600));
  await crossEncoder.score(query, ['loaded']);
  const { scores } = await crossEncoder.judge(query, documents, { budgetMs: 400 });
  const scored = scores.findIndex(Number.isNaN);
  expect(scored).toBeGreaterThan(0);
  expect(scores.subarray(scored).every(Number.isNaN)).toBe(true);
  const again = await crossEncoder.score(query, documents.slice(0, 2));
  expect(again[0]).toBeCloseTo(scores[0] as number, 2);
  const whole = await crossEncoder.judge(query, documents.slice(0, 2), { budgetMs: 60_000 });
  expect([...whole.scores]).toEqual([...again]);
  await expect(crossEncoder.judge(query, documents, { budgetMs: 1 })).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
  });
});

it('cuts the longer text first, and both only when each is over half', () => {
  expect(longestFirst(3, 4, 10)).toEqual([3, 4]);
  expect(longestFirst(3, 40, 10)).toEqual([3, 7]);
  expect(longestFirst(40, 3, 10)).toEqual([7, 3]);
  expect(longestFirst(40, 30, 11)).toEqual([6, 5]);
  expect(longestFirst(30, 40, 11)).toEqual([5, 6]);
});

it('refuses an empty query with EMPTY_TEXT', async () => {
  await expect(crossEncoder.score('  ', ['a'])).rejects.toMatchObject({ code: 'EMPTY_TEXT' });
});
