// `npm run bench:search [-- --quick] [-- --json] [-- --data <folder>] [-- --models <folder>]
// [-- --tokens 1e6,1e7,5e7]`: how fast the best of a whole index are found, and how many of them. SciFact
// as token states beside next-plaid at its defaults; then, without --quick, a mixture of as many tokens
// as are asked for. What takes long is kept in .cache (README.md says how long).
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Index, prepareQuery } from '../../dist/maxsim.js';
import { machine, quantile } from '../stats.mjs';
import { CACHE, grownIndex } from './grown.mjs';
import { nextPlaid } from './next-plaid.mjs';
import { scifact } from './scifact.mjs';
import { DIM } from './states.mjs';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    data: { type: 'string', default: '../shared/data' },
    models: { type: 'string', default: '../shared/models' },
    tokens: { type: 'string', default: '1e6,1e7,5e7' },
  },
});
const K = 10;
const say = (/** @type {string} */ text) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
};

/** @typedef {import('../../dist/maxsim.js').IndexSearchOptions} SearchOptions */
/** @typedef {{ name: string, ms: number[], found: number, plans: import('../../dist/types.js').SearchPlan[] }} Measured */

/** @param {readonly string[]} found @param {readonly string[]} truth */
const common = (found, truth) => found.filter((id) => truth.includes(id)).length;

/**
 * All systems for one query, then for the next, so that all meet the same machine.
 * @param {Index} index @param {Float32Array[]} queries @param {string[][]} truth
 * @param {{ name: string, options: SearchOptions }[]} systems
 * @param {(query: number) => Promise<void>} [also]
 */
async function interleaved(index, queries, truth, systems, also = async () => {}) {
  const prepared = queries.map((query) => prepareQuery(query, DIM));
  /** @type {Measured[]} */
  const measured = systems.map(({ name }) => ({ name, ms: [], found: 0, plans: [] }));
  for (let round = 0; round < 2; round++) {
    for (const [q, query] of prepared.entries()) {
      if (round === 0 && q >= 5) break; // caches, pages and threads
      for (const [i, { options: asked }] of systems.entries()) {
        const started = performance.now();
        const { hits, plan } = await index.search(query, { topK: K, ...asked });
        const ms = performance.now() - started;
        if (round === 0) continue;
        const own = /** @type {Measured} */ (measured[i]);
        own.ms.push(ms);
        own.plans.push(plan);
        own.found += common(
          hits.map(({ id }) => id),
          /** @type {string[]} */ (truth[q]),
        );
      }
      if (round > 0) await also(q);
      say(`query ${q + 1} of ${prepared.length}`);
    }
  }
  return measured;
}

/** @param {Measured} measured @param {number} bytesPerToken @param {number} buildSeconds */
function summaryOf({ name, ms, found, plans }, bytesPerToken, buildSeconds) {
  const mean = (/** @type {(plan: Measured['plans'][0]) => number} */ of) =>
    plans.reduce((sum, plan) => sum + of(plan), 0) / plans.length;
  return {
    name,
    p50Ms: quantile(ms, 0.5),
    p99Ms: quantile(ms, 0.99),
    recallAt10: found / (K * ms.length),
    bytesPerToken,
    buildSeconds,
    scored: mean((plan) => plan.scored),
    excluded: mean((plan) => plan.excluded),
    methods: [...new Set(plans.map((plan) => plan.method))],
  };
}

/** Cached: the exact best of every query. @param {string} file @param {() => Promise<string[][]>} make */
async function truthOf(file, make) {
  const path = join(CACHE, file);
  if (existsSync(path)) return JSON.parse(await readFile(path, 'utf8'));
  const truth = await make();
  await writeFile(path, JSON.stringify(truth));
  return truth;
}

/** @param {Index} index @param {Float32Array[]} queries */
async function exhaustive(index, queries) {
  const truth = [];
  for (const query of queries) {
    const { hits } = await index.search(query, { topK: K, method: 'exhaustive' });
    truth.push(hits.map(({ id }) => id));
  }
  return truth;
}

/** An index of SciFact in one codec, kept. @param {'f32' | 'int8' | 'r4'} codec @param {Float32Array[]} documents @param {Float32Array[]} train @param {string} name */
async function scifactIndex(codec, documents, train, name) {
  const directory = join(CACHE, `${name}-${codec}`);
  const note = `${directory}.json`;
  const index = await Index.open(directory, { dim: DIM, codec, fields: { place: 'number' } });
  if (existsSync(note)) return { index, ...JSON.parse(await readFile(note, 'utf8')) };
  say(`${name}: ${codec} index`);
  const started = performance.now();
  await index.add(
    documents.map((vectors, i) => ({
      id: String(i),
      vectors,
      payload: { place: ((i * 7919) % documents.length) / documents.length },
    })),
  );
  const addSeconds = (performance.now() - started) / 1000;
  if (codec !== 'f32') await index.buildSearch({ queries: train });
  const built = { addSeconds, buildSeconds: (performance.now() - started) / 1000 };
  await writeFile(note, JSON.stringify(built));
  return { index, ...built };
}

/** @param {Index} index */
const bytesPerToken = (index) => index.stats().sizeBytes / index.stats().tokens;

/**
 * What filters do to a search at its defaults: results compared with an exhaustive one of what matches.
 * @param {Index} index @param {Float32Array[]} queries
 */
async function benchFilters(index, queries) {
  const rows = [];
  for (const share of [1, 0.5, 0.05, 0.005, 0]) {
    const filter = { place: { lt: share } };
    const [ms, exhaustiveMs] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
    let [found, wanted, documents] = [0, 0, 0];
    for (const query of queries) {
      const started = performance.now();
      const { hits, plan } = await index.search(query, { topK: K, filter, parallel: false });
      const between = performance.now();
      const all = await index.search(query, {
        topK: K,
        filter,
        parallel: false,
        method: 'exhaustive',
      });
      exhaustiveMs.push(performance.now() - between);
      ms.push(between - started);
      const truth = all.hits.map(({ id }) => id);
      found += common(
        hits.map(({ id }) => id),
        truth,
      );
      wanted += truth.length;
      documents = plan.documents;
    }
    rows.push({
      share,
      documents,
      p50Ms: quantile(ms, 0.5),
      exhaustiveP50Ms: quantile(exhaustiveMs, 0.5),
      recallAt10: wanted === 0 ? 1 : found / wanted,
    });
  }
  return rows;
}

async function benchScifact() {
  const { documents, queries, train, tokens, file } = await scifact({
    data: resolve(options.data),
    models: resolve(options.models),
    say,
  });
  const name = file.split('/').at(-1) ?? 'scifact';
  const truth = await truthOf(`${name}-truth.json`, async () => {
    const { index } = await scifactIndex('f32', documents, train, name);
    const best = await exhaustive(index, queries);
    await index.close();
    return best;
  });
  const systems = [];
  const peer = await nextPlaid({ states: file, cache: CACHE, say });
  /** @type {number[]} */
  const peerMs = [];
  let peerFound = 0;
  /** @type {Awaited<ReturnType<typeof benchFilters>>} */
  let filters = [];
  for (const codec of /** @type {const} */ (['int8', 'r4'])) {
    const { index, buildSeconds } = await scifactIndex(codec, documents, train, name);
    const one = { parallel: false };
    const asked = [
      { name: 'default (recall .99)', options: one },
      { name: 'recall .98', options: { ...one, recall: 0.98 } },
      { name: 'recall .95', options: { ...one, recall: 0.95 } },
      { name: 'recall .90', options: { ...one, recall: 0.9 } },
      ...[100, 200, 400, 600].map((depth) => ({
        name: `scan, depth ${depth}`,
        options: /** @type {SearchOptions} */ ({ ...one, method: 'scan', depth }),
      })),
      { name: 'exact', options: { ...one, exact: true } },
      {
        name: 'exhaustive',
        options: /** @type {SearchOptions} */ ({ ...one, method: 'exhaustive' }),
      },
      { name: 'default, all cores', options: {} },
    ];
    const measured = await interleaved(index, queries, truth, asked, async (q) => {
      if (peer === null || codec !== 'int8') return;
      const { ms, documents: found } = await peer.search(q);
      peerMs.push(ms);
      peerFound += common(found.slice(0, K).map(String), truth[q]);
    });
    for (const one of measured) {
      const summary = summaryOf(one, bytesPerToken(index), buildSeconds);
      systems.push({ ...summary, name: `maxsim ${codec}, ${one.name}` });
    }
    if (codec === 'int8') filters = await benchFilters(index, queries.slice(0, 100));
    await index.close();
  }
  if (peer !== null) {
    systems.push({
      name: 'next-plaid 1.8.5, defaults',
      p50Ms: quantile(peerMs, 0.5),
      p99Ms: quantile(peerMs, 0.99),
      recallAt10: peerFound / (K * peerMs.length),
      bytesPerToken: peer.bytesPerToken,
      buildSeconds: peer.buildSeconds,
    });
    peer.close();
  }
  return { tokens, docs: documents.length, dim: DIM, threads: 1, systems, filters };
}

/** @param {number} tokens */
async function benchMixture(tokens) {
  const { index, mixture, built, name } = await grownIndex({
    tokens,
    codec: 'r2',
    centroids: 16_384,
    say,
  });
  const stats = index.stats();
  const queries = Array.from({ length: 60 }, (_, i) => mixture.query(i));
  const truth = await truthOf(`${name}-truth.json`, () => exhaustive(index, queries));
  const one = { parallel: false };
  const asked = [
    { name: 'default (recall .99)', options: one },
    { name: 'recall .95', options: { ...one, recall: 0.95 } },
    {
      name: 'scan (recall .99)',
      options: /** @type {SearchOptions} */ ({ ...one, method: 'scan' }),
    },
    {
      name: 'lists (recall .99)',
      options: /** @type {SearchOptions} */ ({ ...one, method: 'lists' }),
    },
    { name: 'default, all cores', options: {} },
  ];
  const measured = await interleaved(index, queries, truth, asked);
  const seconds = built.addSeconds + built.searchSeconds;
  const systems = measured.map((system) =>
    summaryOf(system, stats.sizeBytes / stats.tokens, seconds),
  );
  const codes = stats.bytes.codes / stats.tokens;
  const rssMB = process.memoryUsage().rss / 1e6;
  await index.close();
  return {
    tokens: stats.tokens,
    docs: stats.documents,
    dim: DIM,
    threads: 1,
    truth: 'exhaustive search of the same index',
    codesBytesPerToken: codes,
    rssMB,
    built,
    systems,
  };
}

/** Latency ~ tokens ^ exponent between two sizes. @param {any} a @param {any} b @param {number} system */
const exponent = (a, b, system = 0) =>
  Math.log(b.systems[system].p50Ms / a.systems[system].p50Ms) / Math.log(b.tokens / a.tokens);

/** @param {Awaited<ReturnType<typeof benchMixture>>[]} sizes */
function growthOf(sizes) {
  const last = /** @type {Awaited<ReturnType<typeof benchMixture>>} */ (sizes.at(-1));
  const before = sizes.at(-2);
  if (before === undefined) return null;
  const slope = exponent(before, last);
  const ms = /** @type {{ p50Ms: number }} */ (last.systems[0]).p50Ms;
  const bytes = /** @type {{ bytesPerToken: number }} */ (last.systems[0]).bytesPerToken;
  const billion = 1e9 / last.tokens;
  return {
    exponents: sizes.slice(1).map((size, i) => exponent(sizes[i], size)),
    projection: {
      tokens: 1e9,
      p50Ms: ms * billion ** slope,
      p50MsIfLinear: ms * billion,
      gigabytes: bytes,
      assumptions:
        'one thread; r2; everything in memory; as many centroids as now, and the growth of the last step; linear growth is the other end',
    },
  };
}

/** @param {{ name: string, p50Ms: number, p99Ms: number, recallAt10: number, bytesPerToken: number, buildSeconds: number, scored?: number }[]} systems */
function print(systems) {
  console.log(
    '  system                              p50 ms    p99 ms   recall@10   bytes/token   build s   scored',
  );
  for (const system of systems) {
    const { name, p50Ms, p99Ms, recallAt10, bytesPerToken: bytes, buildSeconds, scored } = system;
    console.log(
      `  ${name.padEnd(34)}${p50Ms.toFixed(2).padStart(8)}${p99Ms.toFixed(2).padStart(10)}${recallAt10.toFixed(4).padStart(12)}${bytes.toFixed(1).padStart(14)}${buildSeconds.toFixed(0).padStart(10)}${(scored?.toFixed(0) ?? '').padStart(9)}`,
    );
  }
}

/**
 * What is asked of a machine like the one of the README, and what this one shows.
 * @param {Awaited<ReturnType<typeof benchScifact>>} real
 * @param {Awaited<ReturnType<typeof benchMixture>>[]} sizes
 * @param {ReturnType<typeof growthOf>} growth
 */
function checksOf({ systems, filters }, sizes, growth) {
  const one = systems.filter(({ name }) => !name.includes('all cores'));
  /** The fastest of ours that finds as many. @param {number} recall */
  const fastest = (recall) =>
    Math.min(
      ...one
        .filter(({ name, recallAt10 }) => name.startsWith('maxsim') && recallAt10 >= recall)
        .map(({ p50Ms }) => p50Ms),
    );
  const checks = [
    {
      what: 'SciFact p50 ms at recall .98',
      asked: '<= 3',
      value: fastest(0.98),
      met: fastest(0.98) <= 3,
    },
    {
      what: 'SciFact p50 ms at recall .95',
      asked: '<= 2',
      value: fastest(0.95),
      met: fastest(0.95) <= 2,
    },
  ];
  const peer = systems.find(({ name }) => name.startsWith('next-plaid'));
  if (peer !== undefined) {
    const value = peer.p50Ms / fastest(Math.max(peer.recallAt10, 0.95));
    checks.push({
      what: 'next-plaid takes times as long, at lower recall',
      asked: '>= 10',
      value,
      met: value >= 10,
    });
  }
  const falling = filters.every(({ p50Ms }, i) => i === 0 || p50Ms <= (filters[i - 1]?.p50Ms ?? 0));
  const worst = Math.min(...filters.map(({ recallAt10 }) => recallAt10));
  checks.push({
    what: 'cost falls with the share a filter keeps; least recall',
    asked: '>= .98',
    value: worst,
    met: falling && worst >= 0.98,
  });
  const last = sizes.at(-1);
  if (last !== undefined) {
    const ms = last.systems[0]?.p50Ms ?? Number.NaN;
    checks.push({
      what: `${(last.tokens / 1e6).toFixed(0)} M tokens p50 ms`,
      asked: '< 60',
      value: ms,
      met: ms < 60,
    });
    const slope = growth?.exponents.at(-1) ?? Number.NaN;
    checks.push({
      what: 'growth exponent from the size before',
      asked: '< .8',
      value: slope,
      met: slope < 0.8,
    });
  }
  return checks;
}

const real = await benchScifact();
const sizes = [];
if (!options.quick) {
  for (const tokens of options.tokens.split(',').map(Number))
    sizes.push(await benchMixture(tokens));
}
const growth = growthOf(sizes.length > 0 ? sizes : [/** @type {any} */ (real)]);
const checks = checksOf(real, sizes, growth);
if (options.json) {
  console.log(JSON.stringify({ machine: machine(), ...real, growth, sizes, checks }));
} else {
  const { cpu, cores, commit } = machine();
  console.log(`${cpu}, ${cores} cores, commit ${commit}\n`);
  console.log(
    `SciFact, ${real.tokens} tokens of ${real.docs} documents, recall against exact f32:`,
  );
  print(real.systems);
  console.log('\nFilters, int8, recall against an exhaustive search of what matches:');
  for (const { share, documents, p50Ms, exhaustiveP50Ms, recallAt10 } of real.filters) {
    console.log(
      `  ${(100 * share).toFixed(1).padStart(5)} % (${documents} documents): ${p50Ms.toFixed(2)} ms, exhaustive ${exhaustiveP50Ms.toFixed(2)} ms, recall ${recallAt10.toFixed(4)}`,
    );
  }
  for (const size of sizes) {
    console.log(
      `\nMixture, ${size.tokens} tokens of ${size.docs} documents, r2, recall against an exhaustive search of it (codes ${size.codesBytesPerToken.toFixed(2)} bytes a token, ${size.rssMB.toFixed(0)} MB in memory):`,
    );
    print(size.systems);
  }
  if (growth !== null) {
    const { exponents, projection } = growth;
    console.log(
      `\nGrowth exponents ${exponents.map((one) => one.toFixed(2)).join(', ')}; at 1 B tokens ${projection.p50Ms.toFixed(0)} ms (linear: ${projection.p50MsIfLinear.toFixed(0)} ms) and ${projection.gigabytes.toFixed(0)} GB: ${projection.assumptions}.`,
    );
  }
  console.log('');
  for (const { what, asked, value, met } of checks) {
    console.log(`  ${met ? 'met   ' : 'MISSED'}  ${what}: ${value.toFixed(2)} (asked ${asked})`);
  }
}
