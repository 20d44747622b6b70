/** `maxsim export`: an index as files that others read. */
import { type Command, Option } from 'commander';
import { EXPORT_FORMATS } from '../exchange/exchange.js';
import { type ExportFormat, exportIndex } from '../maxsim.js';
import { integer } from './arguments.js';
import { Interrupt } from './interrupt.js';
import { formatCount, formatDuration, printJson, printLine, renderFacts } from './output.js';
import { Progress } from './progress.js';

type ExportCommandOptions = {
  format?: ExportFormat;
  vectors: boolean;
  dtype: 'f32' | 'f16';
  shardBytes?: number;
  overwrite: boolean;
  tenant?: string;
  json: boolean;
};

export function addExportCommand(program: Command): void {
  program
    .command('export')
    .description('write an index as jsonl or safetensors')
    .argument('<dir>', 'directory of the index')
    .argument('<path>', 'file to write')
    .addOption(
      new Option(
        '--format <format>',
        'default: safetensors for a path that ends so, else jsonl',
      ).choices(EXPORT_FORMATS),
    )
    .option('--no-vectors', 'ids, texts and payloads alone, as a corpus for maxsim index')
    .addOption(
      new Option('--dtype <type>', 'of safetensors; f16 rounds')
        .choices(['f32', 'f16'])
        .default('f32'),
    )
    .option(
      '--shard-bytes <n>',
      'of safetensors: more vectors than this go to further files',
      integer(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--overwrite', 'replace files that are there', false)
    .option('--tenant <name>', 'whose documents, of an index with tenants')
    .option('--json', 'print the result as JSON', false)
    .action(runExport);
}

async function runExport(
  directory: string,
  path: string,
  { json, ...options }: ExportCommandOptions,
): Promise<void> {
  const interrupt = new Interrupt();
  const bar = new Progress({ unit: 'documents', json });
  const started = performance.now();
  try {
    const result = await exportIndex(directory, path, {
      ...options,
      signal: interrupt.signal,
      onProgress: ({ documents, total }) => {
        bar.setTotal(total);
        bar.update(documents);
      },
    }).finally(() => bar.end());
    const elapsedMs = performance.now() - started;
    if (json) {
      printJson({ ...result, elapsedMs });
      return;
    }
    printLine(
      renderFacts([
        ['documents', `${formatCount(result.documents)}, ${formatCount(result.tokens)} tokens`],
        ['files', result.files.join(', ')],
        ['time', formatDuration(elapsedMs)],
      ]),
    );
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}
