/** Runs the command line for real, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export type Outcome = {
  status: number | null;
  stdout: string;
  stderr: string;
  /** What --json printed. */
  json(): Record<string, unknown>;
};

export function maxsim(...args: string[]): Promise<Outcome> {
  return outcome(start(...args));
}

export function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

export function outcome(child: ChildProcess): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (data) => {
    stdout += String(data);
  });
  child.stderr?.on('data', (data) => {
    stderr += String(data);
  });
  return new Promise((resolve) => {
    child.on('close', (status) => {
      resolve({ status, stdout, stderr, json: () => JSON.parse(stdout) as never });
    });
  });
}
