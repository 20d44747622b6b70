/** `maxsim import`: token vectors of others into an index, batch by durable batch. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { IMPORT_FORMATS } from '../exchange/exchange.js';
import {
  CODECS,
  type CodecName,
  type CodecOption,
  describeImport,
  Engine,
  type ImportDescription,
  type ImportFormat,
  Index,
  importInto,
  MaxSimError,
} from '../maxsim.js';
import { integer } from './arguments.js';
import { whileIndexing } from './index-command.js';
import { Interrupt } from './interrupt.js';
import {
  formatBytes,
  formatCount,
  formatDuration,
  printJson,
  printLine,
  renderFacts,
} from './output.js';
import { Progress } from './progress.js';
import { learnCodec } from './recode.js';

type ImportCommandOptions = {
  format?: ImportFormat;
  ids?: string;
  lengths?: string;
  codec?: CodecName;
  dim?: number;
  model?: string;
  batch: number;
  resume: boolean;
  tenant?: string;
  json: boolean;
};

export function addImportCommand(program: Command): void {
  program
    .command('import')
    .description('add documents with their token vectors from files of others')
    .argument('<dir>', 'directory of the index; created where there is none')
    .argument('<path>', 'jsonl, safetensors, npy or npz file, or folder of a PLAID index')
    .addOption(
      new Option('--format <format>', 'default: told by the content').choices(IMPORT_FORMATS),
    )
    .option('--ids <file>', 'ids in the order of the documents: .json, .jsonl, else one a line')
    .option('--lengths <file>', 'tokens per document: .npy or .json')
    .addOption(
      new Option(
        '--codec <codec>',
        'how tokens are stored, chosen at creation (default: that of the export, else int8)',
      ).choices(CODECS),
    )
    .option('--dim <n>', 'values per token vector, checked against the source', integer(8, 1024))
    .option('--model <name>', 'the model that made the vectors, so that queries can be texts')
    .option('--batch <n>', 'documents per commit, at most', integer(1, 1_000_000), 1000)
    .option('--resume', 'leave out what is there already: go on with an import cut off', false)
    .option('--tenant <name>', 'whose documents they become, in an index with tenants')
    .option('--json', 'print the result as JSON', false)
    .action(runImport);
}

async function runImport(
  directory: string,
  path: string,
  { format, ids, lengths, codec, dim, model, batch, resume, tenant, json }: ImportCommandOptions,
): Promise<void> {
  const source = {
    ...(format === undefined ? {} : { format }),
    ...(ids === undefined ? {} : { ids }),
    ...(lengths === undefined ? {} : { lengths }),
  };
  // Before the index is opened: a wrong path must not leave an empty index behind.
  const found = await describeImport(path, source);
  if (dim !== undefined && dim !== found.dim) {
    throw new MaxSimError(
      'MODEL_MISMATCH',
      `${path} holds vectors of dim ${found.dim}, not ${dim}.`,
    );
  }
  const say = (line: string): void => {
    if (!json) process.stderr.write(`${line}\n`);
  };
  const interrupt = new Interrupt(() =>
    say('stopping; nothing that was committed is lost, ^C again ends at once'),
  );
  const { signal } = interrupt;
  const started = performance.now();
  try {
    const stored = codec === undefined ? undefined : await whileIndexing(directory, codec);
    const target = await openTarget(directory, found, model, stored, tenant);
    await using index = target.index;
    await using _ = target.owner;
    const bar = new Progress({ unit: 'documents', json });
    const result = await importInto(index, path, {
      ...source,
      batchSize: batch,
      resume,
      ...(tenant === undefined ? {} : { tenant }),
      signal,
      onProgress: ({ documents, total }) => {
        if (total !== null) bar.setTotal(total);
        bar.update(documents);
      },
    }).finally(() => bar.end());
    if (codec !== undefined && codec !== stored)
      await learnCodec(index, codec, { json, signal, say });
    const elapsedMs = performance.now() - started;
    const { documents, tokens, sizeBytes } = index.stats();
    const totals = { directory: index.directory, documents, tokens, sizeBytes };
    if (json) {
      printJson({ ...result, source: found.description, elapsedMs, index: totals });
      return;
    }
    const counts = (['added', 'replaced', 'unchanged', 'skipped'] as const).filter(
      (name) => name === 'added' || result[name] > 0,
    );
    printLine(
      renderFacts([
        ['source', found.description],
        ...counts.map((name) => [name, formatCount(result[name])] as const),
        ['time', formatDuration(elapsedMs)],
        [
          'index',
          `${formatCount(documents)} documents, ${formatCount(tokens)} tokens, ${formatBytes(sizeBytes)} in ${index.directory}`,
        ],
      ]),
    );
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

/** The index to import into, and what to close with it. */
async function openTarget(
  directory: string,
  { dim, codec, encoder }: ImportDescription,
  model: string | undefined,
  asked: CodecName | undefined,
  tenant: string | undefined,
): Promise<{ index: Index; owner: AsyncDisposable | null }> {
  const exists = existsSync(join(directory, 'manifest.json'));
  // An index that is there keeps its codec; a new one takes that of the export, to the same scale.
  const choice = asked ?? (exists ? undefined : toOption(codec));
  const option = {
    ...(choice === undefined ? {} : { codec: choice }),
    ...(exists || tenant === undefined ? {} : { tenants: true }),
  };
  if (model !== undefined) {
    const engine = await Engine.open(directory, { model, ...option });
    return { index: engine.index, owner: engine };
  }
  const identity = exists || encoder === null ? {} : { encoder };
  return { index: await Index.open(directory, { dim, ...option, ...identity }), owner: null };
}

/** Residual codecs would be learned anew, from what they have lost once: their export is taken in as int8. */
function toOption(codec: ImportDescription['codec']): CodecOption | undefined {
  if (codec === null || ['r4', 'r2', 'r1'].includes(codec.name)) return undefined;
  if (codec.name !== 'int8') return codec.name;
  return codec.scale === null ? 'int8' : { name: 'int8', range: codec.scale * 127 };
}
