/**
 * all-MiniLM-L6-v2 as an untrained late-interaction model, described by hand: a graph that gives raw
 * states. Its weights are not in the repository: MAXSIM_TEST_MODELS names the folder that has
 * all-MiniLM-L6-v2/ and fixtures/colbert_minilm_raw384.json.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeTexts } from '../../dist/encode/encode-texts.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { type Recipe, tokenizerOptions } from '../../dist/encode/recipe.js';
import { toSequences } from '../../dist/encode/sequence.js';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import type { EncodedText } from '../../dist/types.js';
import { maxSim } from '../maxsim/reference.js';

type Fixture = {
  queries: string[];
  documents: string[];
  configs: {
    query_length: number;
    document_length: number;
    query_tokens: { input_ids: number[] }[];
    document_tokens: { input_ids: number[]; keep: string }[];
    scores: number[][];
  }[];
};

const folder = process.env['MAXSIM_TEST_MODELS'] ?? '';
const model = join(folder, 'all-MiniLM-L6-v2');
const golden = join(folder, 'fixtures', 'colbert_minilm_raw384.json');
const missing =
  folder === '' || !existsSync(model) || !existsSync(golden)
    ? ' (skipped: MAXSIM_TEST_MODELS names no folder with all-MiniLM-L6-v2 and its fixture)'
    : '';

function sequenceOf(
  text: string,
  kind: 'query' | 'document',
  recipe: Recipe,
  tokenizer: TextTokenizer,
) {
  const pieces = { ids: tokenizer.encode(text), total: 0 };
  const { sequences } = toSequences(pieces, kind, recipe, tokenizer);
  return sequences[0] as (typeof sequences)[number];
}

describe.skipIf(missing !== '')(`all-MiniLM-L6-v2 by hand${missing}`, () => {
  it('has the token ids and, within 1e-4, the scores of PyLate', async () => {
    const { queries, documents, configs } = JSON.parse(readFileSync(golden, 'utf8')) as Fixture;
    const config = configs[0] as Fixture['configs'][number];
    const { recipe, graph, directory } = await loadRecipe({
      model,
      queryLength: config.query_length,
      documentLength: config.document_length,
      skiplist: [...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'],
      specialTokens: 'as-written',
    });
    expect(recipe).toMatchObject({ layout: 'by-hand', dim: 384, normalise: true });
    const tokenizer = await TextTokenizer.open(directory, tokenizerOptions(recipe));
    queries.forEach((text, i) => {
      const { ids } = sequenceOf(text, 'query', recipe, tokenizer);
      expect(ids, text).toEqual(config.query_tokens[i]?.input_ids);
    });
    documents.forEach((text, i) => {
      const { ids, kept } = sequenceOf(text, 'document', recipe, tokenizer);
      const expected = config.document_tokens[i];
      expect(ids, text).toEqual(expected?.input_ids);
      const keep = ids.map((_, token) => (kept.includes(token) ? '1' : '0')).join('');
      expect(keep, text).toBe(expected?.keep);
    });
    const session = await OnnxSession.open(graph);
    const encode = async (kind: 'query' | 'document', texts: string[]): Promise<EncodedText[]> => {
      const steps = encodeTexts({ texts, kind, recipe, graph, directory }, tokenizer, session);
      for (;;) {
        const step = await steps.next();
        if (step.done) return step.value;
      }
    };
    const encodedQueries = await encode('query', queries);
    const encodedDocuments = await encode('document', documents);
    await session.close();
    let largest = 0;
    encodedQueries.forEach((query, q) => {
      encodedDocuments.forEach((document, d) => {
        const score = maxSim(query.vectors, document.vectors, recipe.dim);
        largest = Math.max(largest, Math.abs(score - (config.scores[q]?.[d] as number)));
      });
    });
    expect(largest).toBeLessThan(1e-4);
  }, 60_000);
});
