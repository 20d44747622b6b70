/** `maxsim search`: the best documents of a whole index, for one query or a set of them. */
import { type Command, Option } from 'commander';
import {
  Engine,
  type EngineOptions,
  type Filter,
  type SearchMethod,
  type SearchOptions,
} from '../maxsim.js';
import { filterJson, integer, recall } from './arguments.js';
import { printResult } from './hits.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { printJson } from './output.js';
import { addPipelineOption, type PipelineArgument, readPipeline } from './pipeline-argument.js';
import { runQuerySet } from './query-set.js';

/** What `search` and `rerank` have in common. */
export type RankCommandOptions = ModelArguments &
  PipelineArgument & {
    corpus?: string;
    topK?: number;
    crossEncoder: boolean;
    keep: number;
    explain: boolean;
    queries?: string;
    run?: string;
    filter?: Filter;
    tenant?: string;
    json: boolean;
  };

export type SearchCommandOptions = RankCommandOptions & {
  recall?: number;
  depth?: number;
  exact: boolean;
  method?: SearchMethod | 'auto';
};

const METHODS = ['auto', 'exhaustive', 'scan', 'lists'] as const;
const TOP_K = 10;
/** What a run of a whole set holds per query, deep enough for recall and for reranking. */
const RUN_TOP_K = 100;

export function addSearchCommand(program: Command): void {
  const command = program
    .command('search')
    .description('find the best documents of an index')
    .argument('<dir>', 'directory of the index')
    .argument('[query]', 'what to look for');
  addRankOptions(command, `hits per query (default: ${TOP_K}, with --run ${RUN_TOP_K})`)
    .option('--recall <share>', 'of the best documents that is found (default: 0.99)', recall)
    .option('--exact', 'find what an exhaustive search finds, proven', false)
    .addOption(
      new Option('--depth <n>', 'how many candidates to score, whatever that finds')
        .argParser(integer(1, 0xffffffff))
        .conflicts('recall'),
    )
    .addOption(new Option('--method <method>', 'how to search (default: auto)').choices(METHODS))
    .action(runSearch);
}

export function addRankOptions(command: Command, topK: string): Command {
  command
    .option('--top-k <n>', topK, integer(1, 100_000))
    .option('--cross-encoder', 'let the cross-encoder reorder the best', false)
    .option('--keep <n>', 'how many of the best the cross-encoder reads', integer(1, 1000), 20)
    .option('--explain', 'show which document token answered each query token', false)
    .option('--filter <json>', 'only documents whose fields match', filterJson)
    .option('--tenant <name>', 'whose documents, in an index with tenants')
    .option('--queries <file>', 'a set of queries, {_id|id, text} a line; needs --run')
    .option('--run <file>', 'where to write the TREC run of --queries')
    .option('--corpus <name>', 'what gates, floors and calibrators know the index by')
    .option('--json', 'print JSON', false);
  addPipelineOption(command, ['crossEncoder']);
  return addModelArguments(command);
}

/** One query, or a set with a place for its run: anything else is a usage error. */
export function checkQueryOptions(
  command: Command,
  query: string | undefined,
  { queries, run, explain }: RankCommandOptions,
): void {
  const usage = (message: string): never => command.error(`error: ${message}`);
  if (query === undefined && queries === undefined) usage('give a query, or --queries and --run');
  if (query !== undefined && queries !== undefined) {
    usage('give a query or --queries, not both');
  }
  if ((queries === undefined) !== (run === undefined)) usage('--queries and --run go together');
  if (explain && run !== undefined) usage('--explain is for a single query');
}

export function engineOptions(options: RankCommandOptions): EngineOptions {
  const { corpus } = options;
  const named = corpus === undefined ? {} : { corpus };
  return { mode: 'read', ...engineArguments(options), ...named };
}

/** What limits the documents that are looked at. */
export function scopeOptions({ filter, tenant }: RankCommandOptions) {
  return {
    ...(filter === undefined ? {} : { filter }),
    ...(tenant === undefined ? {} : { tenant }),
  };
}

function methodOptions({ recall, depth, exact, method }: SearchCommandOptions) {
  return {
    exact,
    ...(recall === undefined ? {} : { recall }),
    ...(depth === undefined ? {} : { depth }),
    ...(method === undefined ? {} : { method }),
  };
}

/** What the ranking goes through. */
export async function stageOptions(
  options: RankCommandOptions,
): Promise<Pick<SearchOptions, 'pipeline' | 'crossEncoder'>> {
  const pipeline = await readPipeline(options);
  if (pipeline !== undefined) return { pipeline };
  return { crossEncoder: options.crossEncoder ? { keep: options.keep } : false };
}

/** How many hits are asked for, where neither the command line nor its pipeline says. */
export function topKOption(
  { topK, pipeline, run }: RankCommandOptions,
  otherwise: number,
): { topK?: number } {
  if (topK !== undefined) return { topK };
  // A run of a whole set is deep, whatever a service would answer.
  return pipeline !== undefined && run === undefined ? {} : { topK: otherwise };
}

async function runSearch(
  directory: string,
  query: string | undefined,
  options: SearchCommandOptions,
  command: Command,
): Promise<void> {
  checkQueryOptions(command, query, options);
  const { queries, run, json, explain } = options;
  const stages = await stageOptions(options);
  await using engine = await Engine.open(directory, engineOptions(options));
  if (query !== undefined) {
    const result = await engine.search(query, {
      ...topKOption(options, TOP_K),
      ...stages,
      explain,
      ...scopeOptions(options),
      ...methodOptions(options),
    });
    if (json) printJson({ query, ...result });
    else printResult(query, result, explain);
  } else if (queries !== undefined && run !== undefined) {
    await runQuerySet({
      queriesFile: queries,
      runFile: run,
      json,
      rank: ({ text }, signal) =>
        engine.search(text, {
          ...topKOption(options, RUN_TOP_K),
          ...stages,
          signal,
          ...scopeOptions(options),
          ...methodOptions(options),
        }),
    });
  }
}
