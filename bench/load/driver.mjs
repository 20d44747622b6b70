// `npm run bench:load-driver`: is what the load driver measures what a server of known latencies does? A
// constant, a bimodal law, and a stall of a second. What HTTP over loopback takes, as a server without any
// latency shows it, is taken off; then percentiles must agree within 2 %, or half a millisecond.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { httpTarget, openLoop } from '../../dist/load/load.js';
import { quantile } from '../stats.mjs';

const SECONDS = 8;
const RATE = 100;
const PERCENTILES = /** @type {const} */ ([50, 90]);
/** Of HTTP over loopback, by percentile. @type {Map<number, number>} */
const overheadMs = new Map();
/** @type {Record<string, unknown>[]} */
const rows = [];
for (const law of ['none', 'constant', 'bimodal', 'stall']) {
  const server = spawn(process.execPath, [
    fileURLToPath(new URL('./known.mjs', import.meta.url)),
    law,
  ]);
  const [line] = await once(server.stdout, 'data');
  const url = `http://127.0.0.1:${Number(String(line))}/`;
  const target = httpTarget(url);
  const { report, latencies } = await openLoop({
    target,
    request: () => ({ query: '', ids: [] }),
    ratePerSecond: RATE,
    arrivals: 'constant',
    seconds: SECONDS,
    warmUpSeconds: 1,
    seed: 1,
  });
  const known = /** @type {number[]} */ (await (await fetch(`${url}latencies`)).json());
  await target.close();
  server.kill();
  for (const percentile of PERCENTILES) {
    const raw = /** @type {number} */ (latencies.percentileMs(percentile));
    if (law === 'none') {
      overheadMs.set(percentile, raw - quantile(known, percentile / 100));
      continue;
    }
    const measured = raw - (overheadMs.get(percentile) ?? 0);
    // During the stall requests arrive on time and are read late: the server cannot know by how much. One
    // second of arrivals waits between 1,000 and 0 ms, evenly, 5 ms each before and after.
    const expected = law === 'stall' ? stalled(percentile) : quantile(known, percentile / 100);
    const off = measured - expected;
    rows.push({
      law,
      percentile,
      expectedMs: Number(expected.toFixed(2)),
      measuredMs: Number(measured.toFixed(2)),
      // Of a stall, of its second: those that waited are answered one after the other.
      within:
        Math.abs(off) <= Math.max(0.02 * (law === 'stall' && expected > 10 ? 1000 : expected), 0.5),
      lateMs: Number(report.lateMs.toFixed(2)),
    });
  }
}
for (const [percentile, ms] of overheadMs)
  console.log(`HTTP over loopback, p${percentile}: ${ms.toFixed(2)} ms`);
console.table(rows);
if (!rows.every(({ within }) => within)) process.exitCode = 1;

/** @param {number} percentile */
function stalled(percentile) {
  const share = 1 / SECONDS; // of the requests that come during the stall
  const above = 1 - percentile / 100;
  return above >= share ? 5.2 : 1000 * (1 - above / share) + 5.2;
}
