// What the project asks of its speed, and whether a run shows it.
import { kernelOf } from './results.mjs';

/** `met` is null where the run has not measured it, or the machine cannot. */
/** @typedef {{ what: string, asked: string, measured: string, met: boolean | null }} Check */
/**
 * @typedef {{
 *   kernels: import('./results.mjs').KernelResult[], peers: import('./results.mjs').PeerResult[],
 *   calls: { name: string, where: string, docs: number, medianUs: number }[],
 * }} Results
 */

/**
 * @param {string} what @param {'>=' | '<='} sign @param {number} bound @param {string} unit
 * @param {(number | undefined)[]} values each must meet the bound @param {string[]} [labels]
 * @returns {Check}
 */
function check(what, sign, bound, unit, values, labels = []) {
  const measured = values.map((value, i) => ({ value, label: labels[i] ?? '' }));
  const known = measured.filter(({ value }) => value !== undefined && Number.isFinite(value));
  const shown = known.map(({ value, label }) => {
    const digits = /** @type {number} */ (value) < 10 ? 2 : 1;
    return `${/** @type {number} */ (value).toFixed(digits)}${unit}${label && ` ${label}`}`;
  });
  const meets = (/** @type {number} */ value) => (sign === '>=' ? value >= bound : value <= bound);
  return {
    what,
    asked: `${sign} ${bound}${unit}`,
    measured: shown.join(', ') || 'not measured',
    met:
      known.length === 0 ? null : known.every(({ value }) => meets(/** @type {number} */ (value))),
  };
}

/** @param {Results} results @returns {Check[]} */
export function checks({ kernels, peers, calls }) {
  const warm = (/** @type {string} */ codec, where = {}) => kernelOf(kernels, codec, where);
  const cold = (/** @type {string} */ codec) =>
    kernelOf(kernels, codec, { docs: 1000, warm: false });
  /** @param {import('./results.mjs').KernelResult | undefined} kernel */
  const percent = (kernel) => kernel?.percentOfPeak ?? undefined;
  /** @param {{ medianUs: number } | undefined} a @param {{ medianUs: number } | undefined} b */
  const quotient = (a, b) =>
    a === undefined || b === undefined ? undefined : a.medianUs / b.medianUs;
  const tokens8 = quotient(warm('int8', { queryTokens: 8 }), warm('int8'));
  const tokens16 = quotient(warm('int8', { queryTokens: 16 }), warm('int8'));
  const coldPerWarm = quotient(cold('int8'), warm('int8'));
  const threads = (/** @type {number} */ count) => warm('int8', { docs: 1000, threads: count });

  // Of the variants of a peer the fastest counts, warm and cold each.
  /** @param {string} codec @param {(name: string) => boolean} isPeer */
  const ratios = (codec, isPeer) =>
    [true, false].map((isWarm) => {
      const found = peers.filter((peer) => isPeer(peer.name) && peer.warm === isWarm);
      const all = found.flatMap((peer) => peer.ratios[codec] ?? []);
      return all.length === 0 ? undefined : Math.min(...all);
    });
  const labels = ['warm', 'cold'];
  /** @param {string} what @param {string} codec @param {number} bound @param {RegExp} pattern */
  const peer = (what, codec, bound, pattern) =>
    check(
      what,
      '>=',
      bound,
      'x',
      ratios(codec, (name) => pattern.test(name)),
      labels,
    );

  const call = (/** @type {string} */ name) => calls.find((one) => one.name === name);
  const node = call('index.score int8');
  const fromNode = (/** @type {string} */ name) =>
    quotient(
      peers.find((one) => one.name === name),
      node,
    );
  const inside = call('snapshot.score int8 100');
  const overhead = (/** @type {string} */ name) => {
    const outside = call(name);
    return outside === undefined || inside === undefined
      ? undefined
      : outside.medianUs - inside.medianUs;
  };
  const allowed = inside === undefined ? 2 : Math.round((2 + 0.01 * inside.medianUs) * 10) / 10;

  return [
    check('int8, share of the peak', '>=', 95, ' %', [percent(warm('int8'))]),
    check('r4, share of the peak', '>=', 88, ' %', [percent(warm('r4'))]),
    check('f32, share of the peak', '>=', 90, ' %', [percent(warm('f32'))]),
    check('AVX2 int8 with a 7-bit query, share of the maddubs loop', '>=', 92, ' %', [
      percent(warm('int8', { isa: 'avx2', queryBits: 7 })),
    ]),
    check('int8, a cold document / a warm one', '<=', 1.2, 'x', [
      coldPerWarm === undefined ? undefined : coldPerWarm / 10,
    ]),
    check('r4 / int8, cold', '<=', 1.05, 'x', [quotient(cold('r4'), cold('int8'))]),
    check('8 and 16 query tokens / 32', '<=', 0.55, 'x', [tokens8, tokens16], ['of 8', 'of 16']),
    check('two threads, 1000 documents', '>=', 1.85, 'x', [quotient(threads(1), threads(2))]),
    peer('int8 v numkong, its best', 'int8', 8, /^numkong/),
    peer('f32 v numkong f32', 'f32', 2, /^numkong f32/),
    peer('r4 v maxsim-lut', 'r4', 3.5, /^maxsim-lut/),
    peer('r4 v next-plaid, stage 2', 'r4', 11, /^next-plaid stage 2/),
    peer('int8 v OpenBLAS and numpy', 'int8', 12, /^(OpenBLAS|numpy)/),
    peer('int8 v maxsim-cpu', 'int8', 12, /^maxsim-cpu/),
    check("from Node, int8 v sweet-search's addon", '>=', 40, 'x', [fromNode('sweet-search int8')]),
    check('from Node, int8 v plain JavaScript', '>=', 250, 'x', [fromNode('plain JavaScript')]),
    check('snapshot.score from Node over C++, 100 documents', '<=', allowed, ' us', [
      overhead('addon snapshot.score int8 100'),
    ]),
    check('index.score with ids over C++, 100 documents', '<=', allowed, ' us', [
      overhead('index.score int8'),
    ]),
  ];
}
