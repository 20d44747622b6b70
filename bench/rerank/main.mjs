// `npm run bench:rerank [-- --collections challenge,trecqa-test] [-- --queries 50] [-- --depth 100] [-- --json]`:
// BM25, late interaction on its candidates, the cross-encoder on the best 20 and on all of them: nDCG@10,
// P@5, the share of queries that each makes worse than BM25, milliseconds a query of each stage. Ends with
// what is asked of a cascade and whether this run shows it.
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { meanInterval, meanOf } from '../../dist/evaluate/bootstrap.js';
import { calibrateCascade } from '../../dist/evaluate/cascade-calibration.js';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { ndcg, precision } from '../../dist/evaluate/measures.js';
import { measurePipeline } from '../../dist/evaluate/pipeline-measurement.js';
import { cascade, crossEncoder, Engine, lateInteraction } from '../../dist/maxsim.js';
import { drawSome, seededRandom } from '../../dist/random.js';
import { Bm25 } from '../../dist/retrieve/bm25.js';
import { machine } from '../stats.mjs';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: '../shared/data' },
    collections: { type: 'string', default: 'challenge,trecqa-test,squad-dev-v1.1,scifact' },
    queries: { type: 'string', default: '50' },
    depth: { type: 'string', default: '100' },
    model: { type: 'string', default: 'default' },
    json: { type: 'boolean', default: false },
  },
});
const KEEP = 20;
const depth = Number(options.depth);
const most = Number(options.queries);
if (!(Number.isInteger(depth) && depth > KEEP && Number.isInteger(most) && most >= 10)) {
  console.error(`--depth must be a whole number above ${KEEP}, --queries one of at least 10.`);
  process.exit(2);
}

/** @param {string} name */
function folderOf(name) {
  const own = fileURLToPath(new URL(`../../${name}`, import.meta.url));
  const folder = name === 'challenge' ? own : join(resolve(options.data), name);
  if (existsSync(join(folder, 'corpus.jsonl'))) return folder;
  console.error(`There is no collection in ${folder}; --data names the folder of collections.`);
  process.exit(1);
}

/** @param {string} name */
async function measure(name) {
  const { corpus, queries: all, judgements } = await readCollection(folderOf(name));
  const answerable = all.filter(({ id }) =>
    [...(judgements.get(id)?.values() ?? [])].some((grade) => grade > 0),
  );
  const queries = drawSome(answerable, most, seededRandom(0));
  const texts = new Map(
    corpus
      .map((one) => /** @type {const} */ ([one.id, passageText(one)]))
      .filter(([, text]) => text.trim() !== ''),
  );
  const bm25 = new Bm25([...texts].map(([id, text]) => ({ id, text })));
  const searching = performance.now();
  const candidates = new Map(
    queries.map(({ id, text }) => [id, bm25.search(text, depth).map((hit) => hit.id)]),
  );
  const bm25Ms = (performance.now() - searching) / queries.length;
  const wanted = [...new Set([...candidates.values()].flat())];
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-bench-rerank-'));
  const engine = await Engine.open(join(directory, name), { crossEncoder: options.model });
  try {
    for (let from = 0; from < wanted.length; from += 256) {
      const some = wanted.slice(from, from + 256);
      await engine.add(some.map((id) => ({ id, text: /** @type {string} */ (texts.get(id)) })));
      process.stderr.write(
        `\r${name}: ${from + some.length} of ${wanted.length} documents encoded`,
      );
    }
    process.stderr.write('\n');
    /** @param {number} keep */
    const run = async (keep) => {
      const pipeline = cascade([lateInteraction({ keep }), crossEncoder()]);
      await engine.prepare(pipeline);
      return await measurePipeline(engine, { pipeline, queries, judgements, candidates, depth });
    };
    const short = await run(KEEP);
    const wide = await run(depth);
    return report(name, { texts, bm25Ms, short, wide });
  } finally {
    await engine.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * @typedef {import('../../dist/evaluate/pipeline-measurement.js').MeasuredQuery} MeasuredQuery
 * @param {string} name
 * @param {{ texts: Map<string, string>, bm25Ms: number, short: MeasuredQuery[], wide: MeasuredQuery[] }} found
 */
function report(name, { texts, bm25Ms, short, wide }) {
  /** @param {MeasuredQuery} query @param {readonly string[]} order */
  const quality = (query, order) => ndcg(order, query.grades, 10);
  /**
   * @param {string} order
   * @param {MeasuredQuery[]} measured
   * @param {(query: MeasuredQuery) => readonly string[]} orderOf
   * @param {number} ms
   */
  const row = (order, measured, orderOf, ms) => {
    const gains = measured.map(
      (query) => quality(query, orderOf(query)) - quality(query, query.first),
    );
    return {
      order,
      ndcg: meanOf(measured.map((query) => quality(query, orderOf(query)))),
      precision5: meanOf(measured.map((query) => precision(orderOf(query), query.grades, 5))),
      gain: meanInterval(gains),
      harm: meanOf(gains.map((gain) => (gain < 0 ? 1 : 0))),
      ms,
    };
  };
  /** @param {MeasuredQuery[]} measured @param {number} stage */
  const msOf = (measured, stage) => meanOf(measured.map(({ stageMs }) => stageMs[stage] ?? 0));
  const rows = [
    row('BM25', wide, (query) => query.first, bm25Ms),
    // The second measurement finds its queries in the cache.
    row('late interaction', wide, (query) => query.orders[0] ?? [], msOf(short, 0)),
    row(`cross-encoder on ${KEEP}`, short, (query) => query.orders[1] ?? [], msOf(short, 1)),
    row(`cross-encoder on ${depth}`, wide, (query) => query.orders[1] ?? [], msOf(wide, 1)),
  ];
  const [, late, some, every] = rows;
  const helps = (every?.ndcg ?? 0) > (late?.ndcg ?? 0);
  return {
    collection: name,
    documents: texts.size,
    queries: wide.length,
    rows,
    /** Of the cross-encoder on all candidates, what the one on 20 keeps and takes. */
    kept: (some?.ndcg ?? 0) / (every?.ndcg ?? 1),
    time: (some?.ms ?? 0) / (every?.ms ?? 1),
    helps,
    verdict: calibrateCascade(wide).verdict,
  };
}

const reports = [];
for (const name of options.collections.split(',')) reports.push(await measure(name));
if (options.json)
  console.log(JSON.stringify({ machine: machine(), depth, collections: reports }, null, 1));
else {
  const { cpu, cores, loadAverage } = machine();
  console.log(`${cpu}, ${cores} cores, load ${loadAverage.join(' ')}\n`);
  const line = (/** @type {string[]} */ cells) =>
    console.log(
      cells
        .map((cell, i) =>
          i < 2 ? cell.padEnd(i === 0 ? 18 : 22) : cell.padStart(i === 4 ? 28 : 9),
        )
        .join(''),
    );
  line(['collection', 'order', 'nDCG@10', 'P@5', 'over BM25', 'harmed', 'ms']);
  for (const { collection, rows } of reports) {
    for (const { order, ndcg, precision5, gain, harm, ms } of rows) {
      line([
        ...[order === 'BM25' ? collection : '', order, ndcg.toFixed(4), precision5.toFixed(3)],
        `${gain.mean.toFixed(3)} [${gain.low.toFixed(3)} to ${gain.high.toFixed(3)}]`,
        ...[`${(100 * harm).toFixed(1)} %`, ms.toFixed(1)],
      ]);
    }
  }
  console.log();
  for (const { collection, kept, time, helps, verdict } of reports) {
    const asked = kept >= 0.98 && time <= 0.3;
    console.log(
      `${collection}: ${depth} -> ${KEEP} keeps ${(100 * kept).toFixed(1)} % at ${(100 * time).toFixed(0)} % of the time (asked: 98 % at 30 %): ${helps ? (asked ? 'shown' : 'not shown') : 'nothing to keep, the cross-encoder does not help'}.\n  ${verdict}`,
    );
  }
}
