/** `--pipeline file`: for every command that ranks. */
import { type Command, Option } from 'commander';
import { loadPipeline, type Pipeline } from '../maxsim.js';

export type PipelineArgument = { pipeline?: string };

export function addPipelineOption(command: Command, conflicts: string[]): Command {
  const what = 'what the ranking goes through, a JSON file (docs/rerank.md)';
  return command.addOption(new Option('--pipeline <file>', what).conflicts(conflicts));
}

export async function readPipeline({ pipeline }: PipelineArgument): Promise<Pipeline | undefined> {
  return pipeline === undefined ? undefined : await loadPipeline(pipeline);
}
