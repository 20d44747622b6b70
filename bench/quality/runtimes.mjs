// `npm run bench:runtimes [-- --data <folder>] [-- --collections a,b] [-- --pairs N]`: what the native
// encoder does to quality, beside onnxruntime on the same graphs. Per collection: nDCG@10 of late
// interaction over all documents (f32, exhaustive), and of the cross-encoder over the best --pairs of
// onnxruntime's ranking, for --judged queries; differences with their 95 % bootstrap intervals. Vectors
// are cached (vectors.mjs).
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { meanInterval } from '../../dist/evaluate/bootstrap.js';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { ndcg, trecOrder } from '../../dist/evaluate/measures.js';
import { Index } from '../../dist/maxsim.js';
import { CrossEncoder } from '../../dist/rerank/cross-encoder.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { machine } from '../stats.mjs';
import { cachedVectors } from './vectors.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    collections: { type: 'string', default: 'scifact,trecqa-test,cacm' },
    pairs: { type: 'string', default: '20' },
    judged: { type: 'string', default: '60' },
  },
});
const data = resolve(options.data);
const pairs = Number(options.pairs);
const judged = Number(options.judged);
/** Texts as the reference libraries read them. @type {import('../../dist/maxsim.js').ModelOptions} */
const MODEL = { model: 'default', specialTokens: 'as-written' };
/** @type {('native' | 'onnx')[]} */
const RUNTIMES = ['onnx', 'native'];

/** A runtime's pool, models and rankings. @param {'native' | 'onnx'} runtime */
async function open(runtime) {
  const pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { runtime });
  const encoder = await ModelEncoder.open(MODEL, pool);
  const crossEncoder = await CrossEncoder.open('default', pool);
  return { runtime, pool, encoder, crossEncoder };
}

/** @typedef {Awaited<ReturnType<typeof open>>} Side */
/** @typedef {Awaited<ReturnType<typeof readCollection>>} Collection */

/**
 * The best 100 of each query, exhaustively.
 * @param {Side} side @param {string} name @param {Collection} collection
 */
async function rankings({ runtime, encoder }, name, { corpus, queries }) {
  /** @param {number} done @param {number} total */
  const progress = (done, total) => {
    process.stderr.write(`\r${name}, ${runtime}: ${done} of ${total} documents encoded`);
  };
  const asked = queries.map(({ text }) => text);
  const queryVectors = await cachedVectors(encoder, name, 'query', asked, undefined, runtime);
  const texts = corpus.map(passageText);
  const vectors = await cachedVectors(encoder, name, 'document', texts, progress, runtime);
  process.stderr.write('\n');
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-runtimes-'));
  try {
    const index = await Index.open(directory, { dim: encoder.dim, codec: 'f32' });
    await index.add(
      corpus.map(({ id }, i) => ({ id, vectors: /** @type {Float32Array} */ (vectors[i]) })),
    );
    const found = [];
    for (const vector of queryVectors) {
      const { hits } = await index.search(vector, { topK: 100, method: 'exhaustive' });
      found.push(trecOrder(new Map(hits.map(({ id, score }) => [id, score]))));
    }
    await index.close();
    return found;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** @param {number[]} values */
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** A row of the table. @param {string} what @param {[number[], number[]]} perQuery */
function row(what, [onnx, native]) {
  const differences = native.map((value, i) => value - /** @type {number} */ (onnx[i]));
  const { mean: by, low, high } = meanInterval(differences, { seed: 1 });
  const spread = `${by.toFixed(4)} (${low.toFixed(4)} to ${high.toFixed(4)})`;
  return `| ${what} | ${onnx.length} | ${mean(onnx).toFixed(4)} | ${mean(native).toFixed(4)} | ${spread} |`;
}

/** @param {string} name @param {Side[]} sides */
async function compare(name, sides) {
  const { corpus: all, ...rest } = await readCollection(join(data, name));
  // An engine refuses documents without a word; no query asks for them.
  const corpus = all.filter((document) => passageText(document).trim() !== '');
  const collection = { ...rest, corpus };
  const { queries, judgements } = collection;
  /** @param {string[][]} ranked */
  const scoresOf = (ranked) =>
    ranked.map((ids, i) => ndcg(ids, judgements.get(queries[i]?.id ?? '') ?? new Map(), 10));
  const late = [];
  for (const side of sides) late.push(await rankings(side, name, collection));
  const [onnx = [], native = []] = late;
  console.log(row(`${name}: late interaction`, [scoresOf(onnx), scoresOf(native)]));
  const texts = new Map(corpus.map((document) => [document.id, passageText(document)]));
  /** @type {string[][][]} */
  const reranked = [[], []];
  for (const [i, { text }] of queries.slice(0, judged).entries()) {
    const ids = (onnx[i] ?? []).slice(0, pairs);
    for (const [s, { crossEncoder }] of sides.entries()) {
      const logits = await crossEncoder.score(
        text,
        ids.map((id) => texts.get(id) ?? ''),
      );
      reranked[s]?.push(trecOrder(new Map(ids.map((id, at) => [id, logits[at] ?? 0]))));
    }
  }
  const [a = [], b = []] = reranked;
  console.log(row(`${name}: cross-encoder over ${pairs}`, [scoresOf(a), scoresOf(b)]));
}

if (!existsSync(data)) {
  console.error(
    `There is no folder ${data}; give one that holds collections in BEIR's layout with --data <folder>.`,
  );
  process.exit(1);
}
const sides = await Promise.all(RUNTIMES.map(open));
const { cpu } = machine();
console.log(`nDCG@10 by runtime, ${cpu}`);
console.log('| collection | queries | onnxruntime | native | native less onnxruntime (95 %) |');
console.log('|---|---|---|---|---|');
for (const name of options.collections.split(',')) {
  if (existsSync(join(data, name))) await compare(name, sides);
  else console.error(`There is no collection ${join(data, name)}; it is left out.`);
}
for (const { pool } of sides) await pool.close();
