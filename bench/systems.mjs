// The child processes that `npm run bench` measures in turn, and what is missing for others.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readManifest } from './index-data.mjs';
import { System } from './system.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PEERS = join(ROOT, '.cache', 'peers');
const WINDOWS = process.platform === 'win32';
// Libraries that would otherwise use all cores: every figure is of one thread.
const ONE_THREAD = {
  OPENBLAS_NUM_THREADS: '1',
  OMP_NUM_THREADS: '1',
  MKL_NUM_THREADS: '1',
  RAYON_NUM_THREADS: '1',
};

/** @param {string} command @param {string[]} args */
function build(command, args) {
  try {
    execFileSync(command, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const { stderr, message } = /** @type {Error & { stderr?: Buffer }} */ (error);
    throw new Error(stderr?.toString().trim().split('\n').slice(-5).join('\n') || message);
  }
}

/** Builds the C++ side; returns the program. */
function buildKernels() {
  build('cmake', [
    ...['-S', 'native', '-B', 'build/bench'],
    ...['-DCMAKE_BUILD_TYPE=Release', '-DMAXSIM_BENCH=ON'],
  ]);
  const target = ['--target', 'kernels_bench', '--parallel'];
  build('cmake', ['--build', 'build/bench', '--config', 'Release', ...target]);
  const folder = join(ROOT, 'build', 'bench', 'bench');
  const file = WINDOWS ? 'kernels_bench.exe' : 'kernels_bench';
  const built = [join(folder, file), join(folder, 'Release', file)].find((path) =>
    existsSync(path),
  );
  if (built === undefined) throw new Error('the build of kernels_bench left no program');
  return built;
}

/**
 * Builds the plain C++ loop, with OpenBLAS where it is installed.
 * @param {string[]} missing
 */
function buildPlain(missing) {
  const program = join(ROOT, 'build', 'bench', 'plain');
  const compile = [
    ...['-std=c++20', '-O3', '-march=native', '-ffast-math'],
    ...[join(ROOT, 'bench', 'peers', 'plain.cpp'), '-o', program],
  ];
  const compiler = process.env['CXX'] ?? 'c++';
  try {
    build(compiler, [...compile, '-DWITH_OPENBLAS', '-lopenblas']);
    return { program, blas: true };
  } catch {
    missing.push('OpenBLAS is not installed: apt-get install -y libopenblas-dev');
  }
  build(compiler, compile);
  return { program, blas: false };
}

/**
 * Starts every system that can be had. Each loads the data while the others do.
 * @param {{ folder: string, storeMiB: number, kernelsOnly: boolean }} options
 */
export async function startSystems({ folder, storeMiB, kernelsOnly }) {
  /** @type {string[]} */
  const missing = [];
  /** @type {System[]} */
  const started = [];
  const size = String(storeMiB);
  /** @param {string} name @param {string} program @param {string[]} args @param {object} [env] */
  const start = (name, program, args, env = {}) => {
    const system = new System(name, program, args, { ...ONE_THREAD, ...env });
    started.push(system);
    return system;
  };

  const kernels = [folder, size];
  if (!kernelsOnly) {
    const directory = join(folder, 'int8');
    const { codec, segments } = await readManifest(directory);
    for (const { file, documents, tokens, headerCrc } of segments.slice(0, 1)) {
      kernels.push(directory, ...[codec.scale, file, documents, tokens, headerCrc].map(String));
    }
  }
  start('maxsim', buildKernels(), kernels);
  if (!kernelsOnly) {
    startPeers(folder, size, missing, start);
    const sweetSearch = join(PEERS, 'sweet-search');
    const found = existsSync(join(sweetSearch, 'sweet-search-native.node'));
    const node = fileURLToPath(new URL('node.mjs', import.meta.url));
    start('Node', process.execPath, [node, folder, found ? sweetSearch : '']);
    if (!found) missing.push('sweet-search is not installed: bench/peers/install npm');
  }
  /** @type {System[]} */
  const systems = [];
  for (const [i, result] of (
    await Promise.allSettled(started.map((system) => system.start()))
  ).entries()) {
    if (result.status === 'fulfilled') systems.push(result.value);
    else missing.push(String(result.reason?.message ?? result.reason));
    // Nothing is left to compare with.
    if (i === 0 && result.status === 'rejected') throw result.reason;
  }
  return { systems, missing };
}

/**
 * @param {string} folder @param {string} size @param {string[]} missing
 * @param {(name: string, program: string, args: string[], env?: object) => System} start
 */
function startPeers(folder, size, missing, start) {
  if (WINDOWS) missing.push('The plain C++ loop and OpenBLAS are not measured on Windows.');
  else {
    try {
      const { program, blas } = buildPlain(missing);
      start('C++', program, [folder, size]);
      // OpenBLAS does not know every CPU; where it takes one for an older one, this is what is lost.
      if (blas && process.arch === 'x64') {
        const env = { OPENBLAS_CORETYPE: 'SkylakeX' };
        start('C++, SkylakeX', program, [folder, size], env).isVariant = true;
      }
    } catch (error) {
      missing.push(`The plain C++ loop did not compile: ${/** @type {Error} */ (error).message}`);
    }
  }
  const python = join(PEERS, 'python', 'bin', 'python');
  const script = fileURLToPath(new URL('peers/python.py', import.meta.url));
  if (existsSync(python)) start('Python', python, [script, folder, size]);
  else missing.push('numpy, numkong and maxsim-cpu are not installed: bench/peers/install python');
  const rust = join(PEERS, 'rust', 'release', 'maxsim-peers');
  if (existsSync(rust)) start('Rust', rust, [folder, size]);
  else
    missing.push('maxsim-lut, next-plaid and numkong are not installed: bench/peers/install rust');
}
