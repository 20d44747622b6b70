// Does the event loop stay free? Measures its delay while documents are indexed and queries are
// encoded and reranked at the same time, with nothing but the engine in the process.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { passageText, readCollection } from '../dist/evaluate/collection.js';
import { Engine } from '../dist/maxsim.js';
import { summary } from './stats.mjs';

const CHALLENGE = fileURLToPath(new URL('../challenge', import.meta.url));

/** @param {{ quick: boolean }} options */
export async function benchEventLoop({ quick }) {
  const { corpus, queries } = await readCollection(CHALLENGE);
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-bench-'));
  const engine = await Engine.open(directory, { warmUp: true });
  try {
    const documents = corpus.map((document) => ({ id: document.id, text: passageText(document) }));
    await engine.add(documents.slice(0, 64));
    const ids = documents.slice(0, 64).map((document) => document.id);
    // Sampled every millisecond; what is measured is how late each sample comes.
    const histogram = monitorEventLoopDelay({ resolution: 1 });
    /** @type {number[]} */
    const latencies = [];
    const until = performance.now() + (quick ? 3_000 : 20_000);
    let indexed = 0;
    const indexing = (async () => {
      for (let i = 0; performance.now() < until; i += 32) {
        const batch = documents.slice(i % 128, (i % 128) + 32);
        indexed += (await engine.add(batch)).replaced;
      }
    })();
    histogram.enable();
    for (let i = 0; performance.now() < until; i++) {
      const query = /** @type {{ text: string }} */ (queries[i % queries.length]);
      const started = performance.now();
      await engine.rerank(query.text, ids, { topK: 5 });
      latencies.push(performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    histogram.disable();
    await indexing;
    return {
      what: 'event-loop delay while indexing and serving queries at once, in milliseconds (1 ms of it is the sampling)',
      p50Ms: histogram.percentile(50) / 1e6,
      p99Ms: histogram.percentile(99) / 1e6,
      p999Ms: histogram.percentile(99.9) / 1e6,
      maxMs: histogram.max / 1e6,
      queries: latencies.length,
      queryMs: summary(latencies),
      documentsIndexed: indexed,
    };
  } finally {
    await engine.close();
    await rm(directory, { recursive: true, force: true });
  }
}
