// A reader process: ranks lists of 100 stored documents of the index of its argument until its input
// ends, moving to each newer generation, and prints latencies and errors as JSON.
import { setTimeout } from 'node:timers/promises';
import { Index } from '../../dist/maxsim.js';
import { random, unitVectors } from '../stats.mjs';

const [path = '', documents = '0'] = process.argv.slice(2);
const index = await Index.open(path, { mode: 'read' });
const next = random(11);
const query = unitVectors(32, index.dim, next);
let going = true;
process.stdin.on('end', () => {
  going = false;
});
process.stdin.resume();
const times = [];
const errors = [];
let generations = 0;
let refreshed = performance.now();
// What is measured is a service that is not saturated: about a call every two milliseconds.
while (going) {
  const ids = Array.from(
    { length: 100 },
    () => `document-${Math.floor(next() * Number(documents))}`,
  );
  const started = performance.now();
  try {
    const { hits, unknownIds } = await index.rank(query, ids);
    if (hits.length !== 10 || unknownIds.length !== 0) throw new Error(`${hits.length} hits`);
  } catch (error) {
    errors.push(String(error));
  }
  times.push(performance.now() - started);
  if (performance.now() - refreshed > 100) {
    if (await index.refresh()) generations += 1;
    refreshed = performance.now();
  }
  await setTimeout(1);
}
await index.close();
console.log(JSON.stringify({ times, errors, generations }));
