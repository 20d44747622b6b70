import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { proportionInterval } from '../../dist/evaluate/proportion.js';
import { reliability } from '../../dist/evaluate/reliability.js';
import { seededRandom } from '../../dist/random.js';
import { checkCalibration } from '../../dist/rerank/calibration.js';
import { Calibrator, fitCalibrator } from '../../dist/rerank/calibrator.js';

const fingerprint = { model: 'm', quantisation: 'int8', maxLength: 512, corpus: 'c' };
const golden = JSON.parse(
  readFileSync(new URL('../golden/calibration.json', import.meta.url), 'utf8'),
) as {
  scores: number[];
  labels: boolean[];
  probes: number[];
  platt: { slope: number; intercept: number; sklearn: number[] };
  isotonic: number[];
  isotonicFit: number[];
  clopperPearson: [number, number, number, number, number][];
};

function drawn(count: number, seed: number): { scores: number[]; labels: boolean[] } {
  const random = seededRandom(seed);
  const scores = Array.from({ length: count }, () => 12 * random() - 6);
  // True probability: sigmoid(score - 1).
  return { scores, labels: scores.map((score) => random() < 1 / (1 + Math.exp(1 - score))) };
}

describe('the calibrator', () => {
  it("is Platt's sigmoid as scikit-learn and an exact minimiser have it", () => {
    const calibrator = fitCalibrator(golden.scores, golden.labels, { fingerprint });
    const file = calibrator.toJSON();
    expect(file.kind).toBe('platt');
    if (file.kind !== 'platt') return;
    expect(file.slope).toBeCloseTo(golden.platt.slope, 6);
    expect(file.intercept).toBeCloseTo(golden.platt.intercept, 6);
    golden.probes.forEach((probe, i) => {
      expect(calibrator.probability(probe)).toBeCloseTo(golden.platt.sklearn[i] as number, 3);
    });
  });

  it('is the isotonic regression of scikit-learn, ties and both ends included', () => {
    const options = { fingerprint, method: 'isotonic' } as const;
    const calibrator = fitCalibrator(golden.scores, golden.labels, options);
    golden.probes.forEach((probe, i) => {
      expect(calibrator.probability(probe)).toBeCloseTo(golden.isotonic[i] as number, 9);
    });
    golden.scores.forEach((score, i) => {
      expect(calibrator.probability(score)).toBeCloseTo(golden.isotonicFit[i] as number, 9);
    });
  });

  it('turns from Platt to isotonic at 1,000 labels, and is calibrated in both', () => {
    const unseen = drawn(4000, 9);
    for (const [count, kind] of [
      [999, 'platt'],
      [1000, 'isotonic'],
    ] as const) {
      const { scores, labels } = drawn(count, 3);
      const calibrator = fitCalibrator(scores, labels, { fingerprint });
      expect(calibrator.kind).toBe(kind);
      const given = unseen.scores.map((score) => calibrator.probability(score));
      expect(reliability(given, unseen.labels).ece).toBeLessThan(0.04);
    }
  });

  it('never falls where the score rises, whatever the unit and zero of the scores', () => {
    for (const [unit, zero] of [
      [1e-6, 0],
      [1e6, 3],
      [1, 1e5],
    ] as const) {
      const { scores, labels } = drawn(300, 4);
      const shifted = scores.map((score) => score * unit + zero);
      for (const method of ['platt', 'isotonic'] as const) {
        const plain = fitCalibrator(scores, labels, { fingerprint, method });
        const calibrator = fitCalibrator(shifted, labels, { fingerprint, method });
        let before = 0;
        for (let score = -9; score <= 9; score += 0.25) {
          const probability = calibrator.probability(score * unit + zero);
          expect(probability).toBeGreaterThanOrEqual(before);
          expect(probability).toBeCloseTo(plain.probability(score), 5);
          before = probability;
        }
      }
    }
  });

  it('is finite where the classes are apart, and refuses one class and distances', () => {
    const apart = fitCalibrator([-2, -1, 1, 2], [false, false, true, true], { fingerprint });
    expect(apart.probability(-2)).toBeGreaterThan(0.01);
    expect(apart.probability(2)).toBeLessThan(0.99);
    expect(() => fitCalibrator([1, 2], [true, true], { fingerprint })).toThrow(
      /2 are relevant and 0 irrelevant/,
    );
    const { scores, labels } = drawn(300, 5);
    const distances = scores.map((score) => -score);
    for (const method of ['platt', 'isotonic'] as const) {
      expect(() => fitCalibrator(distances, labels, { fingerprint, method })).toThrow(/distance/);
    }
  });

  it('survives JSON, and refuses files that are bad', () => {
    const { scores, labels } = drawn(300, 6);
    for (const method of ['platt', 'isotonic'] as const) {
      const file = fitCalibrator(scores, labels, { fingerprint, method }).toJSON();
      const again = Calibrator.from(JSON.parse(JSON.stringify(file)));
      expect(again.toJSON()).toEqual(file);
      expect(() => Calibrator.from({ ...file, version: 2 })).toThrow(/version must be 1/);
      expect(() => Calibrator.from({ ...file, kind: 'other' })).toThrow(/calibrator.kind/);
      expect(() => Calibrator.from({ ...file, relevant: -1 })).toThrow(/calibrator.relevant/);
      expect(() => Calibrator.from({ ...file, fingerprint: {} })).toThrow(/fingerprint.model/);
      if (file.kind === 'platt') {
        expect(() => Calibrator.from({ ...file, slope: -1 })).toThrow(/calibrator.slope/);
        expect(() => Calibrator.from({ ...file, intercept: null })).toThrow(/intercept/);
      } else {
        const falling = [...file.probabilities].reverse();
        expect(() => Calibrator.from({ ...file, probabilities: falling })).toThrow(/never fall/);
        expect(() => Calibrator.from({ ...file, scores: [] })).toThrow(/calibrator.scores/);
      }
    }
  });

  it('is refused for anything but what it was made for', () => {
    const made = { kind: 'floor', fingerprint };
    checkCalibration(made, { ...fingerprint });
    expect(() =>
      checkCalibration(made, { ...fingerprint, maxLength: 256, corpus: 'd' }),
    ).toThrowError(
      expect.objectContaining({
        code: 'CALIBRATION_MISMATCH',
        message:
          'The floor was made for maxLength 512 instead of 256, corpus "c" instead of "d"; calibrate again for what it is to serve.',
      }),
    );
  });
});

describe('reliability', () => {
  it('is what its definition says', () => {
    const { brier, ece, bins } = reliability([0.05, 0.05, 1, 0.75], [false, true, true, true]);
    expect(brier).toBeCloseTo((0.0025 + 0.9025 + 0 + 0.0625) / 4, 12);
    expect(ece).toBeCloseTo(0.5 * 0.45 + 0.25 * 0 + 0.25 * 0.25, 12);
    expect(bins.map(({ count }) => count)).toEqual([2, 1, 1]);
  });
});

describe('the interval of a share', () => {
  it('is that of scipy', () => {
    for (const [count, total, confidence, low, high] of golden.clopperPearson) {
      const interval = proportionInterval(count, total, { confidence });
      expect(interval.low).toBeCloseTo(low, 8);
      expect(interval.high).toBeCloseTo(high, 8);
    }
  });
});
