import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { coreCount } from '../../dist/runtime/cores.js';

let group: string;

beforeEach(() => {
  group = mkdtempSync(join(tmpdir(), 'maxsim-cores-'));
  mkdirSync(join(group, 'cpu'));
});

afterEach(() => rmSync(group, { recursive: true }));

const all = availableParallelism();

it.each([
  ['max 100000', all],
  ['100000 100000', 1],
  ['50000 100000', 1],
  ['190000 100000', 1],
  ['99900000 100000', all],
])('a quota of "%s" is %i cores', (quota, cores) => {
  writeFileSync(join(group, 'cpu.max'), `${quota}\n`);
  expect(coreCount(group)).toBe(cores);
});

it.each([
  ['-1', all],
  ['100000', 1],
])('an older quota of %s is %i cores', (quota, cores) => {
  writeFileSync(join(group, 'cpu', 'cpu.cfs_quota_us'), `${quota}\n`);
  writeFileSync(join(group, 'cpu', 'cpu.cfs_period_us'), '100000\n');
  expect(coreCount(group)).toBe(cores);
});

it('without a control group all cores count', () => {
  expect(coreCount(join(group, 'none'))).toBe(all);
});
