import { describe, expect, it } from 'vitest';
import { drawSample, type SampleOptions } from '../../dist/evaluate/calibration-sample.js';
import { type Encoder, Index } from '../../dist/maxsim.js';
import { pseudoQuery } from '../../dist/pseudo-queries.js';
import { drawSome, Reservoir, seededRandom } from '../../dist/random.js';
import { DIM, refusal, temporaryDirectory, unitVectors } from '../index/fixtures.js';

const TOKENS = 6;

/** Vectors by the letters of a text: nothing but its words decide. */
const vectorsOf = (text: string): Float32Array =>
  unitVectors(
    seededRandom([...text].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) % 2 ** 31),
    TOKENS,
  );

const encode = async (texts: readonly string[]) =>
  texts.map((text) => ({ vectors: vectorsOf(text), tokenCount: TOKENS, truncatedTokens: 0 }));

const encoder: Encoder = {
  dim: DIM,
  fingerprint: 'letters',
  recipe: {},
  encodeQueries: encode,
  encodeDocuments: encode,
  explainTokens: async () => [],
  close: async () => {},
};

const textOf = (i: number): string => `This is the only sentence of document ${i}.`;

async function indexOf(
  count: number,
  codec: 'f32' | 'int8',
  make: (i: number) => { text?: string; vectors?: Float32Array } = (i) => ({ text: textOf(i) }),
): Promise<Index> {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec });
  await index.add(
    Array.from({ length: count }, (_, i) => {
      const { text, vectors = vectorsOf(text ?? '') } = make(i);
      return { id: `d${i}`, vectors, ...(text === undefined ? {} : { text }) };
    }),
  );
  return index;
}

const options = (more: Partial<SampleOptions> = {}): SampleOptions => ({
  documents: 1000,
  seed: 1,
  signal: new AbortController().signal,
  ...more,
});

describe('a sample', () => {
  it('has the exact vectors of a lossy index, encoded again', async () => {
    await using index = await indexOf(40, 'int8');
    const sample = await drawSample(index, encoder, options());
    expect(sample.vectors).toEqual({ stored: 0, encoded: 40, decoded: 0 });
    for (const { id, vectors } of sample.documents) {
      expect(vectors, id).toEqual(vectorsOf(textOf(Number(id.slice(1)))));
    }
    expect(sample.origin).toBe('text');
    expect(sample.queries).toHaveLength(40);
  });

  it('takes f32 vectors as they are stored', async () => {
    await using index = await indexOf(10, 'f32');
    const sample = await drawSample(index, encoder, options());
    expect(sample.vectors).toEqual({ stored: 10, encoded: 0, decoded: 0 });
    expect(sample.documents[0]?.vectors).toEqual(index.vectors(sample.documents[0]?.id as string));
  });

  it('takes what the codec left where nothing else can be had, and counts it', async () => {
    const other = unitVectors(seededRandom(3), TOKENS + 1);
    await using index = await indexOf(12, 'int8', (i) =>
      i < 4
        ? { vectors: other }
        : i < 8
          ? { text: textOf(i), vectors: other }
          : { text: textOf(i) },
    );
    const { vectors } = await drawSample(index, encoder, options());
    // Four without text, four whose vectors are not those of their text.
    expect(vectors).toEqual({ stored: 0, encoded: 4, decoded: 8 });
    const without = await drawSample(index, null, options());
    expect(without.vectors).toEqual({ stored: 0, encoded: 0, decoded: 12 });
    expect(without.origin).toBe('tokens');
    expect(without.queries).toHaveLength(12);
  });

  it('holds judged documents first, then the best of each query, then any', async () => {
    await using index = await indexOf(200, 'int8');
    const asked = Array.from({ length: 10 }, (_, i) => ({
      id: `q${i}`,
      text: `Query number ${i}, which is about something.`,
      metadata: null,
    }));
    const judgements = new Map([
      ['q0', new Map([['d7', 1] as [string, number], ['d9', 0], ['nowhere', 1]])],
      ['q3', new Map([['d11', 2]])],
    ]);
    const steps: string[] = [];
    const sample = await drawSample(
      index,
      encoder,
      options({
        documents: 60,
        queries: asked,
        judgements,
        onProgress: (unit, done, total) => steps.push(`${unit} ${done}/${total}`),
      }),
    );
    const ids = sample.documents.map(({ id }) => id);
    expect(new Set(ids).size).toBe(60);
    expect(ids.slice(0, 2).sort()).toEqual(['d11', 'd7']);
    expect(ids[2]).toBe('d9');
    expect(sample.relevantLeftOut).toBe(0);
    for (const { vectors } of sample.queries) {
      const { hits } = await index.search(vectors, { topK: 2 });
      const [best, second] = hits;
      expect(ids).toContain(best?.id);
      expect(ids).toContain(second?.id);
    }
    expect(
      sample.queries
        .slice(0, 2)
        .map(({ id }) => id)
        .sort(),
    ).toEqual(['q0', 'q3']);
    expect(steps[0]).toBe('searches 0/10');
    expect(steps.at(-1)).toBe('documents 60/60');
  });

  it('says how many relevant documents found no room, and takes judged queries first', async () => {
    await using index = await indexOf(30, 'int8');
    const asked = ['a', 'b', 'c'].map((id) => ({ id, text: `What is ${id}?`, metadata: null }));
    const judgements = new Map([['c', new Map([0, 1, 2, 3].map((i) => [`d${i}`, 1] as const))]]);
    const sample = await drawSample(
      index,
      encoder,
      options({ documents: 3, queryCount: 1, queries: asked, judgements }),
    );
    expect(sample.queries.map(({ id }) => id)).toEqual(['c']);
    expect(sample.documents).toHaveLength(3);
    expect(sample.relevantLeftOut).toBe(1);
  });

  it('is the same for the same seed, and another for another', async () => {
    await using index = await indexOf(100, 'int8');
    const draw = async (seed: number) => {
      const sample = await drawSample(
        index,
        encoder,
        options({ documents: 20, queryCount: 5, seed }),
      );
      return [sample.documents, sample.queries].map((list) => list.map(({ id }) => id));
    };
    expect(await draw(1)).toEqual(await draw(1));
    expect(await draw(1)).not.toEqual(await draw(2));
  });

  it('cannot be drawn from nothing, or for queries that no model encodes', async () => {
    await using empty = await Index.open(temporaryDirectory(), { dim: DIM });
    expect((await refusal(() => drawSample(empty, encoder, options()))).message).toMatch(
      /holds no documents to calibrate on/,
    );
    await using index = await indexOf(3, 'int8');
    const queries = [{ id: 'q', text: 'Who?', metadata: null }];
    expect((await refusal(() => drawSample(index, null, options({ queries })))).message).toMatch(
      /^Queries cannot be encoded/,
    );
    const stopped = options({ signal: AbortSignal.abort() });
    expect((await refusal(() => drawSample(index, encoder, stopped))).code).toBe('ABORTED');
  });
});

describe('a query made from a document', () => {
  const random = seededRandom(4);
  const query = (text: string | null, payload: Parameters<typeof pseudoQuery>[0]['payload']) =>
    pseudoQuery({ text, payload }, random);

  it('is its title', () => {
    expect(query('Some text.', { title: ' How to report a lost laptop ' })).toBe(
      'How to report a lost laptop',
    );
  });

  it('is one of its sentences where the title says too little', () => {
    const one = 'The first sentence is about flights.';
    const other = 'The second sentence is about trains.';
    const seen = new Set(
      Array.from({ length: 40 }, () => query(`${one} ${other} No.`, { title: 'T' })),
    );
    expect(seen).toEqual(new Set([one, other]));
  });

  it('is the beginning of a text without such sentences, and null without a text', () => {
    expect(query(`${'word '.repeat(100)}`, null)).toBe('word '.repeat(40));
    expect(query('Short.', null)).toBe('Short.');
    expect(query(' \n', null)).toBeNull();
    expect(query(null, ['title'])).toBeNull();
  });
});

it('draws are fair', () => {
  const random = seededRandom(8);
  const counts = { drawn: new Array(10).fill(0), kept: new Array(10).fill(0) };
  for (let round = 0; round < 4000; round++) {
    const items = [...counts.drawn.keys()];
    for (const item of drawSome(items, 3, random)) counts.drawn[item] += 1;
    const reservoir = new Reservoir<number>(3, random);
    for (const item of items) reservoir.take(item);
    for (const item of reservoir.items) counts.kept[item] += 1;
  }
  // 1,200 each, give or take five standard deviations.
  for (const count of [...counts.drawn, ...counts.kept]) {
    expect(Math.abs(count - 1200)).toBeLessThan(5 * Math.sqrt(4000 * 0.3 * 0.7));
  }
});
