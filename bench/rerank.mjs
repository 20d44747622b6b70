// Reranking stored documents from JavaScript: our kernels against MaxSim in plain typed arrays, every
// system in turn in one process, so that a busy machine slows them all alike.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Index } from '../dist/maxsim.js';
import { random, summary, unitVectors } from './stats.mjs';

const DIM = 128;
const DOCUMENT_TOKENS = 180;
const QUERY_TOKENS = 32;

/**
 * MaxSim as one would write it in JavaScript.
 * @param {Float32Array} query @param {Float32Array} document
 */
function plainMaxSim(query, document) {
  let score = 0;
  for (let q = 0; q < query.length; q += DIM) {
    let best = -Infinity;
    for (let d = 0; d < document.length; d += DIM) {
      let dot = 0;
      for (let i = 0; i < DIM; i++) dot += query[q + i] * document[d + i];
      if (dot > best) best = dot;
    }
    score += best;
  }
  return score;
}

/** The same with four sums in flight. @param {Float32Array} query @param {Float32Array} document */
function unrolledMaxSim(query, document) {
  let score = 0;
  for (let q = 0; q < query.length; q += DIM) {
    let best = -Infinity;
    for (let d = 0; d < document.length; d += DIM) {
      let a = 0;
      let b = 0;
      let c = 0;
      let e = 0;
      for (let i = 0; i < DIM; i += 4) {
        a += query[q + i] * document[d + i];
        b += query[q + i + 1] * document[d + i + 1];
        c += query[q + i + 2] * document[d + i + 2];
        e += query[q + i + 3] * document[d + i + 3];
      }
      const dot = a + b + (c + e);
      if (dot > best) best = dot;
    }
    score += best;
  }
  return score;
}

/** @param {{ quick: boolean }} options */
export async function benchRerank({ quick }) {
  const next = random(1);
  const query = unitVectors(QUERY_TOKENS, DIM, next);
  const documents = Array.from({ length: 100 }, (_, i) => ({
    id: `document-${i}`,
    vectors: unitVectors(DOCUMENT_TOKENS, DIM, next),
  }));
  const ids = documents.map((document) => document.id);
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-bench-'));
  /** @type {Record<string, number[]>} */
  const times = {};
  try {
    const int8 = await Index.open(join(directory, 'int8'), { dim: DIM, codec: 'int8' });
    const f32 = await Index.open(join(directory, 'f32'), { dim: DIM, codec: 'f32' });
    await int8.add(documents);
    await f32.add(documents);
    /** @type {[string, number, () => unknown][]} name, calls a round, call */
    const systems = [
      ['int8', 20, () => int8.score(query, ids)],
      ['f32', 10, () => f32.score(query, ids)],
      ['plain JavaScript', 1, () => documents.map((d) => plainMaxSim(query, d.vectors))],
      ['unrolled JavaScript', 1, () => documents.map((d) => unrolledMaxSim(query, d.vectors))],
    ];
    for (let round = 0; round < (quick ? 7 : 25); round++) {
      for (const [name, calls, call] of systems) {
        if (round === 0) for (let i = 0; i < calls; i++) call();
        const started = performance.now();
        for (let i = 0; i < calls; i++) call();
        times[name] ??= [];
        times[name].push(((performance.now() - started) * 1000) / calls);
      }
    }
    await int8.close();
    await f32.close();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const int8Us = summary(times['int8'] ?? []).median;
  return {
    what: `rerank 100 stored documents of ${DOCUMENT_TOKENS} tokens, ${QUERY_TOKENS} query tokens, dim ${DIM}, ids given, one thread`,
    systems: Object.entries(times).map(([name, values]) => ({
      name,
      us: summary(values),
      ratioToInt8: summary(values).median / int8Us,
    })),
  };
}
