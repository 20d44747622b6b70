// What the project asks of its speed, and whether a run shows it.
import { kernelOf } from './results.mjs';

/**
 * `met` is null where the run has not measured it. `byP10` is the same of the fastest tenth of all
 * samples: where it differs much, other work disturbed the run. `atPeak` is what a kernel of ours that
 * reaches 100 % of the machine's peak would measure of them, warm: where that is not enough, no kernel
 * can do it here.
 * @typedef {{ what: string, asked: string, measured: string, met: boolean | null, byP10: string,
 *   atPeak: string }} Check
 */
/** @typedef {Omit<Check, 'byP10'>} OneCheck */
/**
 * @typedef {{
 *   kernels: import('./results.mjs').KernelResult[], peers: import('./results.mjs').PeerResult[],
 *   calls: { name: string, docs: number, medianUs: number, p10Us: number }[],
 * }} Results
 */

/** @param {Results} results @returns {Check[]} */
export function checks(results) {
  /** @template {{ medianUs: number, p10Us: number }} T @param {T} one */
  const fastest = (one) => ({ ...one, medianUs: one.p10Us });
  const byP10 = checkAll({
    peers: results.peers.map(fastest),
    calls: results.calls.map(fastest),
    kernels: results.kernels.map((kernel) => ({
      ...fastest(kernel),
      percentOfPeak:
        kernel.percentOfPeak && (kernel.percentOfPeak * kernel.medianUs) / kernel.p10Us,
    })),
  });
  return checkAll(results).map((one, i) => ({
    ...one,
    byP10: byP10[i]?.measured ?? '',
    atPeak: byP10[i]?.atPeak ?? '',
  }));
}

/** A value to be checked, and which of several it is. @typedef {[number | undefined, string?]} Value */

/**
 * @param {string} what @param {'>=' | '<='} sign @param {number} bound @param {string} unit
 * @param {Value[]} values each must meet the bound @param {number} [atPeak]
 * @returns {OneCheck}
 */
function check(what, sign, bound, unit, values, atPeak) {
  const show = (/** @type {number} */ value) => `${value.toFixed(value < 10 ? 2 : 1)}${unit}`;
  /** @type {string[]} */
  const shown = [];
  let met = true;
  for (const [value, label] of values) {
    if (value === undefined || !Number.isFinite(value)) continue;
    shown.push(label === undefined ? show(value) : `${show(value)} ${label}`);
    if (sign === '>=' ? value < bound : value > bound) met = false;
  }
  return {
    what,
    asked: `${sign} ${bound}${unit}`,
    measured: shown.join(', ') || 'not measured',
    met: shown.length === 0 ? null : met,
    atPeak: atPeak === undefined ? '' : show(atPeak),
  };
}

/** @param {{ medianUs: number } | undefined} a @param {{ medianUs: number } | undefined} b */
function quotient(a, b) {
  return a === undefined || b === undefined ? undefined : a.medianUs / b.medianUs;
}

/** @param {Results} results @returns {OneCheck[]} */
function checkAll(results) {
  return [...kernelChecks(results), ...peerChecks(results), ...callChecks(results)];
}

/** @param {Results} results @returns {OneCheck[]} */
function kernelChecks({ kernels }) {
  const warm = (/** @type {string} */ codec, where = {}) => kernelOf(kernels, codec, where);
  const cold = (/** @type {string} */ codec) =>
    kernelOf(kernels, codec, { docs: 1000, warm: false });
  /** @param {string} codec @param {Partial<import('./results.mjs').KernelResult>} [where] */
  const percent = (codec, where) => warm(codec, where)?.percentOfPeak ?? undefined;
  const threads = (/** @type {number} */ count) => warm('int8', { docs: 1000, threads: count });
  /** @param {number} queryTokens @returns {Value} */
  const share = (queryTokens) => [
    quotient(warm('int8', { queryTokens }), warm('int8')),
    `of ${queryTokens}`,
  ];
  const coldOverWarm = quotient(cold('int8'), warm('int8'));
  const maddubs = 'AVX2 int8 with a 7-bit query, share of the vpmaddubsw loop';
  return [
    check('int8, share of the peak', '>=', 95, ' %', [[percent('int8')]]),
    check('r4, share of the peak', '>=', 88, ' %', [[percent('r4')]]),
    check('f32, share of the peak', '>=', 90, ' %', [[percent('f32')]]),
    check(maddubs, '>=', 92, ' %', [[percent('int8', { isa: 'avx2', queryBits: 7 })]]),
    // 1000 documents cold, 100 warm.
    check('int8, a cold document / a warm one', '<=', 1.2, 'x', [
      [coldOverWarm === undefined ? undefined : coldOverWarm / 10],
    ]),
    check('r4 / int8, cold', '<=', 1.05, 'x', [[quotient(cold('r4'), cold('int8'))]]),
    check('8 and 16 query tokens / 32', '<=', 0.55, 'x', [share(8), share(16)]),
    check('two threads, 1000 documents', '>=', 1.85, 'x', [[quotient(threads(1), threads(2))]]),
  ];
}

/** @param {Results} results @returns {OneCheck[]} */
function peerChecks({ kernels, peers }) {
  /**
   * Of the variants of a peer the fastest counts, warm and cold each.
   * @param {string} what @param {string} codec @param {number} bound @param {RegExp} name
   */
  const peer = (what, codec, bound, name) => {
    const [warm, cold] = [true, false].map((isWarm) => {
      const found = peers.filter((one) => name.test(one.name) && one.warm === isWarm);
      const fastest = found.reduce(
        (best, one) => (one.medianUs < best.medianUs ? one : best),
        found[0] ?? { medianUs: Number.NaN },
      );
      return quotient(
        fastest,
        kernelOf(kernels, codec, { docs: isWarm ? 100 : 1000, warm: isWarm }),
      );
    });
    const percent = kernelOf(kernels, codec)?.percentOfPeak;
    const atPeak = Number.isFinite(warm) && warm && percent ? (warm * 100) / percent : undefined;
    return check(
      what,
      '>=',
      bound,
      'x',
      [
        [warm, 'warm'],
        [cold, 'cold'],
      ],
      atPeak,
    );
  };
  return [
    peer('int8 v numkong, its best', 'int8', 8, /^numkong/),
    peer('f32 v numkong f32', 'f32', 2, /^numkong f32/),
    peer('r4 v maxsim-lut', 'r4', 3.5, /^maxsim-lut/),
    peer('r4 v next-plaid, stage 2', 'r4', 11, /^next-plaid stage 2/),
    peer('int8 v OpenBLAS and numpy', 'int8', 12, /^(OpenBLAS|numpy)/),
    peer('int8 v maxsim-cpu', 'int8', 12, /^maxsim-cpu/),
  ];
}

/** @param {Results} results @returns {OneCheck[]} */
function callChecks({ peers, calls }) {
  const call = (/** @type {string} */ name) => calls.find((one) => one.name === name);
  const peer = (/** @type {string} */ name) => peers.find((one) => one.name === name);
  const int8 = call('index.score int8');
  /** What a call from Node takes longer than its work in C++. @param {string} inside @param {string} outside */
  const overhead = (inside, outside) => {
    const [a, b] = [call(inside)?.medianUs, call(outside)?.medianUs];
    const allowed = 2 + 0.01 * (a ?? 0);
    const value = a === undefined || b === undefined ? undefined : b - a;
    const what = `${outside} from Node, over the same in C++`;
    return check(what, '<=', Math.round(allowed * 100) / 100, ' us', [[value]]);
  };
  return [
    check("from Node, int8 v sweet-search's addon", '>=', 40, 'x', [
      [quotient(peer('sweet-search int8'), int8)],
    ]),
    check('from Node, int8 v plain JavaScript', '>=', 250, 'x', [
      [quotient(peer('plain JavaScript'), int8)],
    ]),
    overhead('snapshot.score in C++ int8 100', 'snapshot.score int8 100'),
    overhead('find and score in C++ int8 100', 'index.score int8'),
  ];
}
