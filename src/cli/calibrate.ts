/**
 * `maxsim calibrate`: choices measured on one's own index. `codec`: how tokens are best stored; those of
 * a rerank pipeline are in calibrate-pipeline.ts.
 */
import type { Command } from 'commander';
import { type CalibrationSample, drawSample } from '../evaluate/calibration-sample.js';
import { calibrateCodec, DEFAULT_LIMITS } from '../evaluate/codec-calibration.js';
import { type CollectionQuery, readJudgements, readQueries } from '../evaluate/collection.js';
import { CODECS, type CodecName, type Encoder, Engine, Index, MaxSimError } from '../maxsim.js';
import { integer, share, someOf } from './arguments.js';
import { addPipelineCalibrations } from './calibrate-pipeline.js';
import { type CodecReport, notesOn, printCodecReport } from './codec-report.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { formatCount, printJson } from './output.js';
import { Progress } from './progress.js';

type CodecCommandOptions = ModelArguments & {
  queries?: string;
  qrels?: string;
  documents: number;
  queryCount?: number;
  codecs: CodecName[];
  minOverlap: number;
  maxLoss: number;
  seed: number;
  json: boolean;
};

export function addCalibrateCommand(program: Command): void {
  const calibrate = program
    .command('calibrate')
    .description('measure a choice on your own index, and recommend one');
  const command = calibrate
    .command('codec')
    .description('what each codec costs and loses on the documents of an index')
    .argument('<dir>', 'directory of the index')
    .option('--queries <file>', 'queries, {_id|id, text} a line (default: made from the documents)')
    .option('--qrels <file>', 'judgements of --queries, a BEIR tsv: measures nDCG@10 too')
    .option('--documents <n>', 'documents to measure on, at most', integer(1, 1_000_000), 2000)
    .option(
      '--query-count <n>',
      'queries, at most (default: 300 of --queries, judged ones first, else 100)',
      integer(1, 100_000),
    )
    .option('--codecs <names>', `some of ${CODECS.join(',')}`, someOf(CODECS), [...CODECS])
    .option(
      '--min-overlap <share>',
      'share of the top 10 that must be kept',
      share,
      DEFAULT_LIMITS.minOverlap,
    )
    .option('--max-loss <loss>', 'nDCG@10 that may be lost', share, DEFAULT_LIMITS.maxLoss)
    .option('--seed <n>', 'of the sample and the intervals', integer(0, 0xffffffff), 0)
    .option('--json', 'print JSON', false);
  addModelArguments(command).action(runCodec);
  addPipelineCalibrations(calibrate);
}

async function runCodec(
  directory: string,
  options: CodecCommandOptions,
  command: Command,
): Promise<void> {
  if (options.qrels !== undefined && options.queries === undefined) {
    command.error('error: --qrels needs --queries');
  }
  const given = await readGiven(options);
  const interrupt = new Interrupt();
  const progress = new Phases(options.json);
  try {
    await using source = await openSource(directory, options);
    const report = await measure(source, given, options, progress, interrupt.signal);
    progress.end();
    if (options.json) printJson({ ...report, notes: notesOn(report) });
    else printCodecReport(report);
  } finally {
    progress.end();
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

type Given = {
  queries?: CollectionQuery[];
  judgements?: Awaited<ReturnType<typeof readJudgements>>;
};

async function readGiven({ queries: file, qrels }: CodecCommandOptions): Promise<Given> {
  if (file === undefined) return {};
  const queries = await readQueries(file);
  if (queries.length === 0) {
    throw new MaxSimError('INVALID_SOURCE', `${file} holds no queries.`);
  }
  if (qrels === undefined) return { queries };
  const judgements = await readJudgements(qrels);
  if (!queries.some(({ id }) => judgements.has(id))) {
    throw new MaxSimError('INVALID_SOURCE', `${qrels} judges none of the queries of ${file}.`);
  }
  return { queries, judgements };
}

type Source = { index: Index; encoder: Encoder | null } & AsyncDisposable;

/** An index of the caller's own vectors has no model; its stored vectors are all there is. */
async function openSource(directory: string, options: CodecCommandOptions): Promise<Source> {
  try {
    const engine = await Engine.open(directory, { mode: 'read', ...engineArguments(options) });
    return {
      index: engine.index,
      encoder: engine.encoder,
      [Symbol.asyncDispose]: () => engine.close(),
    };
  } catch (error) {
    const other = error instanceof MaxSimError && error.code === 'MODEL_MISMATCH';
    if (!other || options.model !== undefined) throw error;
    const index = await Index.open(directory, { mode: 'read' });
    return { index, encoder: null, [Symbol.asyncDispose]: () => index.close() };
  }
}

async function measure(
  { index, encoder }: Source,
  { queries, judgements }: Given,
  { documents, queryCount, codecs, minOverlap, maxLoss, seed, json }: CodecCommandOptions,
  progress: Phases,
  signal: AbortSignal,
): Promise<CodecReport> {
  if (!json && encoder !== null && index.codec.name !== 'f32') {
    const count = Math.min(documents, index.documentCount);
    process.stderr.write(
      `encoding ${formatCount(count)} of ${formatCount(index.documentCount)} documents again, to measure without the loss that is stored; --documents takes fewer\n`,
    );
  }
  const sample = await drawSample(index, encoder, {
    documents,
    queryCount,
    queries,
    judgements,
    seed,
    signal,
    onProgress: (unit, done, total) => progress.update(unit, done, total),
  });
  const { recommendation, ...calibration } = await calibrateCodec(
    {
      dim: index.dim,
      documents: sample.documents,
      queries: sample.queries,
      judgements: sample.judgements,
    },
    {
      codecs,
      minOverlap,
      maxLoss,
      seed,
      signal,
      onProgress: (unit, done, total) => progress.update(unit, done, total),
    },
  );
  const current = index.codec.name;
  return {
    directory: index.directory,
    current,
    sample: factsOf(sample),
    ...calibration,
    recommendation: { ...recommendation, inUse: recommendation.codec === current },
  };
}

function factsOf(sample: CalibrationSample): CodecReport['sample'] {
  const { origin, vectors, indexDocuments, relevantLeftOut } = sample;
  return { indexDocuments, queries: origin, vectors, relevantLeftOut };
}

/** One bar after the other: searches, documents, codecs, rankings. */
class Phases {
  private unit: string | null = null;
  private bar: Progress | null = null;

  constructor(private readonly json: boolean) {}

  update(unit: string, done: number, total: number): void {
    if (unit !== this.unit) {
      this.end();
      this.unit = unit;
      this.bar = new Progress({ unit, json: this.json });
      this.bar.setTotal(total);
    }
    this.bar?.update(done);
  }

  end(): void {
    this.bar?.end();
    this.bar = null;
  }
}
