// `npm run bench:encode [-- --data <folder>] [-- --model <name>] [-- --quick] [-- --json]`: what the model
// threads add to bare onnxruntime, for one query and for documents, and what the event loop feels of them,
// beside what is asked.
import { existsSync } from 'node:fs';
import os from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { loadRecipe } from '../../dist/encode/load-recipe.js';
import { QueryCache } from '../../dist/encode/query-cache.js';
import { tokenizerOptions } from '../../dist/encode/recipe.js';
import { toSequences } from '../../dist/encode/sequence.js';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { toBatch } from '../../dist/runtime/batches.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';
import { machine, quantile, summary } from '../stats.mjs';
import { bareSession, run } from './bare.mjs';
import { FILE_ORDER, measureDocuments } from './documents.mjs';
import { measureLoad } from './load.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    model: { type: 'string', default: 'default' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const collection = join(resolve(options.data), 'scifact');
if (!existsSync(collection)) {
  console.error(
    `There is no collection ${collection}; give a folder that holds scifact in BEIR's layout with --data <folder>.`,
  );
  process.exit(1);
}
const DOCUMENTS = options.quick ? 96 : 480;
const ROUNDS = options.quick ? 60 : 300;

const { recipe, directory, graph } = await loadRecipe(options.model);
const tokenizer = await TextTokenizer.open(directory, tokenizerOptions(recipe));
const session = await bareSession(graph, 1);

/** @typedef {import('../../dist/encode/sequence.js').Sequence} Sequence */

/** @param {string} text @param {'query' | 'document'} kind */
const sequenceOf = (text, kind) =>
  /** @type {Sequence} */ (
    toSequences({ ids: tokenizer.encode(text), total: 0 }, kind, recipe, tokenizer).sequences[0]
  );

const { corpus, queries } = await readCollection(collection);
// What the threads add is seen beside the same graph in the same runtime.
const entry = new URL('../../dist/worker.js', import.meta.url);
const pool = new WorkerPool(entry, { threads: 1, runtime: 'onnx' });
const encoder = await ModelEncoder.open(options.model, pool);
await encoder.warmUp();
// And what users get: the native encoder where it runs the model.
const ownPool = new WorkerPool(entry, { threads: 1 });
const own = await ModelEncoder.open(options.model, ownPool);
await own.warmUp();

/** @param {string} text */
function say(text) {
  process.stderr.write(`${text}\n`);
}

/** @param {() => Promise<unknown>} work */
async function milliseconds(work) {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

say('one query');
// As long as queries may be: what is beyond is cut.
const long = queries.map(({ text }, i) =>
  `${text} ${queries[(i + 1) % queries.length]?.text} `.repeat(3),
);
/** @type {Record<'bareMs' | 'poolMs' | 'ownMs', number[]>} */
const query = { bareMs: [], poolMs: [], ownMs: [] };
for (let i = 0; i < ROUNDS; i++) {
  const text = /** @type {string} */ (long[i % long.length]);
  const batch = toBatch([sequenceOf(text, 'query')]);
  const ways = [
    async () => query.bareMs.push(await milliseconds(() => run(session, batch))),
    async () => query.poolMs.push(await milliseconds(() => encoder.encodeQueries([text]))),
    async () => query.ownMs.push(await milliseconds(() => own.encodeQueries([text]))),
  ];
  for (let w = 0; w < ways.length; w++) await ways[(w + i) % ways.length]?.();
}
const [model] = ownPool.stats().models;
await ownPool.close();

say('a query that was asked before');
const cache = new QueryCache(encoder, 1 << 24);
const asked = /** @type {string} */ (queries[0]?.text);
await cache.encodeQueries([asked]);
const hits = [];
for (let i = 0; i < 2000; i++) {
  const started = performance.now();
  await cache.encodeQueries([asked]);
  hits.push(1000 * (performance.now() - started));
}
await pool.close();

say('event loop at 80 % load');
const load = await measureLoad({ model: options.model, queries, seconds: options.quick ? 5 : 20 });

say('documents');
// Evenly out of the whole collection, in file order.
const step = Math.max(1, Math.floor(corpus.length / DOCUMENTS));
const texts = corpus
  .filter((_, i) => i % step === 0)
  .slice(0, DOCUMENTS)
  .map(passageText);
const sequences = texts.map((text) => sequenceOf(text, 'document'));
const { pad } = tokenizer.special;
const cores = os.availableParallelism();
/** @type {Record<string, Awaited<ReturnType<typeof measureDocuments>>>} */
const documents = {};
for (const threads of new Set([1, cores])) {
  documents[`${threads}`] = await measureDocuments({
    model: options.model,
    graph,
    texts,
    sequences,
    pad,
    threads,
    say,
  });
}
const onAll = /** @type {Awaited<ReturnType<typeof measureDocuments>>} */ (documents[`${cores}`]);
const onOne = /** @type {Awaited<ReturnType<typeof measureDocuments>>} */ (documents['1']);

const addedMs = summary(query.poolMs.map((ms, i) => ms - /** @type {number} */ (query.bareMs[i])));
const bare = summary(query.bareMs);
const pooled = summary(query.poolMs);
const owned = summary(query.ownMs);
const checks = [
  check(
    'one query of 32 tokens: what the pool adds, ms (or 15 %)',
    addedMs.median,
    Math.max(1, 0.15 * bare.median),
    'at most',
  ),
  check('event-loop delay at 80 % load, p99 ms', load.delayMs.p99, 5, 'at most'),
  check(
    'documents a second, in onnxruntime, of a bare loop with the same batches, one core',
    onOne.ofBare.median,
    0.9,
    'at least',
  ),
  check(
    `documents a second, of batches of ${FILE_ORDER} in file order, all cores`,
    onAll.ofFileOrder.median,
    1.5,
    'at least',
  ),
];
const report = {
  machine: machine(),
  model: recipe.model,
  runtime: model?.runtime,
  query: {
    rounds: ROUNDS,
    bareMs: { ...bare, p99: quantile(query.bareMs, 0.99) },
    poolMs: { ...pooled, p99: quantile(query.poolMs, 0.99) },
    addedMs,
    ownMs: { ...owned, p99: quantile(query.ownMs, 0.99) },
  },
  documents: { documents: texts.length, byThreads: documents },
  cacheHitUs: summary(hits),
  load,
  checks,
};
if (options.json) console.log(JSON.stringify(report));
else {
  const { machine: _, checks: __, ...rest } = report;
  console.dir(rest, { depth: 5 });
  console.table(checks);
}

/**
 * @param {string} what @param {number} measured @param {number} asked @param {'at least' | 'at most'} bound
 */
function check(what, measured, asked, bound) {
  const met = bound === 'at least' ? measured >= asked : measured <= asked;
  return {
    what,
    asked: `${bound} ${Number(asked.toPrecision(3))}`,
    measured: Number(measured.toPrecision(3)),
    met,
  };
}
