// `npm run bench:quality [-- --data <folder>] [-- --collections a,b] [-- --json]`: nDCG@10 over whole
// collections, exhaustive search, f32 and int8, beside BM25. Vectors are cached (vectors.mjs).
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { ndcg, trecOrder } from '../../dist/evaluate/measures.js';
import { Index } from '../../dist/maxsim.js';
import { Bm25 } from '../../dist/retrieve/bm25.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { machine, quantile } from '../stats.mjs';
import { cachedVectors } from './vectors.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    collections: { type: 'string', default: 'scifact,trecqa-test,cacm,cranfield' },
    json: { type: 'boolean', default: false },
  },
});
const data = resolve(options.data);
if (!existsSync(data)) {
  console.error(
    `There is no folder ${data}; give one that holds collections in BEIR's layout with --data <folder>.`,
  );
  process.exit(1);
}

const TOP = 100;
const pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url));
const encoder = await ModelEncoder.open('default', pool);

/** @param {string} name */
async function measure(name) {
  const { corpus: all, queries, judgements } = await readCollection(join(data, name));
  // Cranfield has two documents without a word; an engine refuses them, and no query asks for them.
  const corpus = all.filter((document) => passageText(document).trim() !== '');
  const queryVectors = await cachedVectors(
    encoder,
    name,
    'query',
    queries.map((query) => query.text),
  );
  const vectors = await cachedVectors(
    encoder,
    name,
    'document',
    corpus.map(passageText),
    (done, total) => {
      process.stderr.write(`\r${name}: ${done} of ${total} documents encoded`);
    },
  );
  process.stderr.write('\n');
  const documents = corpus.map((document, i) => ({
    id: document.id,
    vectors: /** @type {Float32Array} */ (vectors[i]),
  }));
  /** @param {(query: number) => Promise<{ id: string, score: number }[]>} search */
  const evaluate = async (search) => {
    const values = [];
    const times = [];
    /** @type {string[][]} */
    const top = [];
    for (let i = 0; i < queries.length; i++) {
      const started = performance.now();
      const hits = await search(i);
      times.push(performance.now() - started);
      const ranking = trecOrder(new Map(hits.map((hit) => [hit.id, hit.score])));
      const grades = judgements.get(queries[i].id) ?? new Map();
      values.push(ndcg(ranking, grades, 10));
      top.push(ranking.slice(0, 10));
    }
    return {
      ndcg10: values.reduce((a, b) => a + b, 0) / values.length,
      p50Ms: quantile(times, 0.5),
      top,
    };
  };
  const bm25 = new Bm25(
    corpus.map((document) => ({ id: document.id, text: passageText(document) })),
  );
  /** @type {Record<string, Awaited<ReturnType<typeof evaluate>>>} */
  const systems = {};
  systems['bm25'] = await evaluate(async (i) =>
    bm25.search(queries[i].text, TOP).map(({ id, score }) => ({ id, score: score.value })),
  );
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-quality-'));
  try {
    for (const codec of /** @type {const} */ (['f32', 'int8'])) {
      const index = await Index.open(join(directory, codec), { dim: encoder.dim, codec });
      await index.add(documents);
      systems[codec] = await evaluate((i) =>
        index.search(/** @type {Float32Array} */ (queryVectors[i]), { topK: TOP }),
      );
      await index.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const overlap =
    systems['f32'].top.reduce(
      (sum, ids, i) =>
        sum +
        ids.filter((id) => systems['int8'].top[i].includes(id)).length / Math.max(1, ids.length),
      0,
    ) / queries.length;
  const figures = Object.entries(systems).map(([system, { ndcg10, p50Ms }]) => ({
    system,
    ndcg10,
    p50Ms,
  }));
  return {
    collection: name,
    documents: corpus.length,
    tokens: vectors.reduce((sum, v) => sum + v.length / encoder.dim, 0),
    queries: queries.length,
    systems: figures,
    int8Top10Overlap: overlap,
  };
}

const results = [];
for (const name of options.collections.split(',')) {
  if (!existsSync(join(data, name))) {
    console.error(`There is no collection ${join(data, name)}; it is left out.`);
    continue;
  }
  results.push(await measure(name));
}
await pool.close();

if (options.json)
  console.log(JSON.stringify({ machine: machine(), model: encoder.recipe['model'], results }));
else {
  console.log(
    '| collection | documents | tokens | queries | BM25 | f32 | int8 | int8 - f32 | top-10 overlap | search p50 ms, int8 |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|---|');
  for (const result of results) {
    const [bm25, f32, int8] = result.systems;
    if (!bm25 || !f32 || !int8) continue;
    const cells = [
      result.collection,
      result.documents,
      result.tokens,
      result.queries,
      bm25.ndcg10.toFixed(4),
      f32.ndcg10.toFixed(4),
      int8.ndcg10.toFixed(4),
      (int8.ndcg10 - f32.ndcg10).toFixed(4),
      result.int8Top10Overlap.toFixed(4),
      int8.p50Ms.toFixed(1),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}
