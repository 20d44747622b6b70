import { afterEach, expect, it, vi } from 'vitest';
import { maxsim } from './run.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

it.each([
  ['an addon that is not there', 'MAXSIM_ADDON', '/nowhere/maxsim.node'],
  ['kernels that do not exist', 'MAXSIM_ISA', 'abacus'],
])('doctor says how to mend %s, and ends with 1', async (_, name, value) => {
  vi.stubEnv(name, value);
  const { status, json } = await maxsim('doctor', '--json');
  expect(status).toBe(1);
  expect(json()).toMatchObject({
    ok: false,
    kernels: null,
    selfTest: null,
    problems: [{ fix: expect.stringContaining(`Unset ${name}`) }],
  });
  const people = await maxsim('doctor');
  expect(people.status).toBe(1);
  expect(people.stdout).toMatch(new RegExp(`^fix +Unset ${name}`, 'm'));
});

it('doctor names the addon it loaded, the kernels and the trial run for people', async () => {
  const { status, stdout } = await maxsim('doctor');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^addon +.*maxsim\.node$/m);
  expect(stdout).toMatch(/^kernels +\w+$/m);
  expect(stdout).toMatch(/^✔ trial run: /m);
});
