/** `maxsim rerank`: orders candidates that somebody else found, for one query or a set of them. */
import type { Command } from 'commander';
import { type Candidate, Engine } from '../maxsim.js';
import { idList, positiveNumber } from './arguments.js';
import { readCandidates, readTrecRun } from './candidates.js';
import { printResult } from './hits.js';
import { printJson } from './output.js';
import { runQuerySet } from './query-set.js';
import {
  addRankOptions,
  checkQueryOptions,
  engineOptions,
  type RankCommandOptions,
  scopeOptions,
  stageOptions,
  topKOption,
} from './search.js';

type RerankCommandOptions = RankCommandOptions & {
  ids?: string[];
  candidates?: string;
  candidatesRun?: string;
  deadlineMs?: number;
};

const TOP_K = 10;

export function addRerankCommand(program: Command): void {
  const command = program
    .command('rerank')
    .description('order candidates by late interaction, and the best by the cross-encoder')
    .argument('<dir>', 'directory of the index')
    .argument('[query]', 'what the candidates may answer')
    .option('--ids <a,b>', 'ids of stored documents, separated by commas', idList)
    .option('--candidates <file>', 'candidates, {id} stored or {id, text} a line')
    .option('--candidates-run <file>', 'a TREC run with the stored candidates of --queries')
    .option('--deadline-ms <n>', 'answer in time with the best order there is', positiveNumber);
  addRankOptions(command, `hits per query (default: ${TOP_K}, with --run all)`).action(runRerank);
}

function checkCandidateOptions(command: Command, options: RerankCommandOptions): void {
  const { ids, candidates, candidatesRun, queries } = options;
  if (queries !== undefined) {
    if (candidatesRun === undefined || ids !== undefined || candidates !== undefined) {
      command.error('error: --queries takes its candidates from --candidates-run');
    }
  } else if (candidatesRun !== undefined || (ids === undefined) === (candidates === undefined)) {
    command.error('error: a query takes its candidates from either --ids or --candidates');
  }
}

async function runRerank(
  directory: string,
  query: string | undefined,
  options: RerankCommandOptions,
  command: Command,
): Promise<void> {
  checkQueryOptions(command, query, options);
  checkCandidateOptions(command, options);
  const { ids, candidates, candidatesRun, deadlineMs, queries, run, json, explain } = options;
  const rankOptions = {
    ...(await stageOptions(options)),
    ...scopeOptions(options),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
  };
  if (query !== undefined) {
    const list: Candidate[] = ids ?? (await readCandidates(candidates as string));
    await using engine = await Engine.open(directory, engineOptions(options));
    const topK = topKOption(options, TOP_K);
    const result = await engine.rerank(query, list, { ...rankOptions, ...topK, explain });
    if (json) printJson({ query, ...result });
    else printResult(query, result);
  } else if (queries !== undefined && run !== undefined && candidatesRun !== undefined) {
    const first = await readTrecRun(candidatesRun);
    await using engine = await Engine.open(directory, engineOptions(options));
    await runQuerySet({
      queriesFile: queries,
      runFile: run,
      json,
      rank: async ({ id, text }, signal) => {
        const list = first.get(id);
        if (list === undefined) return null;
        return await engine.rerank(text, list, {
          ...rankOptions,
          ...topKOption(options, list.length),
          signal,
        });
      },
    });
  }
}
