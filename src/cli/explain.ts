/** `maxsim explain`: why documents stand where they stand for a query, stage by stage and token by token. */
import type { Command } from 'commander';
import { Engine, MaxSimError } from '../maxsim.js';
import { printResult } from './hits.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { printJson } from './output.js';
import { addPipelineOption, type PipelineArgument, readPipeline } from './pipeline-argument.js';

type ExplainOptions = ModelArguments &
  PipelineArgument & { crossEncoder: boolean; tenant?: string; corpus?: string; json: boolean };

export function addExplainCommand(program: Command): void {
  const command = program
    .command('explain')
    .description(
      'why documents stand where they stand: scores of every stage, matches of every token',
    )
    .argument('<dir>', 'directory of the index')
    .argument('<query>', 'what they may answer')
    .argument('<id...>', 'ids of stored documents')
    .option('--cross-encoder', 'what the cross-encoder says, too', false)
    .option('--tenant <name>', 'whose documents, in an index with tenants')
    .option('--corpus <name>', 'what gates, floors and calibrators know the index by')
    .option('--json', 'print JSON', false);
  addPipelineOption(command, ['crossEncoder']);
  addModelArguments(command).action(runExplain);
}

async function runExplain(
  directory: string,
  query: string,
  ids: string[],
  options: ExplainOptions,
): Promise<void> {
  const { crossEncoder, tenant, corpus, json } = options;
  const pipeline = await readPipeline(options);
  await using engine = await Engine.open(directory, {
    mode: 'read',
    ...engineArguments(options),
    ...(corpus === undefined ? {} : { corpus }),
  });
  const result = await engine.rerank(query, ids, {
    topK: ids.length,
    explain: true,
    ...(pipeline === undefined ? { crossEncoder } : { pipeline }),
    ...(tenant === undefined ? {} : { tenant }),
  });
  if (result.unknownIds.length === ids.length) {
    const named = ids.map((id) => JSON.stringify(id)).join(', ');
    throw new MaxSimError('UNKNOWN_ID', `The index holds none of ${named}.`);
  }
  if (json) printJson({ query, ...result });
  else printResult(query, result);
}
