// A server whose latencies are known: it answers after the times that a law draws, and keeps them.
// node bench/load/known.mjs <none|constant|bimodal|stall>; prints its port; GET /latencies gives the drawn ones.
import { createServer } from 'node:http';
import { random } from '../stats.mjs';

const [, , law] = process.argv;
const draw = random(11);
const laws = {
  none: () => 0,
  constant: () => 20,
  bimodal: () => (draw() < 0.8 ? 5 : 50),
  stall: () => 5,
};
/** @type {number[]} */
const took = [];
const began = performance.now();
let stalled = false;

const server = createServer((request, response) => {
  if (request.url === '/latencies') {
    response.end(JSON.stringify(took));
    return;
  }
  const arrived = performance.now();
  request.resume();
  // The stall: once, four seconds in, nothing is answered for a second.
  if (law === 'stall' && !stalled && arrived - began > 4000) {
    stalled = true;
    const until = performance.now() + 1000;
    while (performance.now() < until);
  }
  const ms = laws[/** @type {keyof typeof laws} */ (law)]();
  const answer = () => {
    // Timers are late by up to a millisecond; what was waited is what is known.
    took.push(performance.now() - arrived);
    response.end('{}');
  };
  setTimeout(answer, ms);
});
server.listen(0, '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  process.stdout.write(`${address.port}\n`);
});
