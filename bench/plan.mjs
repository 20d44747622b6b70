// Which of the systems' measurements a run takes, and how often a round.

/** Kernel sets whose every case is of interest; the plainer ones are for oracles and old CPUs. */
const isWide = (/** @type {string | undefined} */ isa) =>
  isa?.startsWith('avx512') || isa === 'neon';

/** @param {import('./system.mjs').Measurement} m */
function isInQuick(m) {
  if (m.kind !== 'kernel') return true;
  if (m.codec === 'r2' || m.codec === 'r1') return false; // a codebook each takes seconds to learn
  const base = m.dim === 128 && m.queryTokens === 32;
  if (m.isa === 'avx2' || m.isa === 'avxvnni') {
    return base && m.docs === 100 && m.warm && m.threads === 1 && !m.table && m.codec !== 'f16';
  }
  if (m.isa === 'scalar') return m.codec === 'int8' || m.codec === 'f32';
  if (m.docs === 100) {
    const short = m.codec === 'int8' && (m.queryTokens === 8 || m.queryTokens === 16);
    return m.warm && m.threads === 1 && (base || short);
  }
  if (m.table || !['f32', 'bf16', 'int8', 'r4'].includes(m.codec ?? '')) return false;
  return m.warm ? m.codec === 'int8' : m.threads === 1;
}

/**
 * Older sets are measured in the base cases only: what a further one would say of them, the wide set's
 * says too.
 * @param {import('./system.mjs').Measurement} m
 */
function isInFull(m) {
  if (m.kind !== 'kernel' || isWide(m.isa) || m.isa === 'scalar') return true;
  const base = m.dim === 128 && m.queryTokens === 32 && !m.table;
  return (
    m.threads === 1 && (base ? m.docs === 100 || !m.warm : m.codec === 'int8' || m.codec === 'f32')
  );
}

/**
 * @typedef {{
 *   system: import('./system.mjs').System, measurement: import('./system.mjs').Measurement,
 *   samples: number, us: number[], wallUs: number[], multiplyAdds: number,
 * }} Series
 */

/** @param {import('./system.mjs').System[]} systems @param {{ quick: boolean }} options */
export function plan(systems, { quick }) {
  /** @type {Series[]} */
  const all = [];
  for (const system of systems) {
    for (const measurement of system.measurements) {
      if (!(quick ? isInQuick(measurement) : isInFull(measurement))) continue;
      if (system.isVariant && !measurement.peer?.startsWith('OpenBLAS')) continue;
      all.push({
        system,
        measurement,
        samples: samples(measurement),
        us: [],
        wallUs: [],
        multiplyAdds: 0,
      });
    }
  }
  return all;
}

/**
 * What takes a fraction of a millisecond is sampled several times a round; what takes long, once.
 * @param {import('./system.mjs').Measurement} m
 */
function samples(m) {
  if (m.kind === 'peer') return m.docs === 100 && !m.peer?.includes('JavaScript') ? 2 : 1;
  if (m.kind === 'kernel') return m.isa === 'scalar' ? 1 : m.docs === 1000 ? 3 : 5;
  return 25; // differences of a hundredth matter
}

/**
 * The time of a sample on one thread is that on the clock, or that on a core where this is less:
 * otherwise a machine that is busy with other work would slow what takes long, and which it interrupts,
 * and not what takes a fraction of a time slice.
 * @param {Series} series
 */
export async function sample(series) {
  const { system, measurement, samples: count } = series;
  const { wallUs, cpuUs, multiplyAdds } = await system.ask(`run ${count} ${measurement.name}`);
  for (const [i, wall] of wallUs.entries()) {
    const cpu = (measurement.threads ?? 1) > 1 ? 0 : cpuUs[i];
    series.us.push(cpu > 0 ? Math.min(wall, cpu) : wall);
    series.wallUs.push(wall);
  }
  series.multiplyAdds = multiplyAdds ?? 0;
}
