import { afterAll, describe, expect, it } from 'vitest';
import { layOver } from '../../dist/encode/spans.js';
import { toPair } from '../../dist/rerank/pair.js';
import { locateModel } from '../../dist/runtime/catalog.js';
import { TextTokenizer, type TokenizerOptions } from '../../dist/runtime/tokenizer.js';
import { byteLevel, removeModels, tinyModel, unigram, wordPiece } from './tiny-model.js';

afterAll(removeModels);

const BYTES = {
  'tokenizer.json': byteLevel(),
  'tokenizer_config.json': { mask_token: '[MASK]', pad_token: { content: '[PAD]' } },
};
const UNIGRAM = {
  'tokenizer.json': unigram(),
  'tokenizer_config.json': {
    cls_token: '<s>',
    sep_token: { content: '</s>' },
    mask_token: '<mask>',
    pad_token: '<pad>',
  },
};
const WORDPIECE = { 'tokenizer.json': wordPiece() };

function open(files: Record<string, unknown>, options: Partial<TokenizerOptions> = {}) {
  return TextTokenizer.open(tinyModel({ files }), { specialTokens: 'as-written', ...options });
}

describe('special ids', () => {
  it('are those that tokenizer_config.json names, or BERT’s', async () => {
    expect((await open(BYTES)).special).toMatchObject({ cls: 300, sep: 301, mask: 302, pad: 303 });
    expect((await open(UNIGRAM)).special).toMatchObject({
      cls: 0,
      sep: 2,
      pad: 1,
      unk: 3,
      mask: 19,
    });
    expect((await open(WORDPIECE)).special).toMatchObject({ cls: 4, sep: 5, mask: 6, pad: 0 });
  });

  it('put between a pair what the model was trained with', async () => {
    const { pair } = await open(UNIGRAM);
    expect(toPair([5], [6, 7, 8], 8, pair)).toEqual({
      ids: [0, 5, 2, 2, 6, 7, 8, 2],
      types: [0, 0, 0, 0, 0, 0, 0, 0],
      attended: 8,
    });
    const bert = (await open(WORDPIECE)).pair;
    expect(toPair([15], [16], 8, bert).types).toEqual([0, 0, 0, 1, 1]);
  });
});

describe('text that looks like a special token', () => {
  const kinds = [
    ['WordPiece', WORDPIECE, ['[MASK]', '[CLS]', '[SEP]', '[PAD]'], [4, 5, 6, 0]],
    ['byte-level BPE', BYTES, ['[MASK]', '[unused0]', '[Q] ', '[CLS]'], [302, 305, 306, 300]],
    ['Unigram', UNIGRAM, ['<s>', '</s>', '<mask>', '<pad>'], [0, 1, 2, 19]],
  ] as const;

  it.each(kinds)('is the token as written, and text if plain: %s', async (_, files, words, ids) => {
    const written = await open(files);
    const plain = await open(files, { specialTokens: 'plain', markerIds: [306] });
    for (const word of words) {
      expect(written.encode(`one ${word} one`), word).toContain(written.id(word));
      const found = plain.encode(`one ${word} one`);
      for (const id of ids) expect(found, word).not.toContain(id);
      // Known by name all the same, and by id.
      expect(plain.id(word)).toBe(written.id(word));
      expect(plain.token(plain.id(word) as number)).toBe(word);
    }
    expect(plain.encode('one the one')).toEqual(written.encode('one the one'));
  });

  it('leaves added tokens that are ordinary text: runs of spaces', async () => {
    const plain = await open(BYTES, { specialTokens: 'plain' });
    expect(plain.encode('the   one')).toContain(304);
    expect((await open(BYTES)).encode('the   one')).toEqual(plain.encode('the   one'));
  });
});

it('lower-cases first if told to, and only then', async () => {
  const lower = await open(BYTES, { lowerCase: 'text' });
  expect(lower.encode('THE')).toEqual((await open(BYTES)).encode('the'));
  expect((await open(BYTES)).lowersByItself).toBe(false);
  expect((await open(WORDPIECE)).lowersByItself).toBe(true);
});

describe('spans', () => {
  async function pieces(files: Record<string, unknown>, text: string): Promise<(string | null)[]> {
    const tokenizer = await open(files, { specialTokens: 'plain' });
    const tokens = tokenizer.encode(text).map((id) => tokenizer.token(id));
    return layOver(text, tokens, tokenizer.style).map(
      (span) => span && text.slice(span[0], span[1]),
    );
  }

  it('of byte-level tokens leave out the space before a word', async () => {
    expect(await pieces(BYTES, 'the one')).toEqual(['the', 'one']);
  });

  it('of the bytes of one character are that character', async () => {
    expect(await pieces(BYTES, 'é🚀')).toEqual(['é', 'é', '🚀', '🚀', '🚀', '🚀']);
    expect(await pieces(BYTES, 'e\u0301')).toEqual(['e\u0301', 'e\u0301']);
  });

  it('of Unigram tokens are their words', async () => {
    expect(await pieces(UNIGRAM, 'the one <s>')).toEqual(['the', 'one', null, '<', 's', '>']);
  });
});

function startOf(tokenizer: TextTokenizer, text: string, wanted: number) {
  const steps = tokenizer.encodeStart(text, wanted);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

describe('a long text', () => {
  const texts: Record<string, string> = {
    words: 'the one, the one. '.repeat(58_000),
    'letters without a space': 'theone'.repeat(170_000),
    emoji: '🚀👩‍🚀'.repeat(150_000),
    spaces: ' '.repeat(1 << 20),
    NUL: '\0'.repeat(1 << 20),
    'lone surrogates': '\ud800'.repeat(1 << 20),
    'right to left': 'שלום עולם '.repeat(100_000),
  };
  const kinds = { WordPiece: WORDPIECE, 'byte-level BPE': BYTES, Unigram: UNIGRAM };
  const cases = [
    ...Object.keys(texts).map((text) => ['WordPiece', text]),
    ...['letters without a space', 'emoji'].flatMap((text) => [
      ['byte-level BPE', text],
      ['Unigram', text],
    ]),
  ] as [string, string][];

  it.each(cases)('of 1 MB begins as its beginning does: %s, %s', async (kind, name) => {
    const tokenizer = await open(kinds[kind as keyof typeof kinds], { specialTokens: 'plain' });
    const text = texts[name] as string;
    const start = startOf(tokenizer, text, 300);
    const whole = tokenizer.encode(text.slice(0, 20_000));
    const both = Math.min(300, start.ids.length, whole.length);
    expect(start.ids.slice(0, both)).toEqual(whole.slice(0, both));
    expect(start.total).toBeGreaterThanOrEqual(start.ids.length);
    if (whole.length > 300) expect(start.ids).toHaveLength(300);
  });

  it.each(Object.keys(kinds))('gives the same tokens in steps as in one go: %s', async (kind) => {
    const tokenizer = await open(kinds[kind as keyof typeof kinds], { specialTokens: 'plain' });
    const text = 'the one,  the one.\n\n the'.repeat(4000);
    expect(startOf(tokenizer, text, 100_000).ids).toEqual(tokenizer.encode(text));
  });

  it('is counted exactly up to 65,536 characters', async () => {
    const tokenizer = await TextTokenizer.open(
      locateModel('default', 'late-interaction').directory,
    );
    const text = 'good words. '.repeat(5000);
    expect(startOf(tokenizer, text, 10)).toEqual({
      ids: tokenizer.encode(text).slice(0, 10),
      total: 15_000,
    });
    // Beyond, at the rate of what was read.
    const { total } = startOf(tokenizer, text.repeat(10), 10);
    expect(Math.abs(total - 150_000)).toBeLessThan(1500);
  });
});
