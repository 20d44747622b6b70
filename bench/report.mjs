// A run for people.

/** @typedef {Awaited<ReturnType<typeof import('./measure.mjs').measure>>} Measured */
/** @typedef {{ meanAbsError: number, sds: number } | null} ScoreError */

/**
 * The first row is the head. Columns of numbers align right.
 * @param {(string | number)[][]} rows
 */
function table(rows) {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => String(row[column] ?? '').length)),
  );
  for (const row of rows) {
    const cells = widths.map((width, column) => {
      const cell = String(row[column] ?? '');
      const isNumber = /^[\d.]*$/.test(String(rows[1]?.[column] ?? ''));
      return column > 0 && isNumber ? cell.padStart(width) : cell.padEnd(width);
    });
    console.log(`  ${cells.join('  ').trimEnd()}`);
  }
}

const us = (/** @type {number} */ value) => value.toFixed(value < 100 ? 1 : 0);
const spread = (/** @type {{ p10Us: number, p90Us: number }} */ { p10Us, p90Us }) =>
  `${us(p10Us)} to ${us(p90Us)}`;
const error = (/** @type {ScoreError} */ value) =>
  value === null ? '' : `${value.meanAbsError.toFixed(5)} (${value.sds.toFixed(4)} sd)`;

/** @param {import('./stats.mjs').Machine & { compiler: string | undefined }} machine */
export function printMachine(machine) {
  const { cpu, cores, node, kernel, compiler, governor, loadAverage, commit } = machine;
  console.log(`${cpu}, ${cores} cores, ${kernel}, Node ${node}, ${compiler ?? ''}`);
  console.log(
    `commit ${commit}, load ${loadAverage.join(' ')}, governor ${governor ?? 'unknown'}, huge pages ${machine.hugePages ?? 'unknown'}`,
  );
}

/** @param {Measured} measured */
export function printKernels({ peaks, kernels, quality, rounds, onCore }) {
  const share = (100 * onCore).toFixed(0);
  console.log(`measurements had a core for ${share} % of the time on the clock`);
  console.log(`\nPeaks of this process, G multiply-adds a second (median of ${rounds} rounds)`);
  table([
    ['loop', 'median', 'best 10 %'],
    ...peaks.map((p) => [p.name.replace('peak ', ''), p.gmacs.toFixed(1), p.p10Gmacs.toFixed(1)]),
  ]);
  console.log('\nKernels, documents of 180 tokens');
  table([
    ['codec', 'kernels', 'docs', 'query', 'threads', 'us', 'p10 to p90', 'GMAC/s', '% of peak'],
    ...kernels.map((k) => [
      `${k.codec}${k.queryBits === 7 ? ', 7-bit query' : ''}${k.table ? ' + table' : ''}`,
      k.isa,
      `${k.docs} ${k.warm ? 'warm' : 'cold'}`,
      `${k.queryTokens} x ${k.dim}`,
      k.threads,
      us(k.medianUs),
      spread(k),
      k.gmacs.toFixed(1),
      k.percentOfPeak?.toFixed(1) ?? '',
    ]),
  ]);
  if (quality.length === 0) return;
  console.log('\nScore error of our codecs: mean |score - f64|, 100 documents');
  table([['codec', 'error'], ...quality.map((q) => [q.codec, error(q.scoreError)])]);
}

/** @param {Measured} measured */
export function printPeers({ peers, calls, missing }) {
  console.log('\nPeers, one thread, 32 query tokens of 128 dims; x = how many times our time');
  table([
    ['peer', 'docs', 'us', 'p10 to p90', 'x', 'against', 'x int8', 'score error', 'version'],
    ...peers.map((p) => [
      p.name,
      `${p.docs} ${p.warm ? 'warm' : 'cold'}`,
      us(p.medianUs),
      spread(p),
      p.ratio.toFixed(2),
      p.against,
      (p.ratios['int8'] ?? Number.NaN).toFixed(1),
      error(p.scoreError),
      p.version,
    ]),
  ]);
  console.log('\nCalls, one thread');
  table([
    ['call', 'from', 'docs', 'us', 'p10 to p90', 'score error'],
    ...calls.map((c) => [c.name, c.where, c.docs, us(c.medianUs), spread(c), error(c.scoreError)]),
  ]);
  if (missing.length > 0) console.log(`\nNot measured\n  ${missing.join('\n  ')}`);
}

/** @param {Awaited<ReturnType<typeof import('./event-loop.mjs').benchEventLoop>>} result */
export function printEventLoop(result) {
  const { what, p50Ms, p99Ms, p999Ms, maxMs, documentsIndexed, queries, queryMs } = result;
  const ms = [p50Ms, p99Ms, p999Ms, maxMs].map((value) => value.toFixed(2));
  console.log(`\n${what}`);
  console.log(`  p50 ${ms[0]}  p99 ${ms[1]}  p99.9 ${ms[2]}  max ${ms[3]}`);
  console.log(
    `  meanwhile ${documentsIndexed} documents indexed, ${queries} queries at ${queryMs.median.toFixed(0)} ms median`,
  );
}

/** @param {import('./checks.mjs').Check[]} checks */
export function printChecks(checks) {
  console.log('\nAsked of this run');
  table([
    ['what', 'asked', 'measured', '', 'by p10', 'at the peak'],
    ...checks.map((c) => [
      c.what,
      c.asked,
      c.measured,
      c.met === null ? '-' : c.met ? 'met' : 'MISSED',
      c.byP10,
      c.atPeak,
    ]),
  ]);
}
