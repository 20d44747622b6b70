import { beforeAll, expect, it } from 'vitest';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { layOver } from '../../dist/encode/spans.js';
import { locateModel } from '../../dist/runtime/catalog.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';

let tokenizer: TextTokenizer;

beforeAll(async () => {
  tokenizer = await TextTokenizer.open(locateModel('default', 'late-interaction').directory);
});

/** Each token with the characters it is said to stand for. */
function pieces(text: string): [token: string, characters: string | null][] {
  const tokens = tokenizer.encode(text).map((id) => tokenizer.token(id));
  return layOver(text, tokens).map((span, i) => [
    tokens[i] as string,
    span === null ? null : text.slice(span[0], span[1]),
  ]);
}

it('finds words, their pieces and punctuation', () => {
  expect(pieces('Reranking, quickly!')).toEqual([
    ['re', 'Re'],
    ['##rank', 'rank'],
    ['##ing', 'ing'],
    [',', ','],
    ['quickly', 'quickly'],
    ['!', '!'],
  ]);
});

it('finds words whose accents the tokenizer strips, composed or not', () => {
  expect(pieces('Café cafe\u0301 ok')).toEqual([
    ['cafe', 'Café'],
    ['cafe', 'cafe\u0301'.slice(0, 4)],
    ['ok', 'ok'],
  ]);
});

it('gives an unknown word its characters and goes on behind it', () => {
  const found = pieces('ok 👩‍🚀🚀 then fine');
  expect(found.at(-1)).toEqual(['fine', 'fine']);
  expect(found.at(-2)).toEqual(['then', 'then']);
  expect(found[0]).toEqual(['ok', 'ok']);
});

it('finds CJK characters one by one', () => {
  expect(pieces('東京 tokyo').at(-1)).toEqual(['tokyo', 'tokyo']);
});

it('skips control characters and any run of white space', () => {
  expect(pieces('one\u0000 \n\t two')).toEqual([
    ['one', 'one'],
    ['two', 'two'],
  ]);
});

it('covers every letter of a long English text, in order', async () => {
  const text =
    (await loadRecipe('default')).recipe.model +
    ' The quick (brown) fox — jumped over 12.5 lazy dogs; it was fun! '.repeat(20);
  const tokens = tokenizer.encode(text).map((id) => tokenizer.token(id));
  const spans = layOver(text, tokens);
  expect(spans).not.toContain(null);
  const covered = spans.map((span) => (span === null ? '' : text.slice(...span))).join('');
  expect(covered).toBe(text.replace(/\s/g, ''));
});
