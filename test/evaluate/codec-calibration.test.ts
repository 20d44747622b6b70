import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type CodecCalibration,
  calibrateCodec,
  type MeasuredCodec,
} from '../../dist/evaluate/codec-calibration.js';
import {
  buildIndex,
  compareWith,
  prepareQueries,
  qualityOf,
  referenceOf,
} from '../../dist/evaluate/codec-measurement.js';
import { CODECS, Index } from '../../dist/maxsim.js';
import { refusal, temporaryDirectory } from '../index/fixtures.js';
import { type Collection, clustered, quantised, type Vectors } from './clusters.js';

const { collection: small } = clustered(16, { documents: 120, queries: 30, seed: 2 });

function measuredOf({ codecs }: CodecCalibration): MeasuredCodec[] {
  return codecs.filter((row): row is MeasuredCodec => !('refused' in row));
}

describe('calibrateCodec', () => {
  it('measures every codec against f32', async () => {
    const steps: [string, number, number][] = [];
    const report = await calibrateCodec(small, {
      onProgress: (unit, done, total) => steps.push([unit, done, total]),
    });
    expect(report).toMatchObject({
      dim: 16,
      documents: 120,
      tokens: 2400,
      queries: 30,
      judgedQueries: 0,
      limits: { minOverlap: 0.95, maxLoss: 0.005 },
    });
    expect(report.codecs.map(({ codec }) => codec)).toEqual(CODECS);
    const [f32, ...others] = measuredOf(report);
    const one = { mean: 1, low: 1, high: 1 };
    expect(f32).toMatchObject({
      codec: 'f32',
      scoreError: { meanAbsolute: 0, relative: 0 },
      overlap: one,
      tau: one,
      ndcg: null,
    });
    expect(f32?.bytesPerToken).toBeGreaterThanOrEqual(64);
    expect(f32?.bytesPerToken).toBeLessThan(66);
    expect(others.length).toBeGreaterThan(0);
    for (const row of others) {
      expect(row.bytesPerToken, row.codec).toBeLessThan(f32?.bytesPerToken as number);
      expect(row.totalBytesPerToken).toBeGreaterThan(row.bytesPerToken);
      expect(row.scoreError.meanAbsolute).toBeGreaterThan(0);
      expect(row.overlap.mean).toBeLessThanOrEqual(1);
      expect(row.tau?.mean).toBeLessThanOrEqual(1);
      expect(row.rerank.micros).toBeGreaterThan(0);
    }
    expect(measuredOf(report).find(({ codec }) => codec === 'int8')?.rerank.ratioToInt8).toBe(1);
    expect(steps[0]).toEqual(['codecs', 0, CODECS.length]);
    const rankings = 30 * measuredOf(report).length;
    expect(steps.at(-1)).toEqual(['rankings', rankings, rankings]);
  });

  it('lists a codec that the data cannot be stored in, with the reason', async () => {
    const { codecs, recommendation } = await calibrateCodec(small, { codecs: ['r2', 'int8'] });
    expect(codecs.map(({ codec }) => codec)).toEqual(['f32', 'int8', 'r2']);
    expect(codecs[2]).toEqual({
      codec: 'r2',
      refused: { code: 'INVALID_ARGUMENT', message: expect.stringMatching(/4,?096 tokens/) },
    });
    expect(recommendation.codec).toBe('int8');
  });

  it('measures nDCG@10 where queries are judged, paired by query', async () => {
    await using index = await Index.open(temporaryDirectory(), { dim: 16, codec: 'f32' });
    await index.add(small.documents);
    const judgements = new Map<string, Map<string, number>>();
    for (const { id, vectors } of small.queries.slice(0, 25)) {
      const { hits } = await index.search(vectors, { topK: 3 });
      const [best, , third] = hits;
      judgements.set(id, new Map([best, third].map((hit) => [hit?.id as string, 1])));
    }
    judgements.set('q26', new Map([['nobody', 1]]));
    const report = await calibrateCodec({ ...small, judgements }, { codecs: ['int8'] });
    expect(report.judgedQueries).toBe(25);
    const [f32, int8] = measuredOf(report);
    expect(f32?.ndcg?.mean).toBeGreaterThan(0.8);
    expect(f32?.ndcg?.loss).toEqual({ mean: 0, low: 0, high: 0 });
    const [before, after] = [f32?.ndcg?.mean as number, int8?.ndcg?.mean as number];
    const loss = int8?.ndcg?.loss;
    expect(loss?.mean).toBeCloseTo(before - after, 10);
    expect(loss?.low).toBeLessThanOrEqual(before - after + 1e-9);
    expect(loss?.high).toBeGreaterThanOrEqual(before - after - 1e-9);
  });

  it('gives the same figures for the same seed', async () => {
    const [one, two] = [await calibrateCodec(small), await calibrateCodec(small)].map((report) =>
      measuredOf(report).map(({ rerank, ...row }) => row),
    );
    expect(one).toEqual(two);
  });

  it('leaves no directory behind, also when it is aborted', async () => {
    const ours = async (): Promise<string[]> =>
      (await readdir(tmpdir())).filter((name) => name.startsWith('maxsim-calibrate-'));
    const before = await ours();
    await calibrateCodec(small, { codecs: [] });
    const stop = new AbortController();
    const aborted = await refusal(() =>
      calibrateCodec(small, {
        signal: stop.signal,
        onProgress: (unit, done) => unit === 'rankings' && done === 5 && stop.abort(),
      }),
    );
    expect(aborted.code).toBe('ABORTED');
    const never = await refusal(() => calibrateCodec(small, { signal: AbortSignal.abort() }));
    expect(never.code).toBe('ABORTED');
    expect(await ours()).toEqual(before);
  });

  it('refuses what it cannot measure, in words', async () => {
    const cases: [() => Promise<unknown>, RegExp][] = [
      [() => calibrateCodec({ ...small, documents: [] }), /input\.documents must be .* one/],
      [() => calibrateCodec({ ...small, queries: [] }), /input\.queries must be .* one/],
      [() => calibrateCodec({ ...small, dim: 4 }), /input\.dim must be/],
      [() => calibrateCodec(small, { codecs: ['zip' as 'f32'] }), /codecs must be of f32, .*"zip"/],
      [() => calibrateCodec(small, { minOverlap: 95 }), /minOverlap must be a number from 0 to 1/],
      [() => calibrateCodec(small, { maxLoss: Number.NaN }), /maxLoss must be a number/],
      [() => calibrateCodec(small, { speed: 1 } as object), /no option "speed"/],
    ];
    for (const [run, message] of cases) {
      expect(await refusal(run)).toEqual({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(message),
      });
    }
  });
});

describe('few dims', () => {
  const shape = { documents: 400, queries: 60, seed: 7 };

  it('a low-dimensional collection is not recommended one or two bits', async () => {
    for (const dim of [32, 48]) {
      const report = await calibrateCodec(clustered(dim, shape).collection);
      const { codec, decided } = report.recommendation;
      expect(['r1', 'r2'], `${codec} at dim ${dim}`).not.toContain(codec);
      expect(decided).toBe(true);
      // Every codec of the ladder was measured: 8,000 tokens are enough for centroids.
      const rows = measuredOf(report);
      expect(rows.map((row) => row.codec)).toEqual(CODECS);
      for (const row of rows.filter(({ codec: name }) => /^r[12]$/.test(name))) {
        expect(row.overlap.high, row.codec).toBeLessThan(report.limits.minOverlap);
      }
    }
  });

  it('what one and two bits lose is measured, and grows as dims get fewer', async () => {
    const overlap = async (dim: number, bits: 1 | 2): Promise<number> => {
      const made = clustered(dim, shape);
      return await overlapOf(made.collection, quantised(made, bits));
    };
    const [one32, two32] = [await overlap(32, 1), await overlap(32, 2)];
    const [one128, two128] = [await overlap(128, 1), await overlap(128, 2)];
    expect(one32).toBeLessThan(two32);
    expect(one128).toBeLessThan(two128);
    expect(one32).toBeLessThan(one128);
    expect(two32).toBeLessThan(two128);
    expect(two32).toBeLessThan(0.9);
  });
});

/** Of the same documents before and after a change of their vectors. */
async function overlapOf(
  { dim, documents, queries }: Collection,
  changed: readonly Vectors[],
): Promise<number> {
  const root = temporaryDirectory();
  await using exact = (await buildIndex(join(root, 'a'), 'f32', { dim, documents })) as Index;
  await using other = (await buildIndex(join(root, 'b'), 'f32', {
    dim,
    documents: changed,
  })) as Index;
  const none = new Map();
  const references = [];
  const comparisons = [];
  for (const query of prepareQueries(queries, dim)) {
    const reference = await referenceOf(exact, query, none);
    references.push(reference);
    comparisons.push(await compareWith(reference, other, query, none));
  }
  return qualityOf(references, comparisons, 0).overlap.mean;
}
