/** `maxsim calibrate gate|floor|cascade`: choices of a rerank pipeline, measured on judged queries. */
import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { calibrateCascade } from '../evaluate/cascade-calibration.js';
import { type CollectionQuery, readJudgements, readQueries } from '../evaluate/collection.js';
import { calibrateFloor } from '../evaluate/floor-calibration.js';
import { calibrateGate } from '../evaluate/gate-calibration.js';
import { ndcg } from '../evaluate/measures.js';
import { bare, type MeasuredQuery, measurePipeline } from '../evaluate/pipeline-measurement.js';
import {
  crossEncoder,
  Engine,
  lateInteraction,
  MaxSimError,
  type Pipeline,
  type PipelineStage,
} from '../maxsim.js';
import { countWords, gateFeatures } from '../rerank/gate.js';
import { integer, positiveNumber, share } from './arguments.js';
import { printCascade, printFloor, printGate } from './calibration-report.js';
import { readTrecRun } from './candidates.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { printJson } from './output.js';
import { addPipelineOption, type PipelineArgument, readPipeline } from './pipeline-argument.js';
import { Progress } from './progress.js';

type Options = ModelArguments &
  PipelineArgument & {
    queries: string;
    qrels: string;
    candidatesRun?: string;
    depth: number;
    queryCount?: number;
    corpus?: string;
    out?: string;
    seed: number;
    json: boolean;
  };

const KEEP = 20;

export function addPipelineCalibrations(calibrate: Command): void {
  add(calibrate, 'gate', 'when the stages after late interaction can be skipped')
    .option('--epsilon <loss>', 'nDCG@10 that skipping may lose on average', share, 0.005)
    .option('--confidence <share>', 'that it loses no more', share, 0.95)
    .option(
      '--bound <kind>',
      'betting (any number of queries) or bootstrap (gains count)',
      'betting',
    )
    .action(runGate);
  add(calibrate, 'floor', 'below which score nothing is relevant')
    .option('--alpha <share>', 'share of answerable queries that may be lost', share, 0.05)
    .option('--stage <n>', 'whose scores, from 1 (default: the last)', integer(1, 100))
    .option('--calibrator-out <file>', 'where to write a calibrator of the same scores')
    .action(runFloor);
  add(calibrate, 'cascade', 'how many candidates the stage after late interaction should read')
    .option('--epsilon <loss>', 'nDCG@10 that may be lost against reading all', share, 0.01)
    .option('--deadline-ms <n>', 'to be written into the pipeline', positiveNumber)
    .action(runCascadeCalibration);
}

function add(calibrate: Command, name: string, description: string): Command {
  const command = calibrate
    .command(name)
    .description(description)
    .argument('<dir>', 'directory of the index')
    .requiredOption('--queries <file>', 'queries, {_id|id, text} a line')
    .requiredOption('--qrels <file>', 'their judgements, a BEIR tsv')
    .option('--candidates-run <file>', 'a TREC run with their candidates (default: a search)')
    .option('--depth <n>', 'candidates of a query, at most', integer(2, 10_000), 100)
    .option('--query-count <n>', 'queries, at most', integer(1, 1_000_000))
    .option('--corpus <name>', 'what the documents are called (default: the name of the folder)')
    .option('--out <file>', 'where to write what was found')
    .option('--seed <n>', 'of halves and intervals', integer(0, 0xffffffff), 0)
    .option('--json', 'print JSON', false);
  addPipelineOption(command, []);
  return addModelArguments(command);
}

async function runGate(
  directory: string,
  options: Options & { epsilon: number; confidence: number; bound: string },
  command: Command,
): Promise<void> {
  const { bound, epsilon, confidence, seed } = options;
  if (bound !== 'betting' && bound !== 'bootstrap')
    command.error('error: --bound is betting or bootstrap');
  await measured(directory, options, {}, async ({ queries, pipeline, engine }) => {
    const { gate: fingerprint } = await engine.fingerprints(pipeline);
    const answerable = queries.filter((query) => query.answerable);
    const { gate, ...report } = calibrateGate(
      answerable.map((query) => ({
        features: featuresOf(query),
        cheap: ndcg(query.orders[0] ?? [], query.grades, 10),
        expensive: ndcg(query.orders.at(-1) ?? [], query.grades, 10),
      })),
      { fingerprint, epsilon, confidence, seed, bound: bound as 'betting' | 'bootstrap' },
    );
    // A gate that never skips is no use to anybody.
    if (report.chosen !== null) await write(options.out, gate);
    const result = { queries: answerable.length, epsilon, confidence, ...report };
    const written = report.chosen === null ? null : (options.out ?? null);
    if (options.json) printJson({ ...result, gate: report.chosen === null ? null : gate, written });
    else printGate(result, written);
  });
}

/** Exactly what the engine shows the gate. */
function featuresOf({ text, first, orders, candidates }: MeasuredQuery) {
  const ids = orders[0] ?? [];
  return gateFeatures({
    ids,
    scores: ids.map((id) => candidates.get(id)?.scores[0] ?? Number.NaN),
    firstStageIds: first,
    queryWords: countWords(text),
  });
}

async function runFloor(
  directory: string,
  options: Options & { alpha: number; stage?: number; calibratorOut?: string },
  command: Command,
): Promise<void> {
  const { alpha, seed, out, calibratorOut, json } = options;
  await measured(directory, options, {}, async ({ queries, pipeline, engine }) => {
    const stage = (options.stage ?? pipeline.stages.length) - 1;
    const fingerprint = (await engine.fingerprints(pipeline)).stages[stage];
    if (fingerprint === undefined)
      return command.error(`error: --stage must be from 1 to ${pipeline.stages.length}`);
    const report = calibrateFloor(queries, { alpha, fingerprint, stage, seed });
    await write(out, report.floor);
    if (report.calibrator !== null) await write(calibratorOut, report.calibrator);
    const calibratorWritten = report.calibrator === null ? null : (calibratorOut ?? null);
    if (json) printJson({ ...report, written: out ?? null, calibratorWritten });
    else printFloor(report, alpha, [out ?? null, calibratorWritten]);
  });
}

async function runCascadeCalibration(
  directory: string,
  options: Options & { epsilon: number; deadlineMs?: number },
): Promise<void> {
  const { epsilon, seed, depth, out, json } = options;
  await measured(directory, options, { keep: depth }, async ({ queries, pipeline }) => {
    const report = calibrateCascade(queries, { epsilon, seed });
    const keep = report.chosen?.keep ?? null;
    const written = keep === null ? null : (out ?? null);
    if (written !== null) await write(written, await withKeep(options, keep as number));
    const stages = pipeline.stages.map(nameOf);
    if (json) printJson({ ...report, stages, written });
    else printCascade(report, stages, written);
  });
}

/** The pipeline that was given, or the default, as a file; what was calibrated for another depth is not in it. */
async function withKeep(
  { pipeline, deadlineMs }: PipelineArgument & { deadlineMs?: number },
  keep: number,
): Promise<Record<string, unknown>> {
  const file =
    pipeline === undefined
      ? { stages: [{ kind: 'late-interaction' }, { kind: 'cross-encoder' }] }
      : (JSON.parse(await readFile(pipeline, 'utf8')) as { stages: object[] });
  const { gate: _, floor: __, calibrator: ___, ...rest } = file as Record<string, unknown>;
  const stages = file.stages.map((stage, i) => (i === 0 ? { ...stage, keep } : stage));
  return { ...rest, stages, ...(deadlineMs === undefined ? {} : { deadlineMs }) };
}

const nameOf = (stage: PipelineStage): string =>
  stage.kind === 'reranker' ? stage.reranker.name : stage.kind;

type Measured = { engine: Engine; pipeline: Pipeline; queries: MeasuredQuery[] };

/** `keep`: how many late interaction keeps, instead of what the pipeline says. */
async function measured(
  directory: string,
  options: Options,
  { keep }: { keep?: number },
  use: (found: Measured) => Promise<void>,
): Promise<void> {
  const { corpus, depth, json } = options;
  const given = await readGiven(options);
  const pipeline = stagesOf(await readPipeline(options), keep);
  const interrupt = new Interrupt();
  const progress = new Progress({ unit: 'queries', json });
  try {
    await using engine = await Engine.open(directory, {
      mode: 'read',
      ...engineArguments(options),
      ...(corpus === undefined ? {} : { corpus }),
    });
    await engine.prepare(pipeline);
    progress.setTotal(given.queries.length);
    const queries = await measurePipeline(engine, {
      ...given,
      ...{ pipeline, depth, signal: interrupt.signal },
      onProgress: (done) => progress.update(done),
    });
    progress.end();
    if (queries.length === 0)
      throw new MaxSimError('INVALID_SOURCE', 'None of the judged queries has a candidate.');
    await use({ engine, pipeline, queries });
  } finally {
    progress.end();
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

/** Late interaction and something after it; without gate, floor and deadline, which are to be found. */
function stagesOf(given: Pipeline | undefined, keep: number | undefined): Pipeline {
  const [late, ...rest] = given?.stages ?? [lateInteraction({ keep: KEEP }), crossEncoder()];
  if (late?.kind !== 'late-interaction' || rest.length === 0) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'The pipeline must have late interaction and a stage after it.',
    );
  }
  if (keep === undefined) return bare([late, ...rest]);
  if (rest.length > 1) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `The pipeline must have one stage after late interaction, but has ${rest.length}.`,
    );
  }
  return bare([lateInteraction({ keep }), ...rest]);
}

async function readGiven({ queries, qrels, queryCount, candidatesRun }: Options): Promise<{
  queries: CollectionQuery[];
  judgements: Awaited<ReturnType<typeof readJudgements>>;
  candidates: Map<string, string[]> | null;
}> {
  const judgements = await readJudgements(qrels);
  const judged = (await readQueries(queries)).filter(({ id }) => judgements.has(id));
  if (judged.length === 0)
    throw new MaxSimError('INVALID_SOURCE', `${qrels} judges none of the queries of ${queries}.`);
  const candidates = candidatesRun === undefined ? null : await readTrecRun(candidatesRun);
  return { queries: judged.slice(0, queryCount), judgements, candidates };
}

async function write(file: string | undefined, value: unknown): Promise<void> {
  if (file === undefined) return;
  await writeFile(file, `${JSON.stringify(value, null, 2)}\n`).catch((cause: Error) => {
    throw new MaxSimError('IO_ERROR', `${file} cannot be written: ${cause.message}`, { cause });
  });
}
