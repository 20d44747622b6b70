import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { meanInterval } from '../../dist/evaluate/bootstrap.js';
import {
  holm,
  minimumDetectableDifference,
  nonInferiority,
  randomisationTest,
} from '../../dist/evaluate/significance.js';
import { seededBits, seededRandom } from '../../dist/random.js';

type Case = {
  name: string;
  values: number[];
  mean: number;
  exact: boolean;
  p: number;
  low: number;
  high: number;
  minimumDetectable: number;
};

/** Made with scipy by goldens/statistics.py. */
const golden = JSON.parse(
  readFileSync(new URL('../golden/statistics.json', import.meta.url), 'utf8'),
) as { rounds: number; cases: Case[]; holm: number[] };

describe.each(golden.cases)('$name', ({ values, mean, exact, p, low, high, minimumDetectable }) => {
  it("has scipy's p", () => {
    const found = randomisationTest(values, { seed: 1 });
    if (exact) expect(found).toBeCloseTo(p, 12);
    // Four standard deviations of two samplings of p.
    else {
      const deviation = Math.sqrt(p * (1 - p) * (1 / 100_000 + 1 / golden.rounds));
      expect(Math.abs(found - p)).toBeLessThan(4 * deviation);
    }
  });

  it("has scipy's BCa interval", () => {
    const found = meanInterval(values, { resamples: 20_000, seed: 1 });
    expect(found.mean).toBeCloseTo(mean, 12);
    const tolerance = 0.02 * (high - low);
    expect(Math.abs(found.low - low)).toBeLessThan(tolerance);
    expect(Math.abs(found.high - high)).toBeLessThan(tolerance);
  });

  it("has scipy's minimum detectable difference", () => {
    expect(minimumDetectableDifference(values)).toBeCloseTo(minimumDetectable, 5);
  });
});

describe('the randomisation test', () => {
  it('gives identical systems p = 1', () => {
    expect(randomisationTest([0, 0, 0])).toBe(1);
    expect(randomisationTest([])).toBe(1);
  });

  it('counts every assignment of few queries: 2 of 8 are as extreme as all of one sign', () => {
    expect(randomisationTest([0.5, 0.25, 0.125])).toBe(2 / 8);
    expect(randomisationTest([-0.5, 0, -0.25, -0.125])).toBe(2 / 8);
  });

  it('is never 0, and the same for the same seed', () => {
    const values = new Float64Array(64).fill(0.1);
    expect(randomisationTest(values, { rounds: 1000 })).toBe(1 / 1001);
    const random = seededRandom(3);
    const some = Array.from({ length: 70 }, () => random() - 0.45);
    expect(randomisationTest(some, { seed: 4 })).toBe(randomisationTest(some, { seed: 4 }));
  });

  it('drawn and exact agree, also where the last group of signs is not full', () => {
    const random = seededRandom(8);
    for (const length of [9, 15, 16]) {
      const values = Array.from({ length }, () => random() - 0.4);
      const exact = randomisationTest(values);
      const drawn = randomisationTest(values, { rounds: 2 ** length - 1, seed: 2 });
      expect(Math.abs(drawn - exact)).toBeLessThan(4 * Math.sqrt(0.25 / 2 ** length));
    }
  });
});

it('random words have each bit set half of the time, and words of neighbours do not agree', () => {
  const bits = seededBits(7);
  const counts = new Array<number>(32).fill(0);
  let agreeing = 0;
  let last = bits();
  for (let i = 0; i < 20_000; i++) {
    const word = bits();
    for (let bit = 0; bit < 32; bit++) counts[bit] = (counts[bit] ?? 0) + ((word >>> bit) & 1);
    for (let x = ~(word ^ last); x !== 0; x &= x - 1) agreeing += 1;
    last = word;
  }
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(5 * 71);
  expect(Math.abs(agreeing - 320_000)).toBeLessThan(5 * 400);
});

describe('Holm', () => {
  it('agrees with its definition on the golden p values', () => {
    const adjusted = holm(golden.cases.map(({ p }) => p));
    adjusted.forEach((p, i) => {
      expect(p).toBeCloseTo(golden.holm[i] as number, 12);
    });
  });

  it('keeps the order of the tests, never lets a later step fall, and stays within 1', () => {
    expect(holm([0.04, 0.01, 0.03])).toEqual([0.06, 0.03, 0.06]);
    expect(holm([0.9, 0.8])).toEqual([1, 1]);
    expect(holm([])).toEqual([]);
  });
});

describe('non-inferiority', () => {
  it.each([
    [0.001, 0.05, 'superior'],
    [-0.005, 0.05, 'non-inferior'],
    // Worse for sure, but by less than matters.
    [-0.009, -0.001, 'non-inferior'],
    [-0.05, -0.02, 'inferior'],
    [-0.05, -0.005, 'inconclusive'],
    [-0.05, 0.05, 'inconclusive'],
    [0, 0, 'non-inferior'],
  ])('of [%d, %d] at a margin of 0.01 is %s', (low, high, outcome) => {
    expect(nonInferiority({ mean: (low + high) / 2, low, high }, 0.01)).toBe(outcome);
  });
});

it('no detectable difference is named for fewer than two queries', () => {
  expect(minimumDetectableDifference([0.5])).toBeNaN();
  expect(minimumDetectableDifference([0.5, 0.5])).toBe(0);
});
