import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import type { ModelOptions } from '../../dist/encode/model-options.js';
import { type Recipe, tokenizerOptions } from '../../dist/encode/recipe.js';
import { piecesOf, type Sequence, toSequences } from '../../dist/encode/sequence.js';
import { tokenSpans } from '../../dist/encode/spans.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import { idOf, removeModels, tinyModel } from './tiny-model.js';

afterAll(removeModels);

const [CLS, SEP, MASK, ONE, TWO, THREE, BANG] = [
  ...['[CLS]', '[SEP]', '[MASK]', 'one', 'two', 'three', '!'],
].map(idOf) as [number, number, number, number, number, number, number];

let tokenizer: TextTokenizer;
let base: Recipe;

/** As on a model thread. */
function sequencesOf(text: string, kind: 'query' | 'document', recipe: Recipe) {
  const steps = piecesOf(text, kind, recipe, tokenizer);
  for (;;) {
    const step = steps.next();
    if (step.done) return toSequences(step.value, kind, recipe, tokenizer);
  }
}

/** A text that is one sequence. */
function sequenceOf(text: string, kind: 'query' | 'document', recipe: Recipe): Sequence {
  return sequencesOf(text, kind, recipe).sequences[0] as Sequence;
}

const OPTIONS = { queryLength: 8, documentLength: 8, skiplist: ['!'] };

async function load(options: Omit<ModelOptions, 'model'> = {}) {
  const loaded = await loadRecipe({ model: tinyModel(), ...OPTIONS, ...options });
  const { directory, recipe } = loaded;
  return { ...loaded, tokenizer: await TextTokenizer.open(directory, tokenizerOptions(recipe)) };
}

beforeAll(async () => {
  ({ recipe: base, tokenizer } = await load());
});

describe('a query', () => {
  const query = (text: string, change: Partial<Recipe> = {}) =>
    sequenceOf(text, 'query', { ...base, ...change });

  it('has its marker after [CLS], and is cut to its length', () => {
    const marked = { ...base, queryMarkerId: 1 };
    const { sequences, truncatedTokens } = sequencesOf('one two three '.repeat(3), 'query', marked);
    expect(sequences.map(({ ids }) => ids)).toEqual([[CLS, 1, ONE, TWO, THREE, ONE, TWO, SEP]]);
    expect(truncatedTokens).toBe(4);
  });

  it('without expansion has no [MASK], and keeps words of the skiplist', () => {
    const { ids, kept } = query('one !');
    expect(ids).toEqual([CLS, ONE, BANG, SEP]);
    expect(kept).toEqual([0, 1, 2, 3]);
    expect(query('one !', { querySkiplistIds: [BANG] }).kept).toEqual([0, 1, 3]);
  });

  it('with "fixed" expansion has exactly that many vectors; the model sees the text alone', () => {
    const expansion = { strategy: 'fixed', length: 8, tokenId: MASK } as const;
    const short = query('one', { queryExpansion: true, expansion });
    expect(short.ids).toEqual([CLS, ONE, SEP, MASK, MASK, MASK, MASK, MASK]);
    expect(short.attended).toBe(3);
    expect(short.kept).toHaveLength(8);
    const change = { queryExpansion: true, expansion, attendToExpansion: true };
    expect(query('one', change).attended).toBe(8);
    expect(query('one '.repeat(20), change).ids).toHaveLength(8);
  });

  it('with "min" expansion has at least that many, and more where the text is longer', () => {
    const expansion = { strategy: 'min', length: 5, tokenId: MASK } as const;
    expect(query('one', { expansion }).ids).toEqual([CLS, ONE, SEP, MASK, MASK]);
    expect(query('one two three one', { expansion }).ids).toHaveLength(6);
    expect(query('one '.repeat(20), { expansion }).ids).toHaveLength(8);
  });

  it('is tokenised with its prompt', () => {
    expect(query('two', { queryPrompt: 'one, ' }).ids.slice(1, 4)).toEqual([ONE, idOf(','), TWO]);
  });
});

describe('a document', () => {
  it('keeps only the tokens that are listed, if some are', () => {
    const change = { keepOnlyIds: [TWO] };
    expect(sequenceOf('one two', 'document', { ...base, ...change }).kept).toEqual([2]);
    // A document without any would be none: [CLS] stands for it.
    expect(sequenceOf('one', 'document', { ...base, ...change }).kept).toEqual([0]);
  });

  it('that is long is cut off with a count, or split into windows that overlap', () => {
    const text = 'one two three '.repeat(5);
    const cut = sequencesOf(text, 'document', base);
    expect(cut.sequences.map(({ ids }) => ids.length)).toEqual([8]);
    expect(cut.truncatedTokens).toBe(9);
    const longDocuments = { windowOverlap: 2 };
    const split = sequencesOf(text, 'document', { ...base, longDocuments });
    // 15 tokens, 6 a window, 2 shared: 0-5, 4-9, 8-13, 12-14.
    expect(split.sequences.map(({ firstToken, ids }) => [firstToken, ids.length])).toEqual([
      [0, 8],
      [4, 8],
      [8, 8],
      [12, 5],
    ]);
    for (const { ids } of split.sequences) expect([ids[0], ids.at(-1)]).toEqual([CLS, SEP]);
    expect(split.truncatedTokens).toBe(0);
  });

  it('that just fits is one window', () => {
    const recipe: Recipe = { ...base, longDocuments: { windowOverlap: 2 } };
    expect(sequencesOf('one '.repeat(6), 'document', recipe).sequences).toHaveLength(1);
    expect(sequencesOf('', 'document', recipe).sequences).toHaveLength(1);
    expect(sequencesOf('one '.repeat(7), 'document', recipe).sequences).toHaveLength(2);
  });

  it('that is split has at most 65,535 vectors, and says what is left', () => {
    const recipe: Recipe = { ...base, longDocuments: { windowOverlap: 0 } };
    const { sequences, truncatedTokens } = sequencesOf('one '.repeat(60_000), 'document', recipe);
    const vectors = sequences.reduce((sum, { kept }) => sum + kept.length, 0);
    expect(vectors).toBe(65_528); // of 8 each
    expect(truncatedTokens).toBe(60_000 - sequences.length * 6);
  });
});

it('spans follow windows and leave prompts out', () => {
  const recipe: Recipe = {
    ...base,
    longDocuments: { windowOverlap: 2 },
    documentPrompt: 'three ',
  };
  const text = 'one two three one two three';
  const rows = tokenSpans({ directory: '', recipe, kind: 'document', text }, tokenizer);
  const found = rows.map(({ token, span }) => (span ? text.slice(...span) : token));
  expect(found).toEqual([
    ...['[CLS]', 'three', 'one', 'two', 'three', 'one', 'two', '[SEP]'],
    ...['[CLS]', 'one', 'two', 'three', '[SEP]'],
  ]);
  expect(rows[1]?.span).toBeNull();
});

describe('on model threads', () => {
  let pool: WorkerPool;
  beforeAll(() => {
    pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
  });
  afterAll(() => pool.close());

  it('a split document has the vectors of all its windows, and their number', async () => {
    const options = { ...OPTIONS, longDocuments: 'split', windowOverlap: 2 } as const;
    const encoder = await ModelEncoder.open({ model: tinyModel(), ...options }, pool);
    const text = 'one two three '.repeat(5);
    const [split, short] = await encoder.encodeDocuments([text, 'one']);
    expect(split).toMatchObject({ windows: 4, truncatedTokens: 0, tokenCount: 15 + 6 + 8 });
    expect(split?.vectors).toHaveLength(29 * 8);
    expect(short).toMatchObject({ tokenCount: 3 });
    expect(short).not.toHaveProperty('windows');
    expect(await encoder.explainTokens(text, 'document')).toHaveLength(29);
  });

  it('pools the documents, and no queries', async () => {
    const encoder = await ModelEncoder.open(
      { model: tinyModel(), ...OPTIONS, poolFactor: 2 },
      pool,
    );
    const text = 'one two three one two';
    expect((await encoder.encodeDocuments([text]))[0]).toMatchObject({ tokenCount: 4 });
    expect((await encoder.encodeQueries([text]))[0]).toMatchObject({ tokenCount: 7 });
  });

  it('text cannot forge a marker or [MASK], unless it is to be read as written', async () => {
    const plain = await ModelEncoder.open({ model: tinyModel(), ...OPTIONS }, pool);
    const tokens = async (encoder: ModelEncoder) =>
      (await encoder.explainTokens('[MASK] one', 'document')).map(({ token }) => token);
    expect(await tokens(plain)).toEqual(['[CLS]', '[', 'mask', ']', 'one', '[SEP]']);
    const written = await ModelEncoder.open(
      { model: tinyModel(), ...OPTIONS, specialTokens: 'as-written' },
      pool,
    );
    expect(await tokens(written)).toEqual(['[CLS]', '[MASK]', 'one', '[SEP]']);
    expect(written.fingerprint).not.toBe(plain.fingerprint);
  });
});
