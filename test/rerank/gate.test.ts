import { describe, expect, it } from 'vitest';
import { calibrateGate, type GateQuery, meanBound } from '../../dist/evaluate/gate-calibration.js';
import { type Random, seededRandom } from '../../dist/random.js';
import { Gate, gateFeatures } from '../../dist/rerank/gate.js';

const fingerprint = { model: 'm', quantisation: 'int8', maxLength: 512, corpus: 'c' };
const ids = ['a', 'b', 'c', 'd', 'e'];
const featuresOf = (scores: number[]) =>
  gateFeatures({ scores, ids, firstStageIds: ['a', 'b', 'x', 'y', 'z'], queryWords: 7 });

/** Reranking gains where the margin is small, with chance (1 - margin)^4 / 2. */
function simulated(count: number, random: Random): GateQuery[] {
  return Array.from({ length: count }, () => {
    const margin = random();
    const features = { margin, entropy: random(), overlap: random(), queryWords: 5 };
    const gain = random() < (1 - margin) ** 4 / 2 ? 0.4 : 0;
    return { features, cheap: 0.6, expensive: 0.6 + gain };
  });
}

describe('features of a cheap ranking', () => {
  it('do not depend on the unit or the zero of the scores', () => {
    const scores = [9, 5, 4, 3.5, 1];
    const plain = featuresOf(scores);
    const other = featuresOf(scores.map((score) => 1000 * score - 77));
    expect(other.margin).toBeCloseTo(plain.margin, 9);
    expect(other.entropy).toBeCloseTo(plain.entropy, 9);
    expect(plain.margin).toBeCloseTo(4 / 5, 9);
    expect(plain.overlap).toBe(0.4);
    expect(plain.queryWords).toBe(7);
  });

  it('see a winner, and are defined where there is no spread', () => {
    const close = featuresOf([5.1, 5, 4, 3.5, 1]);
    const clear = featuresOf([20, 5, 4, 3.5, 1]);
    expect(clear.margin).toBeGreaterThan(close.margin);
    expect(clear.entropy).toBeLessThan(close.entropy);
    expect(featuresOf([3, 3, 3, 3, 3])).toMatchObject({ margin: 0, entropy: 1 });
    expect(featuresOf([3])).toMatchObject({ margin: 1, entropy: 0 });
    expect(featuresOf([9, 3, 3, 3, 3])).toMatchObject({ margin: 1 });
    expect(() => featuresOf([1, 2])).toThrow(/best first/);
    expect(() => featuresOf([])).toThrow(/one or more/);
  });
});

describe('the gate', () => {
  it('learns what to look at, and skips most where it may', () => {
    const { gate, chosen, curve } = calibrateGate(simulated(6000, seededRandom(1)), {
      fingerprint,
      epsilon: 0.01,
      resamples: 200,
    });
    const [margin, entropy, overlap, tokens] = gate.toJSON().weights as [
      number,
      number,
      number,
      number,
    ];
    expect(margin).toBeGreaterThan(5 * Math.max(Math.abs(entropy), Math.abs(overlap)));
    // A feature that never varies weighs nothing.
    expect(tokens).toBeCloseTo(0, 6);
    // The mean loss of skipping margins above m is 0.4 * (1 - m)^5 / 10: 0.01 at m = 0.24.
    expect(chosen?.skipShare).toBeGreaterThan(0.6);
    expect(chosen?.skipShare).toBeLessThan(0.8);
    expect(chosen?.lossBound).toBeLessThan(0.01);
    expect(chosen?.loss).toBeLessThan(chosen?.lossBound as number);
    curve.forEach((point, i) => {
      expect(point.skipShare).toBeGreaterThanOrEqual(curve[i - 1]?.skipShare ?? 0);
    });
    expect(gate.decide({ margin: 1, entropy: 0, overlap: 1, queryWords: 5 }).skip).toBe(true);
    expect(gate.decide({ margin: 0, entropy: 1, overlap: 0, queryWords: 5 }).skip).toBe(false);
  });

  it('loses epsilon or more in no more calibrations than it says', () => {
    const random = seededRandom(2);
    const truth = simulated(4000, random);
    let broken = 0;
    let chose = 0;
    const rounds = 60;
    for (let round = 0; round < rounds; round++) {
      const { gate, chosen } = calibrateGate(simulated(1000, random), {
        fingerprint,
        epsilon: 0.015,
        confidence: 0.9,
        seed: round,
        resamples: 20,
      });
      if (chosen !== null) chose += 1;
      const loss = truth.reduce(
        (sum, { features, cheap, expensive }) =>
          sum + (gate.decide(features).skip ? Math.max(0, expensive - cheap) : 0),
        0,
      );
      if (loss / truth.length >= 0.015) broken += 1;
    }
    expect(chose).toBeGreaterThan(rounds / 2);
    expect(broken / rounds).toBeLessThanOrEqual(0.1);
  });

  it('says so where nothing qualifies, and then never skips', () => {
    const hard = simulated(200, seededRandom(3)).map((query) => ({ ...query, expensive: 1 }));
    const { gate, chosen, verdict } = calibrateGate(hard, { fingerprint, epsilon: 0.005 });
    expect(chosen).toBeNull();
    expect(verdict).toMatch(/^No setting is shown to lose less than 0.005/);
    for (const { features } of hard) expect(gate.decide(features).skip).toBe(false);
    expect(() => calibrateGate(hard.slice(0, 19), { fingerprint, epsilon: 0.1 })).toThrow(/but 19/);
  });

  it('lets gains make up for losses only under the bootstrap', () => {
    const random = seededRandom(4);
    const queries = simulated(2000, random).map((query, i) => ({
      ...query,
      cheap: 0.5,
      expensive: i % 2 === 0 ? 0.6 : 0.3,
    }));
    const options = { fingerprint, epsilon: 0.005, resamples: 500 };
    expect(calibrateGate(queries, options).chosen).toBeNull();
    const { chosen, verdict } = calibrateGate(queries, { ...options, bound: 'bootstrap' });
    expect(verdict).toMatch(/gains counted \(measured: -0\.0/);
    expect(chosen?.skipShare).toBe(1);
    expect(chosen?.netLoss).toBeCloseTo(-0.05, 1);
  });

  it('survives JSON, and refuses files that are bad', () => {
    const { gate } = calibrateGate(simulated(100, seededRandom(5)), { fingerprint, epsilon: 0.2 });
    const file = gate.toJSON();
    expect(Gate.from(JSON.parse(JSON.stringify(file))).toJSON()).toEqual(file);
    expect(() => Gate.from({ ...file, weights: [1] })).toThrow(/gate.weights must be 4 numbers/);
    expect(() => Gate.from({ ...file, threshold: -1 })).toThrow(/gate.threshold/);
    expect(() => Gate.from({ ...file, fingerprint: null })).toThrow(/gate.fingerprint/);
  });
});

describe('the bound of a mean', () => {
  it('is about ln(20) / n without losses, and holds as often as it says', () => {
    expect(meanBound(new Array(620).fill(0), 0.95)).toBeLessThan(0.0055);
    expect(meanBound(new Array(500).fill(0), 0.95)).toBeGreaterThan(0.005);
    expect(meanBound([1, 1, 1], 0.95)).toBe(1);
    const random = seededRandom(6);
    let held = 0;
    for (let round = 0; round < 300; round++) {
      const values = Array.from({ length: 200 }, () => (random() < 0.05 ? random() : 0));
      if (meanBound(values, 0.9) >= 0.025) held += 1;
    }
    expect(held / 300).toBeGreaterThan(0.88);
  });
});
