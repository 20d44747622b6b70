import { describe, expect, it } from 'vitest';
import { type RankedCodec, recommendCodec } from '../../dist/evaluate/codec-recommendation.js';
import type { CodecName } from '../../dist/maxsim.js';

const LIMITS = { minOverlap: 0.95, maxLoss: 0.005 };
const ENOUGH = { documents: 1000, queries: 100, judgedQueries: 0 };
const exactly = (mean: number) => ({ mean, low: mean, high: mean });

function row(
  codec: string,
  bytesPerToken: number,
  overlap: [low: number, mean: number, high: number],
  loss?: [low: number, mean: number, high: number],
): RankedCodec {
  const interval = ([low, mean, high]: [number, number, number]) => ({ low, mean, high });
  return {
    codec: codec as CodecName,
    bytesPerToken,
    totalBytesPerToken: bytesPerToken + 1,
    codebookBytes: 0,
    scoreError: { meanAbsolute: 0, relative: 0 },
    overlap: interval(overlap),
    tau: exactly(1),
    ndcg: loss === undefined ? null : { mean: 0.7, loss: interval(loss) },
  };
}

const f32 = row('f32', 384, [1, 1, 1], [0, 0, 0]);

describe('the recommendation', () => {
  it('is the cheapest codec whose limits hold with confidence, and says why not the next cheaper', () => {
    const rows = [
      f32,
      row('int8', 96, [0.98, 0.99, 1]),
      row('r4', 56, [0.951, 0.96, 0.97]),
      row('r2', 30, [0.81, 0.84, 0.87]),
    ];
    const { codec, decided, sure, reason } = recommendCodec(rows, LIMITS, ENOUGH);
    expect({ codec, decided, sure }).toEqual({ codec: 'r4', decided: true, sure: 'r4' });
    expect(reason).toContain('r4 takes 56.0 bytes a token and keeps 0.960 [0.951 to 0.970]');
    expect(reason).toContain(
      'r2 (30.0 bytes), keeps 0.840 [0.810 to 0.870] of the top 10 (asked: at least 0.95).',
    );
  });

  it('needs the bad end of the interval below int8, not its middle', () => {
    const rows = [f32, row('int8', 96, [0.98, 0.99, 1]), row('r4', 56, [0.949, 0.96, 0.97])];
    expect(recommendCodec(rows, LIMITS, ENOUGH).codec).toBe('int8');
  });

  it('heeds the loss where queries are judged', () => {
    const judged = { ...ENOUGH, judgedQueries: 100 };
    const rows = [
      f32,
      row('int8', 96, [0.98, 0.99, 1], [-0.001, 0, 0.001]),
      row('r4', 56, [0.96, 0.97, 0.98], [0.001, 0.004, 0.008]),
    ];
    const { codec, reason } = recommendCodec(rows, LIMITS, judged);
    expect(codec).toBe('int8');
    expect(reason).toContain('loses 0.0040 [0.0010 to 0.0080] nDCG@10 (asked: at most 0.005).');
  });

  it('goes above int8 where int8 fails, and not where only luck says so', () => {
    const f16 = row('f16', 192, [0.99, 1, 1]);
    const fails = recommendCodec([f32, f16, row('int8', 96, [0.9, 0.92, 0.94])], LIMITS, ENOUGH);
    expect(fails).toMatchObject({ codec: 'f16', decided: true });
    const open = recommendCodec([f32, f16, row('int8', 96, [0.93, 0.96, 0.98])], LIMITS, ENOUGH);
    expect(open).toMatchObject({ codec: 'int8', decided: false, sure: 'f16' });
    expect(open.reason).toContain('too few to be sure');
  });

  it('is f32 where nothing else holds', () => {
    const rows = [f32, row('r1', 18, [0.3, 0.4, 0.5])];
    const { codec, reason } = recommendCodec(rows, LIMITS, ENOUGH);
    expect(codec).toBe('f32');
    expect(reason).toMatch(/^f32 takes 384\.0 bytes a token and loses nothing; /);
  });

  it('is int8 where there is too little to decide on', () => {
    const rows = [f32, row('r4', 56, [1, 1, 1])];
    const few = [
      [{ ...ENOUGH, queries: 19 }, '19 queries'],
      [{ ...ENOUGH, documents: 99 }, '99 documents'],
      [{ ...ENOUGH, judgedQueries: 12 }, '12 judged queries'],
    ] as const;
    for (const [evidence, what] of few) {
      const { codec, decided, sure, reason } = recommendCodec(rows, LIMITS, evidence);
      expect({ codec, decided, sure }).toEqual({ codec: 'int8', decided: false, sure: null });
      expect(reason).toContain(what);
    }
  });
});
