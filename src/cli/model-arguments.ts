/** What a command line says of the model: for every command that encodes texts. */
import { type Command, InvalidArgumentError } from 'commander';
import type { EngineOptions, ModelOptions } from '../maxsim.js';
import { integer } from './arguments.js';

export type ModelArguments = {
  model?: string;
  modelOption?: Record<string, unknown>;
  allowNonCommercial?: boolean;
  threads?: number;
};

export function addModelArguments(command: Command): Command {
  return command
    .option('--model <name>', 'model: catalog name or folder (default: the one of the index)')
    .option(
      '--model-option <name=value>',
      'how the model is read: dim=64, longDocuments=split, poolFactor=2 …, once per option (default: as the index was made)',
      modelOption,
    )
    .option('--allow-non-commercial', 'take weights whose licence forbids commercial use')
    .option('--threads <n>', 'model threads (default: one per core, at most 8)', integer(1, 256));
}

/** For Engine.open: nothing where nothing was said, so that the index decides. */
export function engineArguments({
  model,
  modelOption,
  allowNonCommercial,
  threads,
}: ModelArguments): Pick<EngineOptions, 'model' | 'threads' | 'allowNonCommercial'> {
  const options: ModelOptions = {
    ...(model === undefined ? {} : { model }),
    ...modelOption,
  };
  return {
    ...(Object.keys(options).length === 0 ? {} : { model: options }),
    ...(allowNonCommercial === true ? { allowNonCommercial } : {}),
    ...(threads === undefined ? {} : { threads }),
  };
}

/** "dim=64", as often as there are options; values are JSON, or else text. */
export function modelOption(
  value: string,
  previous: Record<string, unknown> = {},
): Record<string, unknown> {
  const equals = value.indexOf('=');
  const name = value.slice(0, Math.max(0, equals));
  if (name === '' || name === 'model')
    throw new InvalidArgumentError('It must be the name of an option, "=" and its value.');
  const text = value.slice(equals + 1);
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Text.
  }
  return { ...previous, [name]: parsed };
}
