// Samples to figures: what `--json` prints.
import { summary } from './stats.mjs';

/** @typedef {import('./plan.mjs').Series} Series */
/** @typedef {{ meanAbsError: number, sds: number }} ScoreError error also in standard deviations */
/**
 * @typedef {{
 *   codec: string, isa: string, queryBits: number, docs: number, tokens: number, dim: number,
 *   queryTokens: number, warm: boolean, threads: number, table: boolean, medianUs: number,
 *   p10Us: number, p90Us: number, wallMedianUs: number, gmacs: number, peak: string | null, percentOfPeak: number | null,
 * }} KernelResult
 */
/**
 * `ratio` is the peer's median over that of `against`, our kernel of the same case.
 * @typedef {{
 *   name: string, version: string, docs: number, warm: boolean, threads: number, medianUs: number,
 *   p10Us: number, p90Us: number, wallMedianUs: number, ratio: number, against: string,
 *   ratios: Record<string, number>, scoreError: ScoreError | null,
 * }} PeerResult
 */

/** @param {Series} series */
function times({ us, wallUs }) {
  const { median, p10, p90 } = summary(us);
  return { medianUs: median, p10Us: p10, p90Us: p90, wallMedianUs: summary(wallUs).median };
}

/** The share of the time on the clock that single-threaded samples had a core for. @param {Series[]} all */
export function shareOnCore(all) {
  const single = all.filter(({ measurement }) => (measurement.threads ?? 1) === 1);
  const sum = (/** @type {number[]} */ values) => values.reduce((total, value) => total + value, 0);
  return sum(single.map(({ us }) => sum(us))) / sum(single.map(({ wallUs }) => sum(wallUs)));
}

/** @param {Series[]} all */
export function peakResults(all) {
  return all
    .filter(({ measurement }) => measurement.kind === 'peak')
    .map((series) => {
      const { measurement, multiplyAdds } = series;
      const { medianUs, p10Us } = times(series);
      const gmacs = multiplyAdds / medianUs / 1000;
      return { name: measurement.name, gmacs, p10Gmacs: multiplyAdds / p10Us / 1000 };
    });
}

/**
 * @param {Series[]} all
 * @returns {KernelResult[]}
 */
export function kernelResults(all) {
  const peaks = new Map(peakResults(all).map(({ name, gmacs }) => [name, gmacs]));
  return all
    .filter(({ measurement }) => measurement.kind === 'kernel')
    .map((series) => {
      const { measurement: m, multiplyAdds } = series;
      const time = times(series);
      const gmacs = multiplyAdds / time.medianUs / 1000;
      const peak = peaks.get(m.peak ?? '');
      const threads = m.threads ?? 1;
      return {
        codec: m.codec ?? '',
        isa: m.isa ?? '',
        queryBits: m.queryBits ?? 8,
        docs: m.docs ?? 0,
        tokens: m.tokens ?? 0,
        dim: m.dim ?? 0,
        queryTokens: m.queryTokens ?? 0,
        warm: m.warm ?? true,
        threads,
        table: m.table ?? false,
        ...time,
        gmacs,
        peak: m.peak || null,
        percentOfPeak: peak === undefined ? null : (100 * gmacs) / peak / threads,
      };
    });
}

/**
 * The kernel of a codec that this machine would use, in the peers' case or another.
 * @param {KernelResult[]} kernels @param {string} codec
 * @param {Partial<KernelResult>} [where]
 */
export function kernelOf(kernels, codec, where = {}) {
  const wanted = { docs: 100, warm: true, threads: 1, dim: 128, queryTokens: 32, table: false };
  const matches = kernels.filter(
    (kernel) =>
      kernel.codec === codec &&
      Object.entries({ queryBits: 8, ...wanted, ...where }).every(
        ([name, value]) => kernel[/** @type {keyof KernelResult} */ (name)] === value,
      ),
  );
  // Sets are listed from the plainest to the best.
  return matches.at(-1);
}

/**
 * @param {Series[]} all @param {KernelResult[]} kernels @param {Map<string, ScoreError>} errors
 * @returns {PeerResult[]}
 */
export function peerResults(all, kernels, errors) {
  return all
    .filter(({ measurement }) => measurement.kind === 'peer')
    .map((series) => {
      const { system, measurement: m } = series;
      const time = times(series);
      const where = { docs: m.docs ?? 100, warm: m.warm ?? true };
      /** @type {Record<string, number>} */
      const ratios = {};
      for (const codec of ['int8', 'f32', 'bf16', 'r4']) {
        const own = kernelOf(kernels, codec, where);
        if (own !== undefined) ratios[codec] = time.medianUs / own.medianUs;
      }
      const codec = m.codec ?? 'f32';
      const own = kernelOf(kernels, codec, where) ?? kernelOf(kernels, 'int8', where);
      return {
        name: m.peer ?? '',
        version: m.version ?? '',
        ...where,
        threads: m.threads ?? 1,
        ...time,
        ratio: own === undefined ? Number.NaN : time.medianUs / own.medianUs,
        against: own === undefined ? '' : `${own.codec} ${own.isa}`,
        ratios,
        scoreError: errors.get(`${system.name} ${m.peer}`) ?? null,
      };
    });
}

/** @param {Series[]} all @param {Map<string, ScoreError>} errors */
export function callResults(all, errors) {
  return all
    .filter(({ measurement }) => ['node', 'call', 'preparation'].includes(measurement.kind))
    .map((series) => ({ ...series, m: series.measurement, time: times(series) }))
    .map(({ system, m, time }) => ({
      name: m.name,
      where: m.kind === 'node' ? 'Node' : 'C++',
      codec: m.codec ?? '',
      docs: m.docs ?? 0,
      ...time,
      scoreError: errors.get(`${system.name} ${m.name}`) ?? null,
    }));
}

/**
 * @param {ArrayLike<number>} scores @param {readonly number[]} exact
 * @returns {ScoreError | null}
 */
export function scoreError(scores, exact) {
  if (scores.length < exact.length) return null;
  const mean = exact.reduce((sum, x) => sum + x, 0) / exact.length;
  const deviation = Math.sqrt(exact.reduce((sum, x) => sum + (x - mean) ** 2, 0) / exact.length);
  const error =
    exact.reduce((sum, x, i) => sum + Math.abs(x - /** @type {number} */ (scores[i])), 0) /
    exact.length;
  return { meanAbsError: error, sds: error / deviation };
}
