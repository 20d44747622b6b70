/** Directories that go away with the process that made them. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** `memory`: where there is a file system in memory, for thousands of short-lived directories. */
export function scratch(where: 'disk' | 'memory'): string {
  const memory = process.env['TMPDIR'] === undefined && existsSync('/dev/shm');
  const parent = where === 'memory' && memory ? '/dev/shm' : tmpdir();
  const directory = mkdtempSync(join(parent, 'maxsim-faults-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
