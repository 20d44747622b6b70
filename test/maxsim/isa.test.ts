import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadAddon } from '../../dist/runtime/addon.js';
import { codecScores, scores } from '../isa/cases.mjs';

const golden = (name: string): string[] =>
  JSON.parse(readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8'));
const { chosen, candidates } = loadAddon().kernels();
const supported = candidates.filter((candidate) => candidate.supported).map(({ name }) => name);

/** Runs a script that has `addon` in another process, with MAXSIM_ISA set. */
function withIsa(isa: string, script: string): { status: number | null; output: string } {
  const addon = fileURLToPath(new URL('../../dist/runtime/addon.js', import.meta.url));
  const source = `const { loadAddon } = await import(${JSON.stringify(addon)});\n${script}`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', source],
    { encoding: 'utf8', env: { ...process.env, MAXSIM_ISA: isa } },
  );
  return { status, output: stdout + stderr };
}

it('runs the kernels that MAXSIM_ISA asks for, else the best this CPU has', () => {
  const forced = process.env['MAXSIM_ISA'];
  if (forced !== undefined) {
    expect(chosen).toBe(forced);
    return;
  }
  // What is better and was not chosen has a reason: no CPU has to be fast at all that it can.
  const better = candidates.slice(
    0,
    candidates.findIndex(({ name }) => name === chosen),
  );
  for (const { supported: can, verdict } of better) {
    expect(can ? verdict : 'lacks').toMatch(/no faster|lacks/);
  }
  expect(supported).toContain(chosen);
});

it('gives the frozen int8 scores with these kernels, bit for bit', () => {
  expect(scores(loadAddon())).toEqual(golden('int8-scores.json'));
});

it('learns the frozen codebooks and gives their frozen scores, bit for bit', async () => {
  expect(await codecScores(loadAddon())).toEqual(golden('codec-scores.json'));
});

it.each(supported)('%s can be forced, and then is what runs', (isa) => {
  const { status, output } = withIsa(isa, 'console.log(loadAddon().kernels().chosen)');
  expect(output.trim()).toBe(isa);
  expect(status).toBe(0);
});

it.each(['avx9000', ...candidates.filter((one) => !one.supported).map(({ name }) => name)])(
  '%s, which this CPU cannot run, is refused by name',
  (isa) => {
    const { output } = withIsa(
      isa,
      'try { loadAddon() } catch (error) { console.log(error.code, error.message) }',
    );
    expect(output).toContain('UNSUPPORTED_ISA');
    expect(output).toContain(isa);
    expect(output).toContain('scalar');
  },
);

it('says where it looked for the addon when there is none, and how to build it', () => {
  const addon = fileURLToPath(new URL('../../dist/runtime/addon.js', import.meta.url));
  const { stdout } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `try { (await import(${JSON.stringify(addon)})).loadAddon() } catch (error) { console.log(error.code, error.message) }`,
    ],
    { encoding: 'utf8', env: { ...process.env, MAXSIM_ADDON: '/nowhere/maxsim.node' } },
  );
  expect(stdout).toContain('ADDON_NOT_FOUND');
  expect(stdout).toContain('/nowhere/maxsim.node');
  expect(stdout).toContain('apt-get install -y g++ cmake make');
});
