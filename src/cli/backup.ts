/** `maxsim backup`: an index in a second directory, consistent while a writer goes on. */
import type { Command } from 'commander';
import { backupIndex } from '../maxsim.js';
import { Interrupt } from './interrupt.js';
import { formatBytes, formatCount, printJson, printLine, renderFacts } from './output.js';

export function addBackupCommand(program: Command): void {
  program
    .command('backup')
    .description('copy an index, by hard links where the file system has them')
    .argument('<dir>', 'directory of the index')
    .argument('<target>', 'directory of the backup: absent or empty')
    .option('--json', 'print the result as JSON', false)
    .action(runBackup);
}

async function runBackup(
  directory: string,
  target: string,
  { json }: { json: boolean },
): Promise<void> {
  const interrupt = new Interrupt();
  try {
    const result = await backupIndex(directory, target, { signal: interrupt.signal });
    if (json) {
      printJson(result);
      return;
    }
    const { generation, documents, files, sizeBytes, copiedFiles } = result;
    printLine(
      renderFacts([
        ['generation', formatCount(generation)],
        ['documents', formatCount(documents)],
        [
          'files',
          `${formatCount(files)}, ${formatBytes(sizeBytes)}; ${copiedFiles === 0 ? 'linked: none takes room of its own but the manifest' : `${formatCount(copiedFiles)} copied`}`,
        ],
      ]),
    );
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}
