// `npm run bench:quality [-- --data <folder>] [-- --collections a,b] [-- --json]`: nDCG@10 over whole
// collections, exhaustive search, codec by codec (--codecs, f32 is what the others are compared with),
// beside BM25; with --search, of searches at their defaults too, compared with exhaustive ones. Vectors are cached (vectors.mjs).
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { meanInterval } from '../../dist/evaluate/bootstrap.js';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { ndcg, trecOrder } from '../../dist/evaluate/measures.js';
import { CODECS, Index } from '../../dist/maxsim.js';
import { pseudoQuery } from '../../dist/pseudo-queries.js';
import { drawSome, seededRandom } from '../../dist/random.js';
import { Bm25 } from '../../dist/retrieve/bm25.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { machine, quantile } from '../stats.mjs';
import { cachedVectors } from './vectors.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    collections: { type: 'string', default: 'scifact,trecqa-test,cacm,cranfield' },
    codecs: { type: 'string', default: 'f32,int8,r4,r2,r1' },
    search: { type: 'boolean', default: false },
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

const codecs = CODECS.filter((codec) => options.codecs.split(',').includes(codec));
const TOP = 100;
// As vectors were cached before; runtimes.mjs compares the runtimes.
const runtime = 'onnx';
const pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url), { runtime });
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
      perQuery: values,
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
  /** @type {Record<string, number>} */
  const bytes = {};
  try {
    for (const codec of codecs) {
      const index = await Index.open(join(directory, codec), { dim: encoder.dim, codec });
      const started = performance.now();
      await index.add(documents);
      process.stderr.write(
        `${name}: ${codec} stored in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
      );
      const stats = index.stats();
      bytes[codec] = (stats.sizeBytes - stats.bytes.records) / stats.tokens;
      systems[codec] = await evaluate(async (i) => {
        const query = /** @type {Float32Array} */ (queryVectors[i]);
        return (await index.search(query, { topK: TOP, method: 'exhaustive' })).hits;
      });
      if (options.search) {
        const asked = sentencesOf(corpus);
        const encoded = await encoder.encodeQueries(asked.map(({ text }) => text));
        await index.buildSearch({
          queries: encoded.map((text) => text.vectors),
          queryDocuments: asked.map(({ id }) => id),
        });
        systems[`${codec} searched`] = await evaluate(async (i) => {
          const query = /** @type {Float32Array} */ (queryVectors[i]);
          return (await index.search(query, { topK: 10 })).hits;
        });
      }
      await index.close();
      await rm(join(directory, codec), { recursive: true, force: true });
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const figures = Object.entries(systems).map(([system, { ndcg10, perQuery, p50Ms, top }]) => {
    // Codecs are compared with f32, searches with an exhaustive one of their codec.
    const before = systems[system.endsWith(' searched') ? system.split(' ', 1)[0] : 'f32'];
    if (before === undefined || system === 'bm25') return { system, ndcg10, p50Ms };
    const losses = perQuery.map((value, i) => before.perQuery[i] - value);
    const overlaps = top.map(
      (ids, i) => ids.filter((id) => before.top[i].includes(id)).length / Math.max(1, ids.length),
    );
    return {
      system,
      ndcg10,
      p50Ms,
      bytesPerToken: bytes[system],
      loss: interval(losses),
      top10Overlap: interval(overlaps),
    };
  });
  return {
    collection: name,
    documents: corpus.length,
    tokens: vectors.reduce((sum, v) => sum + v.length / encoder.dim, 0),
    queries: queries.length,
    systems: figures,
  };
}

/** What an engine measures depths with. @param {import('../../dist/evaluate/collection.js').CorpusDocument[]} corpus */
function sentencesOf(corpus) {
  const next = seededRandom(0);
  return drawSome(corpus, 128, next).flatMap(({ id, text }) => {
    const sentence = pseudoQuery({ text, payload: null }, next);
    return sentence === null ? [] : [{ id, text: sentence }];
  });
}

/** Mean of a value per query with its 95 % bootstrap interval. @param {number[]} values */
function interval(values) {
  const { mean, low, high } = meanInterval(values, { seed: 1 });
  return { mean, low, high };
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
    '| collection | system | nDCG@10 | lost, v f32 or exhaustive (95 %) | top-10 overlap (95 %) | bytes a token | p50 ms |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const { collection, systems } of results) {
    for (const { system, ndcg10, p50Ms, loss, top10Overlap, bytesPerToken } of systems) {
      const cells = [
        collection,
        system,
        ndcg10.toFixed(4),
        spread(loss),
        spread(top10Overlap),
        bytesPerToken?.toFixed(1) ?? '',
        p50Ms.toFixed(1),
      ];
      console.log(`| ${cells.join(' | ')} |`);
    }
  }
}

/** @param {{ mean: number, low: number, high: number } | undefined} value */
function spread(value) {
  if (value === undefined) return '';
  return `${value.mean.toFixed(4)} (${value.low.toFixed(4)} to ${value.high.toFixed(4)})`;
}
