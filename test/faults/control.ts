/** The recorded file system, from within: commands to shim.c, and a process that runs under it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = 'MAXSIM_FAULTS_ROOT';

/** Builds the shim and gives the environment of a process whose files under `root` it watches. */
export function shimmed(root: string): NodeJS.ProcessEnv {
  const source = fileURLToPath(new URL('../../test/faults/shim.c', import.meta.url));
  const library = fileURLToPath(new URL('shim.so', import.meta.url));
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-o', library, source]);
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, 'control'), '');
  // io_uring would pass the shim by.
  return { ...process.env, LD_PRELOAD: library, UV_USE_IO_URING: '0', [ROOT]: root };
}

/** In a process that runs under the shim. */
export class Control {
  readonly root: string;
  private readonly file: number;

  constructor() {
    this.root = process.env[ROOT] as string;
    this.file = openSync(join(this.root, 'control'), 'r+');
  }

  send(command: string): void {
    writeSync(this.file, command);
  }

  /** Operations since the log was started, and how many of them were disturbed. */
  status(): { operations: number; fired: number } {
    const bytes = Buffer.alloc(64);
    const size = readSync(this.file, bytes, 0, bytes.length, null);
    const [operations, fired] = bytes.toString('latin1', 0, size).split(' ').map(Number);
    return { operations, fired };
  }
}
