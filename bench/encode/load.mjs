// Queries that come at random, at 80 % of what the model threads can do: how late they are answered, and
// how late the event loop of the process is meanwhile.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { WorkerPool } from '../../dist/runtime/pool.js';
import { quantile, random } from '../stats.mjs';

const UTILISATION = 0.8;

/** @param {{ model: string, queries: readonly { text: string }[], seconds: number }} options */
export async function measureLoad({ model, queries, seconds }) {
  const pool = new WorkerPool(new URL('../../dist/worker.js', import.meta.url));
  try {
    const encoder = await ModelEncoder.open(model, pool);
    await encoder.warmUp();
    let next = 0;
    const encode = () =>
      encoder.encodeQueries([
        /** @type {{ text: string }} */ (queries[next++ % queries.length]).text,
      ]);
    const capacity = await capacityOf(encode, pool.threadCount, seconds / 2);
    const rate = UTILISATION * capacity;
    const histogram = monitorEventLoopDelay({ resolution: 1 });
    const draw = random(7);
    /** @type {number[]} */
    const latencies = [];
    /** @type {Promise<void>[]} */
    const pending = [];
    histogram.enable();
    const start = performance.now();
    // Arrivals are drawn beforehand; each is timed from when it was to come, however late it was sent.
    for (let at = 0; ; ) {
      at += (-1000 * Math.log(1 - draw())) / rate;
      if (at > 1000 * seconds) break;
      const due = start + at;
      const wait = due - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      pending.push(
        encode().then(() => {
          latencies.push(performance.now() - due);
        }),
      );
    }
    await Promise.all(pending);
    histogram.disable();
    return {
      threads: pool.threadCount,
      capacityPerSecond: capacity,
      ratePerSecond: latencies.length / seconds,
      latencyMs: { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) },
      // 1 ms of it is the sampling.
      delayMs: {
        p50: histogram.percentile(50) / 1e6,
        p99: histogram.percentile(99) / 1e6,
        p999: histogram.percentile(99.9) / 1e6,
        max: histogram.max / 1e6,
      },
    };
  } finally {
    await pool.close();
  }
}

/**
 * Answers a second with as many callers as threads, each asking as soon as it is answered.
 * @param {() => Promise<unknown>} encode @param {number} callers @param {number} seconds
 */
async function capacityOf(encode, callers, seconds) {
  const until = performance.now() + 1000 * seconds;
  let done = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (; performance.now() < until; done++) await encode();
    }),
  );
  return done / seconds;
}
