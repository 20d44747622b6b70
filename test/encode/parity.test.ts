import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { encodeTexts } from '../../dist/encode/encode-texts.js';
import { type LoadedRecipe, loadRecipe } from '../../dist/encode/load-recipe.js';
import { type Recipe, tokenizerOptions } from '../../dist/encode/recipe.js';
import { type Sequence, type TextKind, toSequences } from '../../dist/encode/sequence.js';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import type { EncodedText } from '../../dist/types.js';
import { maxSim } from '../maxsim/reference.js';

type Config = {
  do_query_expansion: boolean;
  query_prefix_id: number;
  document_prefix_id: number;
  query_length: number;
  document_length: number;
  skiplist_ids: number[];
  query_tokens: { input_ids: number[]; attention_mask: number[]; vectors: number }[];
  document_tokens: { input_ids: number[]; keep: string; vectors: number }[];
  scores: number[][];
  sample_embeddings: { kind: 'query' | 'document'; index: number; rows: number[][] }[];
};

type Fixture = { queries: string[]; documents: string[]; configs: Config[] };

const fixture = JSON.parse(
  readFileSync(
    new URL('../../models/answerai-colbert-small-v1-int8-pca96/parity.json', import.meta.url),
    'utf8',
  ),
) as Fixture;

let loaded: LoadedRecipe;
let tokenizer: TextTokenizer;
let session: OnnxSession;
const recipes = new Map<boolean, Recipe>();

beforeAll(async () => {
  // As the reference reads texts: "[unused0]" in one is that token.
  const options = { model: 'default', specialTokens: 'as-written' } as const;
  loaded = await loadRecipe(options);
  for (const queryExpansion of [false, true])
    recipes.set(queryExpansion, (await loadRecipe({ ...options, queryExpansion })).recipe);
  tokenizer = await TextTokenizer.open(loaded.directory, tokenizerOptions(loaded.recipe));
  session = await OnnxSession.open(loaded.graph);
});

async function encode(
  texts: string[],
  kind: 'query' | 'document',
  recipe: Recipe,
): Promise<EncodedText[]> {
  const { directory, graph } = loaded;
  const steps = encodeTexts({ texts, kind, recipe, directory, graph }, tokenizer, session);
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

it('reads the recipe that the model was exported with', () => {
  const config = fixture.configs[0] as Config;
  expect(loaded.recipe).toMatchObject({
    queryMarkerId: config.query_prefix_id,
    documentMarkerId: config.document_prefix_id,
    queryLength: config.query_length,
    documentLength: config.document_length,
    queryExpansion: false,
    dim: 96,
  });
  expect([...loaded.recipe.skiplistIds].sort()).toEqual([...config.skiplist_ids].sort());
});

describe.each(fixture.configs.map((config) => [config.do_query_expansion, config] as const))(
  'with query expansion %s, PyLate and this encoder agree',
  (queryExpansion, config) => {
    const recipe = (): Recipe => recipes.get(queryExpansion) as Recipe;
    const sequenceOf = (text: string, kind: TextKind): Sequence =>
      toSequences({ ids: tokenizer.encode(text), total: 0 }, kind, recipe(), tokenizer)
        .sequences[0] as Sequence;

    it('on every token id and attended token of every query', () => {
      fixture.queries.forEach((text, i) => {
        const expected = config.query_tokens[i] as Config['query_tokens'][number];
        const sequence = sequenceOf(text, 'query');
        expect(sequence.ids, text).toEqual(expected.input_ids);
        expect(sequence.attended, text).toBe(expected.attention_mask.filter((x) => x === 1).length);
        expect(sequence.kept.length, text).toBe(expected.vectors);
      });
    });

    it('on every token id and kept token of every document', () => {
      fixture.documents.forEach((text, i) => {
        const expected = config.document_tokens[i] as Config['document_tokens'][number];
        const sequence = sequenceOf(text, 'document');
        expect(sequence.ids, text).toEqual(expected.input_ids);
        const keep = sequence.ids.map((_, token) => (sequence.kept.includes(token) ? '1' : '0'));
        expect(keep.join(''), text).toBe(expected.keep);
      });
    });

    it('on every score, within 0.01 a query vector', async () => {
      const queries = await encode(fixture.queries, 'query', recipe());
      const documents = await encode(fixture.documents, 'document', recipe());
      queries.forEach((query, q) => {
        documents.forEach((document, d) => {
          const expected = config.scores[q]?.[d] as number;
          const score = maxSim(query.vectors, document.vectors, 96);
          expect(Math.abs(score - expected), `query ${q}, document ${d}`).toBeLessThan(
            0.01 * query.tokenCount,
          );
        });
      });
    });

    it('on sample vectors, which are unit-length and point the same way', async () => {
      for (const sample of config.sample_embeddings) {
        const text = (sample.kind === 'query' ? fixture.queries : fixture.documents)[sample.index];
        const [encoded] = await encode([text as string], sample.kind, recipe());
        sample.rows.forEach((row, i) => {
          const vector = (encoded as EncodedText).vectors.subarray(i * 96, i * 96 + 96);
          const cosine = row.reduce((sum, x, k) => sum + x * (vector[k] as number), 0);
          const norm = vector.reduce((sum, x) => sum + x * x, 0);
          expect(norm).toBeCloseTo(1, 4);
          expect(cosine).toBeGreaterThan(0.98);
        });
      }
    });
  },
);

it('gives a text the same vectors alone and in a batch', async () => {
  const texts = fixture.documents;
  const together = await encode(texts, 'document', loaded.recipe);
  for (let i = 0; i < texts.length; i += 3) {
    const [alone] = await encode([texts[i] as string], 'document', loaded.recipe);
    const score = maxSim((alone as EncodedText).vectors, (together[i] as EncodedText).vectors, 96);
    expect(score / (alone as EncodedText).tokenCount).toBeCloseTo(1, 5);
  }
});
