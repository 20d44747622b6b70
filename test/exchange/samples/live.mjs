/**
 * Makes the samples anew with the packages themselves, in more kinds than are kept frozen, and runs the
 * tests of the decoders on them: `node test/exchange/samples/live.mjs`.
 *
 * Python packages go to .cache/exchange, some 3 GB with torch; MAXSIM_EXCHANGE_PYTHON names a Python that
 * has them already, and MAXSIM_EXCHANGE_SITE a folder with torch in it to share. next-plaid needs cargo.
 * What cannot be made is named, and makes the exit code 1.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../../..', import.meta.url));
const cache = join(root, '.cache', 'exchange');
const make = join(here, 'make.py');
mkdirSync(cache, { recursive: true });

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (error !== undefined) console.error(`${command}: ${error.message}`);
  return status === 0;
}

/** A Python with the packages; null where it cannot be had. */
function python() {
  const given = process.env['MAXSIM_EXCHANGE_PYTHON'];
  if (given) return given;
  const venv = join(cache, 'python');
  const path = join(venv, 'bin', 'python');
  const done = join(venv, 'complete');
  if (existsSync(done)) return path;
  const site = process.env['MAXSIM_EXCHANGE_SITE'];
  const pip = (...args) => run(path, ['-m', 'pip', 'install', '--quiet', ...args]);
  if (!run('python3', ['-m', 'venv', venv])) return null;
  if (site) {
    const version = /python3\.\d+/.exec(site)?.[0] ?? 'python3';
    writeFileSync(join(venv, 'lib', version, 'site-packages', 'shared.pth'), `${site}\n`);
  }
  const installed =
    pip('-r', join(here, 'requirements.txt')) &&
    // Without what they ask for: their pins contradict each other.
    pip('--no-deps', 'colbert-ai==0.2.22', 'pylate==1.6.0', 'fast-plaid==1.7.0.2110') &&
    pip('--no-deps', '--target', join(cache, 'fast-plaid-1.4'), 'fast-plaid==1.4.6.2110');
  if (!installed) return null;
  writeFileSync(done, '');
  return path;
}

const sizes = [
  { SAMPLE_DIM: '16', SAMPLE_DOCUMENTS: '40' },
  { SAMPLE_DIM: '96', SAMPLE_DOCUMENTS: '300' },
];
const failed = [];
const older = {
  PYTHONPATH: process.env['MAXSIM_EXCHANGE_FAST_PLAID_1_4'] ?? join(cache, 'fast-plaid-1.4'),
};
const path = python();
const target = join(cache, 'next-plaid');
const crate = [
  'build',
  '--release',
  '--quiet',
  '--manifest-path',
  join(here, 'next-plaid', 'Cargo.toml'),
];
const built = run('cargo', [...crate, '--target-dir', target]);
if (path === null) failed.push('Python packages');
if (!built) failed.push('next-plaid');
for (const [i, size] of sizes.entries()) {
  const out = join(cache, `samples-${i}`);
  const samples = [
    'colbert',
    'colbert-1bit',
    'pylate-stanford',
    'fast-plaid',
    'fast-plaid-2bit',
    'fast-plaid-staged',
  ];
  for (const name of path === null ? [] : samples) {
    if (!run(path, [make, out, name], size)) failed.push(name);
  }
  for (const name of path === null ? [] : ['fast-plaid-1.4', 'pylate']) {
    if (!run(path, [make, out, name], { ...size, ...older })) failed.push(name);
  }
  if (built && !run(join(target, 'release', 'next-plaid-samples'), [out], size))
    failed.push('next-plaid');
  if (!run('npx', ['vitest', 'run', 'test/exchange/plaid.test.ts'], { MAXSIM_SAMPLES: out })) {
    failed.push(`the tests, at dim ${size.SAMPLE_DIM}`);
  }
}
if (failed.length > 0) {
  console.error(`failed or not made: ${[...new Set(failed)].join(', ')}`);
  process.exitCode = 1;
}
