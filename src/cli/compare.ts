/** `maxsim compare`: does reranking help on this data, which, how deep, and what does it cost? */
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { compareSystems } from '../evaluate/comparison/compare.js';
import { FIRST_STAGES, parseSystems, RERANKERS } from '../evaluate/comparison/systems.js';
import { openCollection, type TestCollection } from '../evaluate/open-collection.js';
import { drawSome, seededRandom } from '../random.js';
import { integer, positiveNumber } from './arguments.js';
import { printComparison } from './compare-report.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { paintError, printJson, warn } from './output.js';
import { Progress } from './progress.js';

type CompareCommandOptions = ModelArguments & {
  systems: string;
  over?: string;
  depth?: number[];
  out: string;
  cache?: string;
  split?: string;
  corpus?: string;
  skipBadDocuments: boolean;
  queryCount?: number;
  keep: number;
  margin: number;
  slice?: string;
  crossEncoder: string;
  seed: number;
  json: boolean;
};

const DEPTHS = [10, 50, 100];
const MAX_DEPTH = 10_000;

export function addCompareCommand(program: Command): void {
  const command = program
    .command('compare')
    .description('compare first stages and rerankers on judged queries, with intervals and tests')
    .argument('<data>', 'folder (BEIR, TREC, MS MARCO), .csv of queries and ids, .tsv of triples')
    .requiredOption('--out <dir>', 'folder for report.json, the TREC runs and the cache')
    .option(
      '--systems <list>',
      `some of ${[...FIRST_STAGES, ...RERANKERS].join(', ')}, and paths of TREC runs; a reranker may name its first stage: colbert:hybrid`,
      'bm25,colbert,cross-encoder',
    )
    .option('--over <system>', 'first stage of rerankers that name none (default: the first one)')
    .option('--depth <list>', 'how many candidates rerankers read (default: 10,50,100)', depths)
    .option('--split <name>', 'which judgements (default: test)')
    .option('--corpus <file>', 'documents of data that has none: corpus.jsonl or collection.tsv')
    .option('--skip-bad-documents', 'leave out bad lines of corpus.jsonl, naming them', false)
    .option('--query-count <n>', 'queries, drawn by the seed (default: all)', integer(1, 1e9))
    .option(
      '--keep <n>',
      "how many of late interaction's best a cascade reads",
      integer(1, 1000),
      20,
    )
    .option('--margin <loss>', 'nDCG@10 that may be lost without mattering', positiveNumber, 0.01)
    .option('--slice <field>', 'field of the queries’ metadata that divides them (default: mode)')
    .option('--cross-encoder <name>', 'catalog name or folder of the cross-encoder', 'default')
    .option('--cache <dir>', 'where vectors and scores are kept (default: cache in --out)')
    .option('--seed <n>', 'of tests, intervals and drawn queries', integer(0, 2 ** 32 - 1), 0)
    .option('--json', 'print the report as JSON', false);
  addModelArguments(command).action(runCompare);
}

/** "10,50,100", rising. */
function depths(value: string): number[] {
  const numbers = value.split(',').map((part) => Number(part));
  const isDepth = (depth: number): boolean =>
    Number.isInteger(depth) && depth >= 1 && depth <= MAX_DEPTH;
  if (!numbers.every(isDepth) || value.trim() === '') {
    throw new InvalidArgumentError(`It must be whole numbers from 1 to ${MAX_DEPTH}, with commas.`);
  }
  return [...new Set(numbers)].sort((a, b) => a - b);
}

async function runCompare(data: string, options: CompareCommandOptions): Promise<void> {
  const systems = parseSystems(options.systems, options.over);
  const out = resolve(options.out);
  const { split, corpus, seed, json } = options;
  const interrupt = new Interrupt();
  const phases = new Phases(json);
  try {
    const all = await openCollection(data, {
      split,
      corpus,
      onBadDocument: options.skipBadDocuments ? ({ message }) => warn(message) : undefined,
    });
    const collection = someQueries(all, options.queryCount, seed);
    const report = await compareSystems(collection, {
      systems,
      depths: options.depth ?? DEPTHS,
      keep: options.keep,
      cache: options.cache === undefined ? join(out, 'cache') : resolve(options.cache),
      engine: engineArguments(options),
      crossEncoder: options.crossEncoder,
      signal: interrupt.signal,
      onProgress: (phase, unit, done, total) => phases.update(phase, unit, done, total),
      out,
      margin: options.margin,
      seed,
      onNoPage: ({ message }) => warn(message),
      slice: options.slice ?? (hasField(collection, 'mode') ? 'mode' : null),
    });
    phases.end();
    if (json) printJson(report);
    else printComparison(report, options.out);
  } finally {
    phases.end();
    interrupt.release();
    if (interrupt.exitCode !== null) {
      process.exitCode = interrupt.exitCode;
      if (!json)
        process.stderr.write('what was computed is kept; the same command goes on from it\n');
    }
  }
}

function someQueries(
  collection: TestCollection,
  count: number | undefined,
  seed: number,
): TestCollection {
  if (count === undefined || count >= collection.queries.length) return collection;
  const drawn = new Set(drawSome(collection.queries, count, seededRandom(seed)));
  return { ...collection, queries: collection.queries.filter((query) => drawn.has(query)) };
}

function hasField({ queries }: TestCollection, field: string): boolean {
  return queries.some(
    ({ metadata }) => typeof metadata === 'object' && metadata !== null && field in metadata,
  );
}

/** One bar after the other, each with its name and its own time left. */
class Phases {
  private phase: string | null = null;
  private bar: Progress | null = null;

  constructor(private readonly json: boolean) {}

  update(phase: string, unit: string, done: number, total: number): void {
    if (phase !== this.phase) {
      this.end();
      this.phase = phase;
      if (!this.json && process.stderr.isTTY === true) {
        process.stderr.write(`${paintError.dim(phase)}\n`);
      }
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
