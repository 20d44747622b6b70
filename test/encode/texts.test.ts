import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import type { ModelOptions } from '../../dist/encode/model-options.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import type { EncodedText } from '../../dist/types.js';

/** Token ids that Python's tokenizers give for texts at the edges: goldens/edge_texts.py. */
type Ids = number[] | { count: number; first: number[]; sha256: string };
type Edges = {
  texts: Record<string, string>;
  models: Record<
    string,
    {
      lower_case: boolean;
      markers: number[];
      as_written: Record<string, Ids>;
      plain: Record<string, Ids>;
    }
  >;
};

const golden = (path: string): string =>
  fileURLToPath(new URL(`../golden/${path}`, import.meta.url));
const edges = JSON.parse(readFileSync(golden('edge-texts.json'), 'utf8')) as Edges;

/** As the file writes them: long ones by their digest. */
function written(ids: readonly number[]): Ids {
  if (ids.length <= 200) return [...ids];
  const sha256 = createHash('sha256').update(ids.join()).digest('hex');
  return { count: ids.length, first: ids.slice(0, 5), sha256 };
}

describe.each(Object.entries(edges.models))('token ids of %s', (name, model) => {
  it.each([
    ['as-written', model.as_written],
    ['plain', model.plain],
  ] as const)('%s', async (specialTokens, expected) => {
    const tokenizer = await TextTokenizer.open(golden(`encoders/${name}`), {
      specialTokens,
      lowerCase: model.lower_case && 'text',
      markerIds: model.markers,
    });
    for (const [what, text] of Object.entries(edges.texts))
      expect.soft(written(tokenizer.encode(text)), what).toEqual(expected[what]);
  });
});

let pool: WorkerPool;
beforeAll(() => {
  pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { threads: 1 });
});
afterAll(() => pool.close());

const open = (model: string, options: ModelOptions = {}): Promise<ModelEncoder> =>
  ModelEncoder.open({ model, ...options }, pool);

/** Whole, finite, of unit length. */
function expectSound({ vectors, tokenCount }: EncodedText, dim: number, what: string): void {
  expect(vectors.length, what).toBe(tokenCount * dim);
  for (let at = 0; at < vectors.length; at += dim)
    expect(Math.hypot(...vectors.subarray(at, at + dim)), what).toBeCloseTo(1, 4);
}

describe('the shipped model', () => {
  let encoder: ModelEncoder;
  beforeAll(async () => {
    encoder = await open('default');
  });
  const texts = Object.entries(edges.texts).filter(([, text]) => text.trim() !== '');

  it('refuses empty and blank texts', async () => {
    for (const text of [edges.texts['empty'], edges.texts['blank']]) {
      const texts = [text as string];
      await expect(encoder.encodeDocuments(texts)).rejects.toMatchObject({ code: 'EMPTY_TEXT' });
      await expect(encoder.encodeQueries(texts)).rejects.toMatchObject({ code: 'EMPTY_TEXT' });
    }
  });

  it('makes sound documents of every text', async () => {
    const encoded = await encoder.encodeDocuments(texts.map(([, text]) => text));
    texts.forEach(([what], i) => {
      const document = encoded[i] as EncodedText;
      expectSound(document, encoder.dim, what);
      expect(document.tokenCount, what).toBeGreaterThan(0);
      expect(document.tokenCount, what).toBeLessThanOrEqual(encoder.recipe.documentLength);
    });
  });

  it('makes sound queries of every text, of one length with expansion', async () => {
    const expanding = await open('default', { queryExpansion: true });
    const short = await encoder.encodeQueries(texts.map(([, text]) => text));
    const long = await expanding.encodeQueries(texts.map(([, text]) => text));
    texts.forEach(([what], i) => {
      for (const encoded of [short[i], long[i]])
        expectSound(encoded as EncodedText, encoder.dim, what);
      expect((short[i] as EncodedText).tokenCount, what).toBeLessThanOrEqual(32);
      expect((long[i] as EncodedText).tokenCount, what).toBe(32);
    });
  });

  it('a text that normalises to nothing is [CLS], marker and [SEP] alone', async () => {
    for (const text of [' \t\n ', '\u0000', '\u200d']) {
      const tokens = await encoder.explainTokens(text, 'document');
      expect(tokens.map(({ token }) => token)).toEqual(['[CLS]', '[unused1]', '[SEP]']);
    }
  });

  it('reads each lone surrogate as U+FFFD', async () => {
    const [lone, replaced] = await encoder.encodeDocuments([
      'a \ud83d b \udc4d',
      'a \ufffd b \ufffd',
    ]);
    expect(lone).toEqual(replaced);
  });

  it('a long text is cut to the document length, and what was cut is counted', async () => {
    const line = 'meals above 40 euros need a receipt, ';
    const texts = [100, 1_000, 28_000].map((count) => line.repeat(count));
    expect(texts[2]?.length).toBeGreaterThan(1_000_000);
    const encoded = await encoder.encodeDocuments(texts);
    const tokens = encoded.map(
      ({ truncatedTokens }) => truncatedTokens + encoder.recipe.documentLength - 3,
    );
    const [short = 0, middle, megabyte = 0] = tokens;
    expect(middle).toBe(short * 10);
    // Of a megabyte, not all need be read to count its tokens.
    expect(Math.abs(megabyte / (short * 280) - 1)).toBeLessThan(0.01);
    for (const { vectors } of encoded) expect(vectors).toEqual(encoded[0]?.vectors);
  });
});

describe.each(['pylate-bert', 'pylate-bytes', 'pylate-modernbert', 'xlmr'])('%s', (name) => {
  const model = golden(`encoders/${name}`);
  const hostile =
    '[MASK] [CLS] [unused0] [unused1] <s> </s> <mask> [Q] [D] [QueryMarker][DocumentMarker]';

  it('a text cannot put special tokens or markers into the input', async () => {
    const encoder = await open(model, { skiplist: [] });
    const names = async (text: string): Promise<string[]> =>
      (await encoder.explainTokens(text, 'document')).map(({ token }) => token);
    const around = await names('');
    expect(around).toHaveLength(3);
    const tokens = await names(hostile);
    expect(tokens.slice(0, 2)).toEqual(around.slice(0, 2));
    expect(tokens.at(-1)).toBe(around.at(-1));
    const special = [
      ...['[MASK]', '[CLS]', '[SEP]', '[unused0]', '[unused1]', '<s>', '</s>', '<mask>'],
      ...['[Q] ', '[D] ', '[QueryMarker]', '[DocumentMarker]', ...around],
    ];
    expect(tokens.slice(2, -1).filter((token) => special.includes(token))).toEqual([]);
  });

  it('as-written, it can', async () => {
    const encoder = await open(model, { skiplist: [], specialTokens: 'as-written' });
    const tokens = (await encoder.explainTokens(hostile, 'document')).slice(2, -1);
    const marker = encoder.recipe.documentMarkerId;
    const own = (await encoder.explainTokens('', 'document'))[1]?.token;
    expect(marker).not.toBeNull();
    // Lower-cased before it is tokenised, no text is "[D] ".
    const isMarker = ({ token }: { token: string }): boolean => token === own;
    expect(tokens.some(isMarker)).toBe(!encoder.recipe.lowerCase);
  });
});

describe('long documents', () => {
  const model = golden('encoders/pylate-bert');
  const text = Array.from({ length: 150 }, (_, i) => `meals ${i} above`).join(' ');

  it('are cut, or split into windows that overlap, each with its markers', async () => {
    const options = { skiplist: [] };
    const cut = await open(model, options);
    const split = await open(model, { ...options, longDocuments: 'split', windowOverlap: 7 });
    const [short] = (await cut.encodeDocuments([text])) as [EncodedText];
    const [long] = (await split.encodeDocuments([text])) as [EncodedText];
    const { documentLength } = cut.recipe;
    const room = documentLength - 3;
    const total = room + short.truncatedTokens;
    const windows = 1 + Math.ceil((total - room) / (room - 7));
    expect(short.tokenCount).toBe(documentLength);
    expect(long.truncatedTokens).toBe(0);
    expect(long.windows).toBe(windows);
    // Every token once, those of the overlaps twice, [CLS], marker and [SEP] in each window.
    expect(long.tokenCount).toBe(total + (windows - 1) * 7 + windows * 3);
    expectSound(long, split.dim, 'windows');
    const first = long.vectors.subarray(0, short.vectors.length);
    const apart = first.reduce(
      (most, x, i) => Math.max(most, Math.abs(x - (short.vectors[i] as number))),
      0,
    );
    expect(apart).toBeLessThan(1e-5);
    const names = (await split.explainTokens(text, 'document')).map(({ token }) => token);
    expect(names.filter((token) => token === '[CLS]')).toHaveLength(windows);
    const second = names.slice(documentLength);
    expect(second.slice(2, 9)).toEqual(names.slice(documentLength - 8, documentLength - 1));
  });

  it('short ones are one window whatever is asked', async () => {
    const split = await open(model, { longDocuments: 'split' });
    const [document] = await split.encodeDocuments(['meals above']);
    expect(document).not.toHaveProperty('windows');
  });

  it('an overlap that leaves no room for text is refused', async () => {
    await expect(open(model, { longDocuments: 'split', windowOverlap: 37 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});
