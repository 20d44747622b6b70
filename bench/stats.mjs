// Order statistics, and the machine a figure was measured on.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';

/** @param {number[]} values @param {number} p from 0 to 1 */
export function quantile(values, p) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

/** @param {number[]} values */
export function summary(values) {
  return { median: quantile(values, 0.5), p10: quantile(values, 0.1), p90: quantile(values, 0.9) };
}

/** A line that Linux has of the machine; null where it does not. @param {string} path */
function systemFile(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

/** Of the first core; null where the system does not say. */
export function lastLevelCacheMiB() {
  const size = systemFile('/sys/devices/system/cpu/cpu0/cache/index3/size');
  return size === null ? null : Number.parseInt(size, 10) / 1024;
}

/** @typedef {ReturnType<typeof machine>} Machine */
export function machine() {
  let commit = 'unknown';
  try {
    commit = execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim();
  } catch {
    // not a checkout
  }
  return {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    lastLevelCacheMiB: lastLevelCacheMiB(),
    memoryGiB: Number((os.totalmem() / 2 ** 30).toFixed(1)),
    loadAverage: os.loadavg().map((load) => Number(load.toFixed(2))),
    governor: systemFile('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
    hugePages: systemFile('/sys/kernel/mm/transparent_hugepage/enabled'),
    kernel: `${os.type()} ${os.release()}`,
    openblasCoreType: process.env['OPENBLAS_CORETYPE'] ?? null,
    node: process.version,
    commit,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** A seeded generator of numbers in [0, 1): mulberry32. @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Unit-length token vectors. @param {number} tokens @param {number} dim @param {() => number} next */
export function unitVectors(tokens, dim, next) {
  const vectors = new Float32Array(tokens * dim);
  for (let token = 0; token < tokens; token++) {
    const row = vectors.subarray(token * dim, (token + 1) * dim);
    let norm = 0;
    for (let i = 0; i < dim; i++) {
      // Sum of uniforms: near enough to a normal distribution.
      row[i] = next() + next() + next() - 1.5;
      norm += row[i] ** 2;
    }
    for (let i = 0; i < dim; i++) row[i] /= Math.sqrt(norm);
  }
  return vectors;
}
