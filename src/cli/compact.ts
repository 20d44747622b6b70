/** `maxsim compact`: one segment, and no dead documents in it. */
import type { Command } from 'commander';
import { Index } from '../maxsim.js';
import {
  formatBytes,
  formatCount,
  formatDuration,
  printJson,
  printLine,
  renderFacts,
} from './output.js';

export function addCompactCommand(program: Command): void {
  program
    .command('compact')
    .description('merge all segments of an index into one, without its dead documents')
    .argument('<dir>', 'directory of the index')
    .option('--json', 'print the result as JSON', false)
    .action(async (directory: string, { json }: { json: boolean }) => {
      await using index = await Index.open(directory, { create: false });
      const before = index.stats();
      const started = performance.now();
      await index.compact();
      const elapsedMs = performance.now() - started;
      const { generation, documents, sizeBytes } = index.stats();
      const dropped = before.deadDocuments;
      const segments = before.segments.length;
      if (json) {
        printJson({
          generation,
          documents,
          dropped,
          segments,
          before: before.sizeBytes,
          sizeBytes,
          elapsedMs,
        });
        return;
      }
      printLine(
        renderFacts([
          ['documents', `${formatCount(documents)}, ${formatCount(dropped)} dead ones dropped`],
          ['segments', `${formatCount(segments)} merged`],
          ['size', `${formatBytes(sizeBytes)}, was ${formatBytes(before.sizeBytes)}`],
          ['time', formatDuration(elapsedMs)],
        ]),
      );
    });
}
