import { afterAll, describe, expect, it } from 'vitest';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import type { ModelOptions } from '../../dist/encode/model-options.js';
import { fingerprintOf, type Recipe } from '../../dist/encode/recipe.js';
import { idOf, removeModels, type TinyModel, tinyModel, wordPiece } from './tiny-model.js';

afterAll(removeModels);

const PYLATE = { model_type: 'ColBERT', query_prefix: '[unused0]', document_prefix: '[unused1]' };
const NEXT_PLAID = {
  query_prefix: '[unused0]',
  document_prefix: '[unused1]',
  query_length: 32,
  document_length: 300,
  do_query_expansion: false,
  attend_to_expansion_tokens: false,
  skiplist_words: ['!'],
  embedding_dim: 8,
};

async function recipeOf(
  model: TinyModel,
  options: Omit<ModelOptions, 'model'> = {},
): Promise<Recipe> {
  return (await loadRecipe({ model: tinyModel(model), ...options })).recipe;
}

async function refusal(
  model: TinyModel,
  options: Omit<ModelOptions, 'model'> = {},
): Promise<string> {
  const error: unknown = await recipeOf(model, options).catch((cause: unknown) => cause);
  expect(error).toMatchObject({ name: 'MaxSimError' });
  return (error as Error).message;
}

describe('PyLate', () => {
  it('expands queries, to 32 ids, where its file says nothing', async () => {
    const recipe = await recipeOf({ files: { 'config_sentence_transformers.json': PYLATE } });
    expect(recipe).toMatchObject({
      layout: 'pylate',
      queryMarkerId: idOf('[unused0]'),
      documentMarkerId: idOf('[unused1]'),
      queryLength: 32,
      documentLength: 180,
      queryExpansion: true,
      attendToExpansion: false,
      expansion: { strategy: 'fixed', length: 32, tokenId: idOf('[MASK]') },
      querySkiplistIds: [],
      lowerCase: false,
      specialTokens: 'plain',
      dim: 8,
    });
  });

  it('is not overruled by the false that an exporter wrote', async () => {
    const files = { 'config_sentence_transformers.json': PYLATE, 'onnx_config.json': NEXT_PLAID };
    const recipe = await recipeOf({ files });
    expect(recipe).toMatchObject({ layout: 'pylate', queryExpansion: true, documentLength: 300 });
    expect(recipe.notes.join()).toContain('do_query_expansion');
  });

  it('keeps its own false', async () => {
    const config = { ...PYLATE, do_query_expansion: false, attend_to_expansion_tokens: true };
    const recipe = await recipeOf({ files: { 'config_sentence_transformers.json': config } });
    expect(recipe).toMatchObject({
      queryExpansion: false,
      attendToExpansion: false,
      expansion: null,
    });
  });

  it('assumes the markers "[Q] " and "[D] ", which must be single tokens', async () => {
    const files = { 'config_sentence_transformers.json': { model_type: 'ColBERT' } };
    expect(await refusal({ files })).toContain('"[Q] "');
  });

  it('skips unknown tokens for words of the skiplist that are none, and says so', async () => {
    const config = { ...PYLATE, skiplist_words: ['!', '~'] };
    const recipe = await recipeOf({ files: { 'config_sentence_transformers.json': config } });
    expect(recipe.skiplistIds).toEqual([idOf('!'), idOf('[UNK]')]);
    expect(recipe.notes.join()).toContain('~');
  });

  it('puts a prompt between marker and text, once', async () => {
    const prompts = { query: '[unused0]find: ', document: 'passage: ' };
    const files = { 'config_sentence_transformers.json': { ...PYLATE, prompts } };
    expect(await recipeOf({ files })).toMatchObject({
      queryMarkerId: idOf('[unused0]'),
      queryPrompt: 'find: ',
      documentPrompt: 'passage: ',
    });
  });

  it('lower-cases only where the tokenizer does not', async () => {
    const cased = { ...wordPiece(), normalizer: null };
    const files = {
      'config_sentence_transformers.json': PYLATE,
      'sentence_bert_config.json': { do_lower_case: true },
    };
    expect((await recipeOf({ files })).lowerCase).toBe(false);
    expect((await recipeOf({ files: { ...files, 'tokenizer.json': cased } })).lowerCase).toBe(
      'text',
    );
  });
});

describe('onnx_config.json alone', () => {
  it('of BERT’s time: false is what every exporter writes, so queries have 32 vectors', async () => {
    const recipe = await recipeOf({ files: { 'onnx_config.json': NEXT_PLAID } });
    expect(recipe).toMatchObject({
      layout: 'onnx-config',
      queryExpansion: true,
      expansion: { strategy: 'fixed', length: 32 },
      skiplistIds: [idOf('!')],
    });
    expect(recipe.notes.join()).toContain('queryExpansion: false turns it off');
  });

  it('of ModernBERT’s time: false is false', async () => {
    const tokenizer = wordPiece();
    (tokenizer['added_tokens'] as object[]).push(
      { id: idOf('one'), content: '[Q] ', special: false },
      { id: idOf('two'), content: '[D] ', special: false },
    );
    const files = {
      'tokenizer.json': tokenizer,
      'config.json': { model_type: 'modernbert' },
      'onnx_config.json': { ...NEXT_PLAID, query_prefix: '[Q] ', document_prefix: '[D] ' },
    };
    expect(await recipeOf({ files })).toMatchObject({ queryExpansion: false, expansion: null });
  });

  it('gives way to an option by hand', async () => {
    const files = { 'onnx_config.json': NEXT_PLAID };
    const recipe = await recipeOf({ files }, { queryExpansion: false, queryLength: 16 });
    expect(recipe).toMatchObject({ queryExpansion: false, queryLength: 16 });
    expect(recipe.options).toEqual({ queryExpansion: false, queryLength: 16 });
  });
});

describe('Stanford', () => {
  const metadata = {
    query_token_id: '[unused0]',
    doc_token_id: '[unused1]',
    query_maxlen: 24,
    doc_maxlen: 220,
    attend_to_mask_tokens: true,
    mask_punctuation: false,
    dim: 8,
  };

  it('always expands queries, to query_maxlen', async () => {
    const files = { 'artifact.metadata': metadata, 'onnx_config.json': NEXT_PLAID };
    expect(await recipeOf({ files })).toMatchObject({
      layout: 'stanford',
      queryLength: 24,
      documentLength: 220,
      queryExpansion: true,
      attendToExpansion: true,
      expansion: { strategy: 'fixed', length: 24 },
      skiplistIds: [],
    });
  });

  it('is known by its architecture too', async () => {
    const files = { 'config.json': { architectures: ['HF_ColBERT'] } };
    const recipe = await recipeOf({ files });
    expect(recipe).toMatchObject({ layout: 'stanford', queryLength: 32, queryMarkerId: 1 });
  });
});

describe('sentence-transformers', () => {
  const modules = [
    { path: '', type: 'sentence_transformers.base.modules.transformer.Transformer' },
    {
      path: '1_Mask',
      type: 'sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask',
    },
    { path: '2_Normalize', type: 'sentence_transformers.base.modules.normalize.Normalize' },
    {
      path: '3_Pool',
      type: 'sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling',
    },
  ];
  const tokenizer = wordPiece();
  (tokenizer['added_tokens'] as object[]).push({
    id: idOf('[unused0]'),
    content: '[unused0]',
    special: true,
  });
  const files = {
    'tokenizer.json': tokenizer,
    'modules.json': modules,
    'config_sentence_transformers.json': {
      model_type: 'MultiVectorEncoder',
      prompts: { query: '[unused0] find ', document: null },
    },
    'sentence_bert_config.json': {
      query_length: 48,
      document_length: 200,
      query_expansion: { strategy: 'min', length: 12, attend: true, token: '[PAD]' },
    },
    '1_Mask/config.json': {
      skiplist_words: ['!', '~'],
      skiplist_tasks: ['query', 'document'],
      keep_only_token_ids: [9, 17],
    },
    '3_Pool/config.json': { pool_factor: 2, num_protected_tokens: 2 },
  };

  it('is read from its modules', async () => {
    const recipe = await recipeOf({ files });
    expect(recipe).toMatchObject({
      layout: 'sentence-transformers',
      queryMarkerId: idOf('[unused0]'),
      queryPrompt: ' find ',
      documentMarkerId: null,
      documentPrompt: '',
      queryLength: 48,
      documentLength: 200,
      attendToExpansion: true,
      expansion: { strategy: 'min', length: 12, tokenId: idOf('[PAD]') },
      skiplistIds: [idOf('!')],
      querySkiplistIds: [idOf('!')],
      keepOnlyIds: [9, 17],
      pooling: { factor: 2, protectedTokens: 2, normalise: false },
      normalise: true,
    });
  });

  it('with "fixed" expansion has queries of exactly that length', async () => {
    const fixed = { query_length: 48, query_expansion: { strategy: 'fixed', length: 32 } };
    const recipe = await recipeOf({
      files: { ...files, 'sentence_bert_config.json': { document_length: 200, ...fixed } },
    });
    expect(recipe).toMatchObject({ queryLength: 32, expansion: { length: 32 } });
  });

  it('takes the tokenizer’s length where none is given', async () => {
    const recipe = await recipeOf({
      files: {
        ...files,
        'sentence_bert_config.json': {},
        'tokenizer_config.json': { model_max_length: 256 },
      },
    });
    expect(recipe).toMatchObject({ queryLength: 256, documentLength: 256, queryExpansion: false });
  });
});

describe('by hand', () => {
  it('a plain folder needs lengths, and says what was looked for', async () => {
    const message = await refusal({});
    for (const word of ['artifact.metadata', 'onnx_config.json', 'queryLength', 'documentLength'])
      expect(message).toContain(word);
  });

  it('a plain folder with lengths has no markers, expansion or skiplist', async () => {
    const recipe = await recipeOf({}, { queryLength: 64, documentLength: 256 });
    expect(recipe).toMatchObject({
      layout: 'by-hand',
      queryMarkerId: null,
      queryExpansion: false,
      skiplistIds: [],
      normalise: true,
      dim: 8,
    });
  });

  it('finds onnx/model.onnx, takes a file that is named, and names what it lacks', async () => {
    const lengths = { queryLength: 8, documentLength: 8 };
    const graph = 'onnx/model.onnx';
    const files = { 'onnx/model_int8.onnx': undefined };
    expect((await recipeOf({ graph }, lengths)).file).toBe(graph);
    expect(await refusal({ files }, { ...lengths, file: 'onnx/model_int8.onnx' })).toContain(
      'must hold onnx/model_int8.onnx',
    );
  });

  it('refuses lengths beyond the positions that the model has', async () => {
    const message = await refusal({}, { queryLength: 32, documentLength: 600 });
    expect(message).toContain('documentLength is 600, but the model has positions for 512');
    const roberta = { model_type: 'roberta', max_position_embeddings: 514, pad_token_id: 1 };
    expect(
      await refusal(
        { files: { 'config.json': roberta } },
        { queryLength: 32, documentLength: 513 },
      ),
    ).toContain('positions for 512');
  });

  it('cuts to a smaller dim, then normalises; a larger one, or one not trained, is refused', async () => {
    const lengths = { queryLength: 8, documentLength: 8 };
    const wide = { width: 32, normalised: true };
    expect(await recipeOf(wide, { ...lengths, dim: 16 })).toMatchObject({ dim: 16 });
    expect(await recipeOf(wide, lengths)).toMatchObject({ dim: 32 });
    expect(await refusal(wide, { ...lengths, dim: 64 })).toContain('64 cannot be kept');
  });

  it.each([
    [{ queryLength: '32' }, 'model.queryLength'],
    [{ expansion: true }, 'has no option "expansion"'],
    [{ poolFactor: 0.5 }, 'model.poolFactor'],
    [{ windowOverlap: 3 }, "longDocuments: 'split'"],
    [{ specialTokens: 'both' }, 'plain, as-written'],
  ])('refuses the options %j', async (options, words) => {
    expect(await refusal({}, options as Omit<ModelOptions, 'model'>)).toContain(words);
  });
});

it('a fingerprint changes with what decides vectors, and with nothing else', async () => {
  const model = tinyModel({ files: { 'config_sentence_transformers.json': PYLATE } });
  const first = await loadRecipe(model);
  const { recipe } = first;
  const others: Partial<Recipe>[] = [
    { queryPrompt: 'q' },
    { documentLength: 181 },
    { lowerCase: 'text' },
    { specialTokens: 'as-written' },
    { normalise: false },
    { pooling: { factor: 2, protectedTokens: 1, normalise: false } },
    { trim: true },
    { longDocuments: { windowOverlap: 10 } },
    { keepOnlyIds: [1] },
    { expansion: { strategy: 'min', length: 32, tokenId: idOf('[MASK]') } },
  ];
  const fingerprints = others.map((change) => fingerprintOf({ ...recipe, ...change }));
  expect(new Set([first.fingerprint, ...fingerprints]).size).toBe(others.length + 1);
  const same = { model: 'x', layout: 'by-hand', file: 'y', options: { dim: 8 }, notes: ['z'] };
  expect(fingerprintOf({ ...recipe, ...(same as Partial<Recipe>) })).toBe(first.fingerprint);
});

it('the shipped model keeps the fingerprint that it had before recipes said more', async () => {
  const { fingerprint } = await loadRecipe({ model: 'default', specialTokens: 'as-written' });
  expect(fingerprint).toBe('e11478a71fef588212bb30db2259324c');
});
