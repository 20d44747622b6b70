// Token vectors of documents that nobody wrote, for indexes larger than any collection at hand: a
// mixture with the structure that real ones have. Meanings (what a word says in some company) are unit
// vectors, a few of them frequent and most rare (Zipf), grouped in topics; a document keeps to a few
// topics and says the same things again; each document shifts all of its tokens a little (its context),
// and each token has something of its own. Documents are made by number, in any order.
import { random } from '../stats.mjs';

export const DIM = 128;
const MEANINGS = 7000;
const TOPICS = 1000;
const PER_TOPIC = 120;
const COMMON = 400; // meanings that every document may use
const COMMON_SHARE = 0.3;
const REPEATED = 0.45; // tokens that say again what the document has said
const SHIFT = 0.3; // lengths of what a document and a token add to a meaning of length 1
const OWN = 0.48;
const NOISE = 1 << 14;
const [SHORTEST, LONGEST] = [60, 300]; // tokens; 180 on average

/** @param {number} rows @param {number} length @param {() => number} next */
function directions(rows, length, next) {
  const values = new Float32Array(rows * DIM);
  for (let row = 0; row < rows; row++) {
    let squares = 0;
    for (let d = row * DIM; d < (row + 1) * DIM; d++) {
      // Sums of uniforms: near enough to normal.
      const value = next() + next() + next() + next() - 2;
      values[d] = value;
      squares += value * value;
    }
    const factor = length / Math.sqrt(squares);
    for (let d = row * DIM; d < (row + 1) * DIM; d++)
      values[d] = /** @type {number} */ (values[d]) * factor;
  }
  return values;
}

export class Mixture {
  constructor(seed = 1) {
    this.seed = seed;
    const next = random(seed);
    // Meanings of a topic lie around its direction, as words of one field do.
    const topics = directions(TOPICS, 0.75, next);
    const meanings = directions(MEANINGS, 1, next);
    this.members = new Int32Array(TOPICS * PER_TOPIC);
    for (let i = 0; i < this.members.length; i++) {
      const meaning = COMMON + Math.floor(next() * (MEANINGS - COMMON));
      this.members[i] = meaning;
      const topic = Math.floor(i / PER_TOPIC);
      // The first topic that a meaning is of pulls it.
      for (let d = 0; d < DIM; d++) {
        meanings[meaning * DIM + d] += /** @type {number} */ (topics[topic * DIM + d]) * 0.3;
      }
    }
    for (let m = 0; m < MEANINGS; m++) {
      let squares = 0;
      for (let d = m * DIM; d < (m + 1) * DIM; d++)
        squares += /** @type {number} */ (meanings[d]) ** 2;
      const factor = 1 / Math.sqrt(squares);
      for (let d = m * DIM; d < (m + 1) * DIM; d++)
        meanings[d] = /** @type {number} */ (meanings[d]) * factor;
    }
    this.meanings = meanings;
    this.shifts = directions(NOISE, SHIFT, next);
    this.noise = directions(NOISE, OWN, next);
  }

  /** The meanings of a document, and its shift. @param {number} number */
  plan(number) {
    const next = random(Math.imul(number + 1, 0x9e3779b1) ^ this.seed);
    const length = SHORTEST + Math.floor(next() * (LONGEST - SHORTEST + 1));
    const around = Math.floor(next() * TOPICS);
    const topics = [around, around, (around + 1 + Math.floor(next() * 20)) % TOPICS];
    const meanings = new Int32Array(length);
    for (let t = 0; t < length; t++) {
      const draw = next();
      if (t > 8 && draw < REPEATED) {
        meanings[t] = /** @type {number} */ (meanings[Math.floor(next() * t)]);
      } else if (draw < REPEATED + COMMON_SHARE) {
        meanings[t] = Math.floor(COMMON ** next()) - 1; // Zipf
      } else {
        const topic = /** @type {number} */ (topics[Math.floor(next() * topics.length)]);
        const place = Math.floor(PER_TOPIC ** next()) - 1 + Math.floor(next() * 8);
        meanings[t] = /** @type {number} */ (this.members[topic * PER_TOPIC + (place % PER_TOPIC)]);
      }
    }
    return { meanings, shift: Math.floor(next() * NOISE), next };
  }

  /** Flat [tokens][128] vectors of one document. @param {number} number */
  document(number) {
    const { meanings, shift, next } = this.plan(number);
    return this.vectors(meanings, shift, next);
  }

  /**
   * A question about a document that was held back, in 32 tokens: two thirds of them what it says, in
   * words of one's own, the others what anybody says. @param {number} number
   */
  query(number) {
    const { meanings, shift, next } = this.plan(-1 - number);
    const own = Int32Array.from({ length: 32 }, (_, t) =>
      t % 3 === 2
        ? Math.floor(COMMON ** next()) - 1
        : /** @type {number} */ (meanings[Math.floor(next() * meanings.length)]),
    );
    return this.vectors(own, shift, next);
  }

  /** @param {Int32Array} meanings @param {number} shift @param {() => number} next */
  vectors(meanings, shift, next) {
    const { meanings: of, shifts, noise } = this;
    const vectors = new Float32Array(meanings.length * DIM);
    const s = shift * DIM;
    for (let t = 0; t < meanings.length; t++) {
      const m = /** @type {number} */ (meanings[t]) * DIM;
      const n = Math.floor(next() * NOISE) * DIM;
      const at = t * DIM;
      let squares = 0;
      for (let d = 0; d < DIM; d++) {
        const value =
          /** @type {number} */ (of[m + d]) +
          /** @type {number} */ (shifts[s + d]) +
          /** @type {number} */ (noise[n + d]);
        vectors[at + d] = value;
        squares += value * value;
      }
      const factor = 1 / Math.sqrt(squares);
      for (let d = at; d < at + DIM; d++) vectors[d] = /** @type {number} */ (vectors[d]) * factor;
    }
    return vectors;
  }
}
