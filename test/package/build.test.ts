import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../../native/build.mjs', import.meta.url));
let path: string;

beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'maxsim-path-'));
});

afterEach(() => rmSync(path, { recursive: true }));

/** Runs the build with nothing on the PATH but these commands, each a script that says it is there. */
function buildWith(...commands: string[]): { status: number | null; stderr: string } {
  for (const command of commands) {
    writeFileSync(join(path, command), '#!/bin/sh\nexit 0\n');
    chmodSync(join(path, command), 0o755);
  }
  return spawnSync(process.execPath, [script], { env: { PATH: path }, encoding: 'utf8' });
}

it('says what is missing and how to install it, when nothing is there', () => {
  const { status, stderr } = buildWith();
  expect(status).toBe(1);
  expect(stderr).toContain('cmake and a C++ compiler and make are missing');
  expect(stderr).toContain('apt-get install -y g++ cmake make');
});

it('says that the compiler is missing, when only that is', () => {
  const { status, stderr } = buildWith('cmake', 'make');
  expect(status).toBe(1);
  expect(stderr).toContain('because a C++ compiler is missing');
});
