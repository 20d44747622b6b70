// Token states of a plain encoder as late-interaction vectors: what peers are compared on, since any
// encoder's vectors will do. MiniLM's last layer, projected to its 128 strongest directions and rotated
// at random (which changes no score and spreads the variance over the dims, as trained models do), of
// unit length. Queries are filled up with [MASK] to 32 tokens, documents cut at 256.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import { random } from '../stats.mjs';

const CACHE = fileURLToPath(new URL('../../.cache/vectors/', import.meta.url));
export const DIM = 128;
const QUERY_TOKENS = 32;
const DOCUMENT_TOKENS = 256;
const SAMPLE = 200_000; // tokens that the projection is made from
const BATCH = 16; // texts of one length
const RECIPE = 'last layer, 128 of second moment, rotated, v1';

/**
 * @typedef {{
 *   documents: { counts: Uint32Array, vectors: Float32Array },
 *   queries: { counts: Uint32Array, vectors: Float32Array },
 *   directory: string,
 * }} States flat [tokens][128] vectors of all texts, and how many tokens each has
 */

/**
 * @param {{ model: string, name: string, documents: string[], queries: string[], say?: (text: string) => void }} options
 * @returns {Promise<States>}
 */
export async function tokenStates({ model, name, documents, queries, say = () => {} }) {
  const weights = await readFile(join(model, 'model.onnx'));
  const key = createHash('sha256')
    .update(RECIPE)
    .update(weights)
    .update(JSON.stringify([documents, queries]))
    .digest('hex')
    .slice(0, 16);
  const directory = join(CACHE, `states-${name}-${key}`);
  const files = ['documents', 'queries'].map((kind) => join(directory, kind));
  if (!files.every((file) => existsSync(file))) {
    const session = await OnnxSession.open({
      file: join(model, 'model.onnx'),
      output: null,
      head: [],
      width: null,
      sha256: null,
      optimisation: 'all',
      threads: 1,
    });
    // As written: the key of what is cached says so.
    const tokenizer = await TextTokenizer.open(model, { specialTokens: 'as-written' });
    const encode = async (/** @type {number[][]} */ ids, /** @type {string} */ what) =>
      await hiddenStates(session, ids, (done) => say(`${what} ${done} of ${ids.length}`));
    const ids = documents.map((text) => toIds(tokenizer, text, DOCUMENT_TOKENS, 0));
    const hidden = await encode(ids, `${name}: documents`);
    const queryIds = queries.map((text) => toIds(tokenizer, text, QUERY_TOKENS, QUERY_TOKENS));
    const hiddenQueries = await encode(queryIds, `${name}: queries`);
    await session.close();
    say(`${name}: projection`);
    const projection = projectionOf(hidden);
    await mkdir(directory, { recursive: true });
    for (const [i, states] of [hidden, hiddenQueries].entries()) {
      const file = /** @type {string} */ (files[i]);
      const aside = await open(`${file}.tmp`, 'w');
      const parts = [
        Uint32Array.of(states.counts.length),
        states.counts,
        project(states, projection),
      ];
      for (const { buffer, byteOffset, byteLength } of parts) {
        await aside.writeFile(new Uint8Array(buffer, byteOffset, byteLength));
      }
      await aside.close();
      await rename(`${file}.tmp`, file);
    }
    await writeFile(
      join(directory, 'about.json'),
      JSON.stringify({ recipe: RECIPE, dim: DIM, documents: documents.length }),
    );
  }
  const [documentStates, queryStates] = await Promise.all(files.map(readStates));
  return /** @type {States} */ ({ documents: documentStates, queries: queryStates, directory });
}

/** @param {string} file */
async function readStates(file) {
  const handle = await open(file, 'r');
  const { size } = await handle.stat();
  const bytes = new ArrayBuffer(size);
  for (let at = 0; at < size; ) {
    const length = Math.min(1 << 30, size - at);
    at += (await handle.read(new Uint8Array(bytes), at, length, at)).bytesRead;
  }
  await handle.close();
  const [texts] = new Uint32Array(bytes, 0, 1);
  return {
    counts: new Uint32Array(bytes, 4, texts),
    vectors: new Float32Array(bytes, 4 + 4 * /** @type {number} */ (texts)),
  };
}

/** @param {TextTokenizer} tokenizer @param {string} text @param {number} most @param {number} least */
function toIds(tokenizer, text, most, least) {
  const { cls, sep, mask } = tokenizer.special;
  const ids = [cls, ...tokenizer.encode(text).slice(0, most - 2), /** @type {number} */ (sep)];
  while (ids.length < least) ids.push(/** @type {number} */ (mask));
  return ids;
}

/**
 * Unit-length states of the last layer, text after text.
 * @param {OnnxSession} session @param {number[][]} texts @param {(done: number) => void} progress
 */
async function hiddenStates(session, texts, progress) {
  const counts = Uint32Array.from(texts, (ids) => ids.length);
  const starts = [0];
  for (const count of counts) starts.push(/** @type {number} */ (starts.at(-1)) + count);
  const order = [...texts.keys()].sort(
    (a, b) => /** @type {number} */ (counts[a]) - /** @type {number} */ (counts[b]),
  );
  /** @type {Float32Array | undefined} */
  let states;
  let width = 0;
  for (let at = 0; at < order.length; ) {
    const length = /** @type {number} */ (counts[/** @type {number} */ (order[at])]);
    const batch = order.slice(at, at + BATCH).filter((text) => counts[text] === length);
    const flat = batch.flatMap((text) => /** @type {number[]} */ (texts[text]));
    const { data } = await session.run(
      batch.map((text) => ({ ids: /** @type {number[]} */ (texts[text]), attended: length })),
    );
    width = data.length / flat.length;
    states ??= new Float32Array(/** @type {number} */ (starts.at(-1)) * width);
    for (let row = 0; row < flat.length; row++) {
      normalise(data.subarray(row * width, (row + 1) * width));
    }
    for (const [i, text] of batch.entries()) {
      const own = data.subarray(i * length * width, (i + 1) * length * width);
      states.set(own, /** @type {number} */ (starts[text]) * width);
    }
    at += batch.length;
    progress(at);
  }
  return { counts, vectors: states ?? new Float32Array(0), width };
}

/** @param {Float32Array} row */
function normalise(row) {
  let squares = 0;
  for (let i = 0; i < row.length; i++) squares += /** @type {number} */ (row[i]) ** 2;
  const factor = 1 / Math.sqrt(squares);
  for (let i = 0; i < row.length; i++) row[i] = /** @type {number} */ (row[i]) * factor;
}

/**
 * [width][128]: the strongest directions of the second moment, by subspace iteration, times a random
 * rotation.
 * @param {{ vectors: Float32Array, width: number }} states
 */
function projectionOf({ vectors, width }) {
  const next = random(1);
  const moment = new Float64Array(width * width);
  const tokens = vectors.length / width;
  for (let i = 0; i < Math.min(SAMPLE, tokens); i++) {
    const token = Math.floor(next() * tokens);
    const row = vectors.subarray(token * width, (token + 1) * width);
    for (let a = 0; a < width; a++) {
      const value = /** @type {number} */ (row[a]);
      const base = a * width;
      for (let b = a; b < width; b++) moment[base + b] += value * /** @type {number} */ (row[b]);
    }
  }
  for (let a = 0; a < width; a++) {
    for (let b = 0; b < a; b++)
      moment[a * width + b] = /** @type {number} */ (moment[b * width + a]);
  }
  /** @type {Float64Array} */
  let basis = gaussians(DIM, width, next);
  for (let round = 0; round < 60; round++)
    basis = orthonormal(times(basis, DIM, moment, width), DIM);
  const rotation = orthonormal(gaussians(DIM, DIM, next), DIM);
  // basis is [128][width]; projection[w][d] = sum over k of basis[k][w] * rotation[k][d].
  const projection = new Float32Array(width * DIM);
  for (let w = 0; w < width; w++) {
    for (let d = 0; d < DIM; d++) {
      let sum = 0;
      for (let k = 0; k < DIM; k++) {
        sum +=
          /** @type {number} */ (basis[k * width + w]) *
          /** @type {number} */ (rotation[k * DIM + d]);
      }
      projection[w * DIM + d] = sum;
    }
  }
  return projection;
}

/** @param {number} rows @param {number} columns @param {() => number} next */
function gaussians(rows, columns, next) {
  const values = new Float64Array(rows * columns);
  for (let i = 0; i < values.length; i++) {
    values[i] = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  }
  return values;
}

/** [rows][width] times a symmetric [width][width]. @param {Float64Array} left @param {number} rows @param {Float64Array} right @param {number} width */
function times(left, rows, right, width) {
  const product = new Float64Array(rows * width);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < width; k++) {
      const factor = /** @type {number} */ (left[r * width + k]);
      for (let c = 0; c < width; c++) {
        product[r * width + c] += factor * /** @type {number} */ (right[k * width + c]);
      }
    }
  }
  return product;
}

/** Gram-Schmidt over rows, in place. @param {Float64Array} values @param {number} rows */
function orthonormal(values, rows) {
  const width = values.length / rows;
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * width, (r + 1) * width);
    for (let pass = 0; pass < 2; pass++) {
      for (let before = 0; before < r; before++) {
        const other = values.subarray(before * width, (before + 1) * width);
        let dot = 0;
        for (let i = 0; i < width; i++) {
          dot += /** @type {number} */ (row[i]) * /** @type {number} */ (other[i]);
        }
        for (let i = 0; i < width; i++) row[i] -= dot * /** @type {number} */ (other[i]);
      }
    }
    let squares = 0;
    for (let i = 0; i < width; i++) squares += /** @type {number} */ (row[i]) ** 2;
    for (let i = 0; i < width; i++) row[i] /= Math.sqrt(squares);
  }
  return values;
}

/** @param {{ vectors: Float32Array, width: number }} states @param {Float32Array} projection */
function project({ vectors, width }, projection) {
  const tokens = vectors.length / width;
  const projected = new Float32Array(tokens * DIM);
  for (let token = 0; token < tokens; token++) {
    const row = projected.subarray(token * DIM, (token + 1) * DIM);
    for (let w = 0; w < width; w++) {
      const value = /** @type {number} */ (vectors[token * width + w]);
      const base = w * DIM;
      for (let d = 0; d < DIM; d++) row[d] += value * /** @type {number} */ (projection[base + d]);
    }
    normalise(row);
  }
  return projected;
}
