// Documents a second on so many cores: through the encoder, in the runtime that it chooses (own) and in
// onnxruntime (pool); by a bare onnxruntime loop with the latter's batches; and by one with batches in file
// order that are filled up to their longest text, as most people run a model.
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { planBatches, toBatch } from '../../dist/runtime/batches.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { summary } from '../stats.mjs';
import { bareSession, run } from './bare.mjs';

export const FILE_ORDER = 32;
/** Documents that each way encodes before the next one does. */
const CHUNK = 3 * FILE_ORDER;

/** @typedef {import('../../dist/encode/sequence.js').Sequence} Sequence */
/**
 * @typedef {{
 *   model: string, graph: import('../../dist/runtime/session.js').GraphSpec, texts: readonly string[],
 *   sequences: readonly Sequence[], pad: number, threads: number, say: (text: string) => void
 * }} Options
 */

/** @param {Options} options */
export async function measureDocuments({ model, graph, texts, sequences, pad, threads, say }) {
  const entry = new URL('../../dist/worker.js', import.meta.url);
  const pools = [
    new WorkerPool(entry, { threads, runtime: 'onnx' }),
    new WorkerPool(entry, { threads }),
  ];
  try {
    const [pool, own] = /** @type {[ModelEncoder, ModelEncoder]} */ (
      await Promise.all(pools.map((one) => ModelEncoder.open(model, one)))
    );
    for (const encoder of [pool, own]) await encoder.warmUp();
    const session = await bareSession(graph, threads);
    /** Milliseconds of every chunk. @type {Record<'own' | 'pool' | 'bare' | 'fileOrder', number[]>} */
    const took = { own: [], pool: [], bare: [], fileOrder: [] };
    for (let from = 0; from < texts.length; from += CHUNK) {
      const part = sequences.slice(from, from + CHUNK);
      const at = (/** @type {number} */ position) => /** @type {Sequence} */ (part[position]);
      const ways = {
        own: async () => {
          await own.encodeDocuments(texts.slice(from, from + CHUNK));
        },
        pool: async () => {
          await pool.encodeDocuments(texts.slice(from, from + CHUNK));
        },
        bare: async () => {
          for (const positions of planBatches(part.map(({ ids }) => ids.length)))
            await run(session, toBatch(positions.map(at)));
        },
        fileOrder: async () => {
          for (let i = 0; i < part.length; i += FILE_ORDER)
            await run(session, filledUp(part.slice(i, i + FILE_ORDER), pad));
        },
      };
      const names = /** @type {(keyof typeof ways)[]} */ (Object.keys(ways));
      // Each goes first as often as the others.
      for (let i = 0; i < names.length; i++) {
        const name = /** @type {keyof typeof ways} */ (names[(i + from / CHUNK) % names.length]);
        const started = performance.now();
        await ways[name]();
        took[name].push(performance.now() - started);
      }
      say(`  ${threads} cores: ${Math.min(from + CHUNK, texts.length)} of ${texts.length}`);
    }
    await session.release();
    return {
      perSecond: {
        own: perSecond(texts.length, took.own),
        pool: perSecond(texts.length, took.pool),
        bare: perSecond(texts.length, took.bare),
        fileOrder: perSecond(texts.length, took.fileOrder),
      },
      ofBare: ratios(took.bare, took.pool),
      ofOnnx: ratios(took.pool, took.own),
      ofFileOrder: ratios(took.fileOrder, took.own),
    };
  } finally {
    for (const pool of pools) await pool.close();
  }
}

/** @param {Sequence[]} sequences @param {number} pad */
function filledUp(sequences, pad) {
  const length = Math.max(...sequences.map(({ ids }) => ids.length));
  return toBatch(
    sequences.map(({ ids, attended }) => ({
      ids: [...ids, ...new Array(length - ids.length).fill(pad)],
      attended,
    })),
  );
}

/** Of what was measured next to one another: a busy machine slows both. @param {number[]} a @param {number[]} b */
function ratios(a, b) {
  return summary(a.map((value, i) => value / /** @type {number} */ (b[i])));
}

/** @param {number} documents @param {number[]} ms */
function perSecond(documents, ms) {
  return (1000 * documents) / ms.reduce((sum, value) => sum + value, 0);
}
