/** `maxsim load`: tail latencies of a server or of an index in this process, under an open loop. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { passageText, readCorpus, readQueries } from '../evaluate/collection.js';
import { ARRIVALS, type ArrivalKind } from '../load/arrivals.js';
import { type LoadReport, type LoadStep, runLab } from '../load/lab.js';
import { engineTarget, httpTarget, type LoadRequest, type LoadTarget } from '../load/target.js';
import { workload } from '../load/workload.js';
import { Engine, MaxSimError } from '../maxsim.js';
import { integer, positiveNumber, someOf, zeroOrMore } from './arguments.js';
import { readTrecRun } from './candidates.js';
import { Interrupt } from './interrupt.js';
import { formatBytes, formatMs, paint, printJson, printLine, renderTable, warn } from './output.js';

const FORMATS = ['maxsim', 'cohere', 'tei'] as const;
type Format = (typeof FORMATS)[number];
const STAGES = ['late-interaction', 'cross-encoder'] as const;
type StageName = (typeof STAGES)[number];

/** Documents of an index that candidates are drawn from. */
const SAMPLE = 20_000;

type LoadOptions = {
  queries: string;
  candidatesRun?: string;
  candidates: number;
  zipf: number;
  stages: StageName[];
  format: Format;
  corpus?: string;
  key?: string;
  deadlineMs?: number;
  slo: number;
  utilisation: number[];
  rate?: number[];
  seconds: number;
  warmUp: number;
  repeats: number;
  arrivals: ArrivalKind;
  seed: number;
  queryCache: boolean;
  out?: string;
  json: boolean;
};

export function addLoadCommand(program: Command): void {
  program
    .command('load')
    .description('tail latencies under load: of a server, or of an index in this process')
    .argument('<target>', 'URL that takes rerank requests, or directory of an index')
    .requiredOption('--queries <file>', 'what is asked, {_id|id, text} a line')
    .option('--candidates-run <file>', 'TREC run with the candidates of each query')
    .option('--candidates <n>', 'candidates of a request', integer(1, 1000), 100)
    .option(
      '--zipf <s>',
      'the k-th query comes 1/k^s as often as the first; 0: all alike',
      zeroOrMore,
      0,
    )
    .option(
      '--stages <list>',
      `of an index, beside each other: ${STAGES.join(', ')}`,
      someOf(STAGES),
      ['late-interaction'],
    )
    .addOption(
      new Option('--format <format>', 'of requests to a URL; all but maxsim send the texts')
        .choices(FORMATS)
        .default('maxsim'),
    )
    .option('--corpus <file>', 'texts of the candidates, for formats that send them')
    .option('--key <key>', 'sent as a bearer token')
    .option('--deadline-ms <n>', 'of each request', positiveNumber)
    .option('--slo <ms>', 'what p99 may be at capacity', positiveNumber, 100)
    .option(
      '--utilisation <list>',
      'shares of the capacity',
      numbers,
      [0.3, 0.5, 0.7, 0.8, 0.9, 1.1],
    )
    .option('--rate <list>', 'requests a second, instead of shares of a capacity', numbers)
    .option('--seconds <n>', 'of a run, after it has warmed up', positiveNumber, 10)
    .option('--warm-up <n>', 'seconds that do not count', zeroOrMore, 2)
    .option('--repeats <n>', 'runs of every step', integer(1, 100), 5)
    .addOption(
      new Option('--arrivals <kind>', 'how requests come').choices(ARRIVALS).default('poisson'),
    )
    .option('--no-query-cache', 'encode every query, also those asked before')
    .option('--seed <n>', 'of arrivals and requests', integer(0, 0xffffffff), 1)
    .option('--out <dir>', 'where load.json and the histograms (.hgrm) go')
    .option('--json', 'print JSON', false)
    .action(load);
}

async function load(place: string, options: LoadOptions): Promise<void> {
  const interrupt = new Interrupt();
  const isUrl = /^https?:\/\//.test(place);
  const engine = isUrl ? null : await open(place, options);
  const targets: LoadTarget[] = [];
  try {
    const request = await requests(engine, options);
    targets.push(...(await targetsOf(place, engine, options)));
    const { report, histograms } = await runLab({
      targets,
      request,
      sloMs: options.slo,
      utilisations: options.utilisation,
      rates: options.rate,
      seconds: options.seconds,
      warmUpSeconds: options.warmUp,
      repeats: options.repeats,
      arrivals: options.arrivals,
      seed: options.seed,
      signal: interrupt.signal,
      onProbe: (target, { ratePerSecond, kept, why }) =>
        tell(options.json, { event: 'probe', target, ratePerSecond, kept, why }),
      onRun: (target, { ratePerSecond, utilisation }, repeat) =>
        tell(options.json, { event: 'run', target, ratePerSecond, utilisation, repeat }),
    });
    if (options.out !== undefined) {
      await mkdir(options.out, { recursive: true });
      await writeFile(join(options.out, 'load.json'), `${JSON.stringify(report, null, 2)}\n`);
      for (const { target, ratePerSecond, hgrm } of histograms) {
        const name = `${target.replace(/[^\w.-]+/g, '-')}-${ratePerSecond.toFixed(1)}.hgrm`;
        await writeFile(join(options.out, name), hgrm);
      }
    }
    if (options.json) printJson(report);
    else print(report);
  } finally {
    interrupt.release();
    for (const target of targets) await target.close();
    await engine?.close();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

function open(directory: string, { queryCache }: LoadOptions): Promise<Engine> {
  const cache = queryCache ? {} : { queryCacheBytes: 0 };
  return Engine.open(directory, { mode: 'read', warmUp: true, ...cache });
}

/** The candidates of a request are ids, of the index here or of the server's. */
async function requests(
  engine: Engine | null,
  { queries: file, candidatesRun, candidates: candidateCount, zipf, seed }: LoadOptions,
): Promise<(i: number) => LoadRequest> {
  const queries = await readQueries(file);
  const run = candidatesRun === undefined ? undefined : await readTrecRun(candidatesRun);
  if (engine === null && run === undefined) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'A server is asked about documents that it has: name candidates of each query with --candidates-run.',
    );
  }
  const asked = run === undefined ? queries : queries.filter(({ id }) => run.has(id));
  const ids = engine === null ? [] : engine.index.sample(SAMPLE, seed).map(({ id }) => id);
  return workload({ queries: asked, candidates: run, ids, candidateCount, zipf, seed });
}

async function targetsOf(
  place: string,
  engine: Engine | null,
  { stages, format, corpus, key, deadlineMs }: LoadOptions,
): Promise<LoadTarget[]> {
  const deadline = deadlineMs === undefined ? {} : { deadlineMs };
  if (engine !== null) {
    return stages.map((stage) => ({
      ...engineTarget(engine, { ...deadline, crossEncoder: stage === 'cross-encoder' }),
      name: stage,
    }));
  }
  if (format !== 'maxsim' && corpus === undefined) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `The format ${format} sends texts: name the corpus that has them with --corpus.`,
    );
  }
  const texts = await textsOf(corpus);
  const of = (ids: readonly string[]): string[] => ids.map((id) => texts.get(id) ?? id);
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const bodies: Record<Format, (request: LoadRequest) => unknown> = {
    maxsim: ({ query, ids }) => ({
      query,
      doc_ids: ids,
      ...(deadlineMs === undefined ? {} : { deadline_ms: deadlineMs }),
    }),
    cohere: ({ query, ids }) => ({ model: 'maxsim', query, documents: of(ids) }),
    tei: ({ query, ids }) => ({ query, texts: of(ids) }),
  };
  return [httpTarget(place, { headers, body: bodies[format] })];
}

async function textsOf(corpus: string | undefined): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  if (corpus === undefined) return texts;
  for await (const line of readCorpus(corpus)) {
    if (!line.ok) throw line.error;
    texts.set(line.value.id, passageText(line.value));
  }
  return texts;
}

function tell(json: boolean, event: Record<string, unknown>): void {
  if (json || process.stderr.isTTY !== true) process.stderr.write(`${JSON.stringify(event)}\n`);
  else {
    const { event: what, target, ratePerSecond, why } = event;
    process.stderr.write(
      `${paint.dim(`${what} ${target} at ${(ratePerSecond as number).toFixed(1)} a second${typeof why === 'string' ? `: ${why}` : ''}`)}\n`,
    );
  }
}

function print(report: LoadReport): void {
  const { machine, seconds, repeats, arrivals, sloMs } = report;
  printLine(
    `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; ${repeats} runs of ${seconds} s a step, ${arrivals} arrivals, timed from when a request was due`,
  );
  for (const { name, capacity, steps } of report.targets) {
    printLine();
    printLine(
      `${paint.bold(name)}${capacity === null ? '' : `: ${capacity.ratePerSecond.toFixed(1)} requests a second with p99 within ${sloMs} ms`}`,
    );
    printLine(table(steps));
    for (const { ratePerSecond, unstable } of steps)
      if (unstable !== null) warn(`${name} at ${ratePerSecond.toFixed(1)} a second: ${unstable}`);
  }
}

function table(steps: readonly LoadStep[]): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const titles = ['load', 'a second', 'answered', 'p50', 'p90', 'p99', 'p99.9', 'max'];
  const others = ['shed', 'failed', 'degraded', 'loop p99', 'cores', 'memory'];
  return renderTable(
    [...titles, ...others].map(right),
    steps.map((step) => {
      const { utilisation, ratePerSecond, latencyMs, runs, unstable } = step;
      const of = (percentile: keyof LoadStep['latencyMs']): string => {
        const spread = latencyMs[percentile];
        if (spread === null) return unstable === null ? '' : '-';
        return runs.length > 1
          ? `${formatMs(spread.median)} (${formatMs(spread.low)}-${formatMs(spread.high)})`
          : formatMs(spread.median);
      };
      const mean = (value: (run: (typeof runs)[number]) => number): number =>
        runs.reduce((sum, run) => sum + value(run), 0) / Math.max(1, runs.length);
      const sum = (outcome: keyof (typeof runs)[number]['outcomes']): string =>
        String(runs.reduce((total, run) => total + run.outcomes[outcome], 0));
      return [
        utilisation === null ? '' : `${Math.round(100 * utilisation)} %`,
        ratePerSecond.toFixed(1),
        mean((run) => run.answeredPerSecond).toFixed(1),
        of('p50'),
        of('p90'),
        of('p99'),
        of('p99.9'),
        formatMs(step.maxMs),
        sum('shed'),
        sum('failed'),
        sum('degraded'),
        formatMs(mean((run) => run.process.eventLoopDelayMs.p99)),
        mean((run) => run.process.cpu).toFixed(2),
        formatBytes(mean((run) => run.process.rssBytes)),
      ];
    }),
  );
}

/** "0.3,0.5" */
function numbers(value: string): number[] {
  return value.split(',').map((part) => {
    const number = Number(part);
    if (part.trim() === '' || !(number > 0) || number === Number.POSITIVE_INFINITY)
      throw new InvalidArgumentError('It must be positive numbers with commas between.');
    return number;
  });
}
