/** `maxsim compact`: one segment, no dead documents in it, and what makes searches of it fast. */
import type { Command } from 'commander';
import { Index } from '../maxsim.js';
import { integer } from './arguments.js';
import {
  type BuildCommandOptions,
  buildSearch,
  describeBuilt,
  type Opened,
  openToBuild,
} from './build-search.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments } from './model-arguments.js';
import {
  formatBytes,
  formatCount,
  formatDuration,
  printJson,
  printLine,
  renderFacts,
} from './output.js';

type CompactOptions = BuildCommandOptions & { search: boolean; retrain: boolean; json: boolean };

export function addCompactCommand(program: Command): void {
  const command = program
    .command('compact')
    .description('merge all segments of an index into one, without its dead documents')
    .argument('<dir>', 'directory of the index')
    .option('--search', 'prepare it for searches that need not score every document', false)
    .option('--retrain', 'the same, with new centroids', false)
    .option(
      '--centroids <n>',
      'new ones, so many (default: 32 times the root of the tokens)',
      integer(2, 2 ** 24),
    )
    .option('--lists', 'inverted lists, whatever the size (default: from 2 million codes on)')
    .option('--no-lists', 'none, whatever the size')
    .option('--seed <n>', 'which tokens and queries are taken', integer(0, 2 ** 32))
    .option('--queries <file>', 'queries to measure with (default: made from the documents)')
    .option('--json', 'print the result as JSON', false);
  addModelArguments(command).action(runCompact);
}

async function runCompact(
  directory: string,
  options: CompactOptions,
  command: Command,
): Promise<void> {
  const { search, retrain, centroids, lists, queries, json } = options;
  const renews = search || retrain || centroids !== undefined;
  if (!renews && (lists !== undefined || queries !== undefined)) {
    command.error('error: --lists and --queries need --search');
  }
  const interrupt = new Interrupt();
  try {
    await using opened = await (renews ? openToBuild(directory, options) : openAlone(directory));
    const { index } = opened;
    const before = index.stats();
    const started = performance.now();
    await index.compact();
    const { signal } = interrupt;
    const built = renews ? await buildSearch(opened, options, { json, signal }) : null;
    const elapsedMs = performance.now() - started;
    const { generation, documents, sizeBytes, bytes } = index.stats();
    const dropped = before.deadDocuments;
    const segments = before.segments.length;
    if (json) {
      const search = built === null ? {} : { search: built };
      printJson({
        generation,
        documents,
        dropped,
        segments,
        before: before.sizeBytes,
        sizeBytes,
        elapsedMs,
        ...search,
      });
      return;
    }
    printLine(
      renderFacts([
        ['documents', `${formatCount(documents)}, ${formatCount(dropped)} dead ones dropped`],
        ['segments', `${formatCount(segments)} merged`],
        ...(built === null
          ? []
          : [
              [
                'search',
                `${describeBuilt(built)}; ${formatBytes(bytes.codes + bytes.centroids)}`,
              ] as const,
            ]),
        ['size', `${formatBytes(sizeBytes)}, was ${formatBytes(before.sizeBytes)}`],
        ['time', formatDuration(elapsedMs)],
      ]),
    );
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

async function openAlone(directory: string): Promise<Opened> {
  const index = await Index.open(directory, { create: false });
  return { index, engine: null, [Symbol.asyncDispose]: () => index.close() };
}
