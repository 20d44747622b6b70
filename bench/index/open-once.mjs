// Opens the index of its argument once and prints, as JSON, the time, and the memory before first use.
import { readFileSync } from 'node:fs';
import { Index } from '../../dist/maxsim.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import { random, unitVectors } from '../stats.mjs';

const path = process.argv[2] ?? '';
loadAddon();
const rss = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
globalThis.gc?.();
const heapBefore = process.memoryUsage().heapUsed;
const rssBeforeMB = rss();
const started = performance.now();
const index = await Index.open(path, { mode: 'read' });
const openMs = performance.now() - started;
const heapMB = (process.memoryUsage().heapUsed - heapBefore) / 2 ** 20;
const rssMB = rss();
const documents = index.documentCount;
const ids = Array.from({ length: 100 }, (_, i) => `document-${Math.floor((i * documents) / 100)}`);
const query = unitVectors(32, index.dim, random(1));
let from = performance.now();
const first = index.get(ids[50] ?? '');
const getMs = performance.now() - from;
from = performance.now();
const { hits } = await index.rank(query, ids);
const rankMs = performance.now() - from;
if (first === undefined || hits.length !== 10)
  throw new Error('The index does not hold what it should.');
console.log(JSON.stringify({ documents, openMs, heapMB, rssMB, rssBeforeMB, getMs, rankMs }));
await index.close();
