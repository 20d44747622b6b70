/** `maxsim index`: streams sources into an index, batch by durable batch, and goes on where it was. */
import { type Command, Option } from 'commander';
import { CODECS, type CodecName, Engine, type FieldType, Index, MaxSimError } from '../maxsim.js';
import { fieldTypes, integer } from './arguments.js';
import { prepareSearch } from './build-search.js';
import { Indexing, type IndexingReport, type Refused } from './indexing.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
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
import { openSource, type Source } from './source.js';

type IndexCommandOptions = ModelArguments & {
  codec?: CodecName;
  field?: Record<string, FieldType>;
  tenant?: string;
  search: boolean;
  batch: number;
  json: boolean;
};

type Summary = IndexingReport & {
  /** The first of the bad lines. */
  badLines: Refused[];
  documentsPerSecond: number;
  interrupted: boolean;
  index: { directory: string; documents: number; tokens: number; sizeBytes: number };
};

/** Bad lines and empty files that are named; all are counted. */
const NAMED = 10;

export function addIndexCommand(program: Command): void {
  const command = program
    .command('index')
    .description('add documents to an index, and create it where there is none')
    .argument('<dir>', 'directory of the index')
    .argument(
      '<source...>',
      'BEIR folder (corpus.jsonl), .jsonl file of {_id|id, text, title?, metadata?}, or folder of .txt and .md files',
    )
    .addOption(
      new Option(
        '--codec <codec>',
        'how tokens are stored, chosen at creation (default: int8)',
      ).choices(CODECS),
    )
    .option(
      '--field <name:type>',
      'a field of metadata to filter by: keyword, number or boolean; chosen at creation, once per field',
      fieldTypes,
    )
    .option('--tenant <name>', 'whose documents they are; creates an index with tenants')
    .option('--search', 'at the end, prepare searches that need not score every document', false)
    .option('--batch <n>', 'documents per commit', integer(1, 100_000), 64)
    .option('--json', 'print the summary as JSON', false);
  addModelArguments(command).action(runIndex);
}

async function runIndex(
  directory: string,
  paths: string[],
  { codec, field, tenant, search, batch, json, ...rest }: IndexCommandOptions,
): Promise<void> {
  // Before the index is opened: a misspelled source must not leave an empty index behind.
  const sources = await Promise.all(paths.map(openSource));
  let progress: Progress | undefined;
  const say = (line: string): void => {
    if (json) return;
    if (progress === undefined) process.stderr.write(`${line}\n`);
    else progress.write(line);
  };
  const interrupt = new Interrupt(() =>
    say('stopping; nothing that was committed is lost, ^C again ends at once'),
  );
  try {
    const stored = codec === undefined ? undefined : await whileIndexing(directory, codec);
    await using engine = await Engine.open(directory, {
      ...(stored === undefined ? {} : { codec: stored }),
      ...(field === undefined ? {} : { fields: field }),
      ...(tenant === undefined ? {} : { tenants: true }),
      ...engineArguments(rest),
    });
    engine.index.view(tenant); // before anything is read
    const bar = new Progress({ unit: 'documents', json });
    progress = bar;
    const badLines: Refused[] = [];
    let emptyFiles = 0;
    countInto(bar, sources);
    const indexing = new Indexing(engine, {
      batchSize: batch,
      ...(tenant === undefined ? {} : { tenant }),
      signal: interrupt.signal,
      onProgress: ({ added, replaced, unchanged, bad }, done) =>
        bar.update(done, { added, replaced, unchanged, bad }),
      onRefused: (refused) => {
        if (badLines.length === NAMED) return;
        badLines.push(refused);
        bar.write(
          json
            ? JSON.stringify({ event: 'bad-line', ...refused })
            : `bad  ${place(refused)}  ${refused.reason}`,
        );
      },
      onEmptyFile: (file) => {
        if (++emptyFiles > NAMED) return;
        bar.write(json ? JSON.stringify({ event: 'empty-file', file }) : `empty  ${file}  skipped`);
      },
    });
    const report = await indexing.run(sources).finally(() => bar.end());
    progress = undefined;
    if (codec !== undefined && codec !== stored && !interrupt.signal.aborted) {
      await learnCodec(engine.index, codec, { json, signal: interrupt.signal, say });
    }
    if (search && !interrupt.signal.aborted) {
      say('preparing searches');
      await prepareSearch(engine, { json, signal: interrupt.signal, say });
    }
    const { documents, tokens, sizeBytes } = engine.index.stats();
    const interrupted = interrupt.exitCode !== null;
    // Without what was read but abandoned.
    const settled = report.added + report.replaced + report.unchanged + report.bad;
    print(
      {
        ...report,
        badLines,
        documentsPerSecond: settled / (report.elapsedMs / 1000),
        interrupted,
        index: { directory: engine.index.directory, documents, tokens, sizeBytes },
      },
      json,
    );
    if (interrupted) {
      const committed = report.added + report.replaced;
      say(
        `stopped: ${formatCount(committed)} documents of this run are committed; the same command again goes on`,
      );
    } else if (report.bad > 0) {
      throw new MaxSimError(
        'INVALID_SOURCE',
        `${formatCount(report.bad)} of ${formatCount(report.read)} lines or files could not be indexed (${badLines.map(place).join(', ')}${report.bad > badLines.length ? ', …' : ''}); the others were.`,
        { details: { bad: report.bad, badLines } },
      );
    }
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

/**
 * A residual codec learns from all documents, so they are stored as f16 until the last one is there:
 * the codec to index with.
 */
export async function whileIndexing(directory: string, codec: CodecName): Promise<CodecName> {
  if (codec !== 'r4' && codec !== 'r2' && codec !== 'r1') return codec;
  try {
    await using index = await Index.open(directory, { mode: 'read' });
    return index.codec.name === 'f16' ? 'f16' : codec;
  } catch (error) {
    if (!(error instanceof MaxSimError) || error.code !== 'NOT_AN_INDEX') throw error;
    return 'f16';
  }
}

/** In the background: encoding, not reading, is what takes time. A source that fails says so itself. */
function countInto(progress: Progress, sources: readonly Source[]): void {
  Promise.all(sources.map((source) => source.count())).then(
    (counts) => progress.setTotal(counts.reduce((a, b) => a + b, 0)),
    () => {},
  );
}

function place({ file, line }: Refused): string {
  return line === null ? file : `${file}:${line}`;
}

function print(summary: Summary, json: boolean): void {
  if (json) {
    printJson(summary);
    return;
  }
  const { index } = summary;
  const counts: [string, number][] = [
    ['read', summary.read],
    ['added', summary.added],
    ['replaced', summary.replaced],
    ['unchanged', summary.unchanged],
    ['truncated', summary.truncated],
    ['bad', summary.bad],
    ['empty files', summary.emptyFiles],
  ];
  printLine(
    renderFacts([
      ...counts
        .filter(([name, count]) => count > 0 || ['read', 'added'].includes(name))
        .map(([name, count]) => [name, formatCount(count)] as const),
      [
        'time',
        `${formatDuration(summary.elapsedMs)}, ${summary.documentsPerSecond.toFixed(1)} documents/s`,
      ],
      [
        'index',
        `${formatCount(index.documents)} documents, ${formatCount(index.tokens)} tokens, ${formatBytes(index.sizeBytes)} in ${index.directory}`,
      ],
    ]),
  );
}
