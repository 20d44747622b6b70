import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import type { ModelOptions } from '../../dist/encode/model-options.js';
import { tokenizerOptions } from '../../dist/encode/recipe.js';
import { piecesOf, toSequences } from '../../dist/encode/sequence.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import type { EncodedText } from '../../dist/types.js';
import { maxSim } from '../maxsim/reference.js';

/** Tiny models with what the original libraries make of some texts: goldens/README.md. */
const folder = fileURLToPath(new URL('../golden/encoders/', import.meta.url));

type Text = { text: string; ids?: number[]; vectors: number[][] };

type Expected = {
  options: Omit<ModelOptions, 'model'>;
  queries: Text[];
  documents: Text[];
  scores: number[][];
  pooled?: Record<string, number[][][]>;
};

const readExpected = (name: string): Expected =>
  JSON.parse(readFileSync(`${folder}${name}/expected.json`, 'utf8')) as Expected;

const models = readdirSync(folder).map((name) => ({ name, expected: readExpected(name) }));

let pool: WorkerPool;
beforeAll(() => {
  pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
});
afterAll(() => pool.close());

/** Largest difference of two lists of vectors, in the order given. */
function difference(encoded: EncodedText, expected: readonly number[][]): number {
  const values = expected.flat();
  expect(encoded.vectors.length).toBe(values.length);
  return values.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (encoded.vectors[i] as number))),
    0,
  );
}

/** For pooled vectors, whose order means nothing. */
function sorted(vectors: readonly number[][]): number[][] {
  return [...vectors].sort((a, b) => (a[0] as number) - (b[0] as number));
}

function rowsOf({ vectors }: EncodedText, dim: number): number[][] {
  return Array.from({ length: vectors.length / dim }, (_, i) => [
    ...vectors.subarray(i * dim, (i + 1) * dim),
  ]);
}

// Rounded to 6 decimals in the file; what is beyond is onnxruntime's own rounding.
const TOLERANCE = 2e-5;

describe.each(models)('$name, as its own library reads it', ({ name, expected }) => {
  const model = { model: `${folder}${name}`, ...expected.options };
  let encoder: ModelEncoder;
  beforeAll(async () => {
    encoder = await ModelEncoder.open(model, pool);
  });

  it('every token id', async () => {
    const { recipe, directory } = await loadRecipe(model);
    const tokenizer = await TextTokenizer.open(directory, tokenizerOptions(recipe));
    for (const kind of ['query', 'document'] as const) {
      for (const { text, ids } of kind === 'query' ? expected.queries : expected.documents) {
        if (ids === undefined) continue;
        const steps = piecesOf(text, kind, recipe, tokenizer);
        let step = steps.next();
        while (!step.done) step = steps.next();
        const { sequences } = toSequences(step.value, kind, recipe, tokenizer);
        expect(sequences[0]?.ids, text).toEqual(ids);
      }
    }
  });

  it('every vector and score', async () => {
    const queries = await encoder.encodeQueries(expected.queries.map(({ text }) => text));
    const documents = await encoder.encodeDocuments(expected.documents.map(({ text }) => text));
    const { pooling } = encoder.recipe;
    expected.queries.forEach(({ text, vectors }, i) => {
      expect(difference(queries[i] as EncodedText, vectors), text).toBeLessThan(TOLERANCE);
    });
    expected.documents.forEach(({ text, vectors }, i) => {
      const document = documents[i] as EncodedText;
      if (pooling === null) {
        expect(difference(document, vectors), text).toBeLessThan(TOLERANCE);
        return;
      }
      const ours = sorted(rowsOf(document, encoder.dim)).flat();
      const theirs = sorted(vectors).flat();
      expect(ours.length, text).toBe(theirs.length);
      ours.forEach((value, k) => {
        expect(Math.abs(value - (theirs[k] as number)), text).toBeLessThan(TOLERANCE);
      });
    });
    queries.forEach((query, q) => {
      documents.forEach((document, d) => {
        const score = maxSim(query.vectors, document.vectors, encoder.dim);
        expect(Math.abs(score - (expected.scores[q]?.[d] as number))).toBeLessThan(1e-3);
      });
    });
  });

  it('says which token each row stands for', async () => {
    for (const { text } of expected.queries) {
      const [encoded] = await encoder.encodeQueries([text]);
      expect(await encoder.explainTokens(text, 'query')).toHaveLength(
        (encoded as EncodedText).tokenCount,
      );
    }
    if (encoder.recipe.pooling !== null) return;
    const text = 'business class is booked';
    const [encoded] = await encoder.encodeDocuments([text]);
    const tokens = await encoder.explainTokens(text, 'document');
    expect(tokens).toHaveLength((encoded as EncodedText).tokenCount);
    const spans = tokens.flatMap(({ span }) => (span === null ? [] : [text.slice(...span)]));
    expect(spans.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
  });
});

it('pools as PyLate does', async () => {
  const { documents, options, pooled = {} } = readExpected('pylate-bytes');
  for (const [factor, expected] of Object.entries(pooled)) {
    const model = { model: `${folder}pylate-bytes`, ...options, poolFactor: Number(factor) };
    const encoder = await ModelEncoder.open(model, pool);
    const encoded = await encoder.encodeDocuments(documents.map(({ text }) => text));
    encoded.forEach((document, i) => {
      const ours = sorted(rowsOf(document, encoder.dim)).flat();
      const theirs = sorted(expected[i] as number[][]).flat();
      expect(ours.length).toBe(theirs.length);
      ours.forEach((value, k) => {
        expect(Math.abs(value - (theirs[k] as number))).toBeLessThan(TOLERANCE);
      });
    });
  }
});

it('cuts vectors to fewer dims, and brings those to unit length', async () => {
  const { queries, options } = readExpected('xlmr');
  const encoder = await ModelEncoder.open({ model: `${folder}xlmr`, ...options, dim: 8 }, pool);
  const encoded = await encoder.encodeQueries(queries.map(({ text }) => text));
  queries.forEach(({ vectors }, i) => {
    const cut = vectors.map((row) => {
      const head = row.slice(0, 8);
      const norm = Math.hypot(...head);
      return head.map((x) => x / norm);
    });
    expect(difference(encoded[i] as EncodedText, cut)).toBeLessThan(TOLERANCE);
  });
});
