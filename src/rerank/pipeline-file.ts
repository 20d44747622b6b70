/**
 * A pipeline as JSON, for configuration: what `cascade` and its stages take, by the same names. Keys of
 * services are not in it; they come from the environment. docs/pipeline.schema.json says it for editors.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { checkArray, checkOneOf, checkString } from '../check.js';
import { MaxSimError } from '../errors.js';
import { checkObject } from './calibration.js';
import {
  type CascadeOptions,
  type CrossEncoderStageOptions,
  cascade,
  crossEncoder,
  lateInteraction,
  type Pipeline,
  type PipelineStage,
  type RerankerStageOptions,
  reranker,
  type StageOptions,
} from './pipeline.js';
import { LlmReranker, type LlmRerankerOptions } from './remote/llm-reranker.js';
import { RemoteReranker, type RemoteRerankerOptions } from './remote/remote-reranker.js';

const KINDS = ['late-interaction', 'cross-encoder', 'service', 'llm'] as const;

/** What is a secret, or no JSON. */
const NEVER = ['apiKey', 'headers'] as const;

/** Of the stage; what else a service or a chat model takes is its own. */
const STAGE_OPTIONS = ['keep', 'budgetMs', 'fuse', 'topK', 'resilience'] as const;

/**
 * Of parsed JSON, gates, floors and calibrators included. Throws INVALID_ARGUMENT, and
 * UNSUPPORTED_FORMAT for a calibration of another version.
 *
 * @example
 * pipelineFrom({ stages: [{ kind: 'late-interaction', keep: 20 }, { kind: 'cross-encoder', topK: 5 }] })
 */
export function pipelineFrom(value: unknown): Pipeline {
  // Editors find the schema by it.
  const { stages, $schema: _, ...options } = checkObject('pipeline', value);
  const list = checkArray('pipeline.stages', stages).map(stageFrom);
  return cascade(list, options as CascadeOptions);
}

/**
 * Of a file, in which gate, floor and calibrator may be names of files beside it. Throws INVALID_SOURCE
 * for what cannot be read or is not JSON, else as `pipelineFrom`; the file is named.
 */
export async function loadPipeline(file: string): Promise<Pipeline> {
  const value = await readJson(file);
  try {
    const given = checkObject('pipeline', value);
    const read = (one: unknown): Promise<unknown> =>
      typeof one === 'string' ? readJson(resolve(dirname(file), one)) : Promise.resolve(one);
    const readAll = (some: unknown): Promise<unknown> =>
      Array.isArray(some) ? Promise.all(some.map(read)) : read(some);
    const loaded: Record<string, unknown> = { ...given };
    for (const key of ['gate', 'floor', 'calibrator'])
      if (key in loaded) loaded[key] = await readAll(loaded[key]);
    return pipelineFrom(loaded);
  } catch (error) {
    if (!(error instanceof MaxSimError) || error.code === 'INVALID_SOURCE') throw error;
    throw new MaxSimError(error.code, `${file}: ${error.message}`, {
      cause: error,
      details: { ...error.details, file },
    });
  }
}

function stageFrom(value: unknown, i: number): PipelineStage {
  const name = `stages[${i}]`;
  const { kind, ...options } = checkObject(name, value);
  const secret = NEVER.find((key) => key in options);
  if (secret !== undefined) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `${name} must not hold ${secret}: keys come from the environment.`,
    );
  }
  try {
    checkOneOf('kind', checkString('kind', kind), KINDS);
    if (kind === 'late-interaction') return lateInteraction(options as StageOptions);
    if (kind === 'cross-encoder') return crossEncoder(options as CrossEncoderStageOptions);
    const [ofStage, own] = split(options);
    return kind === 'service'
      ? reranker(new RemoteReranker(own as RemoteRerankerOptions), ofStage)
      : reranker(new LlmReranker(own as LlmRerankerOptions), ofStage);
  } catch (error) {
    if (!(error instanceof MaxSimError)) throw error;
    throw new MaxSimError(error.code, `${name}: ${error.message}`, { cause: error });
  }
}

function split(options: Record<string, unknown>): [RerankerStageOptions, Record<string, unknown>] {
  const ofStage: Record<string, unknown> = {};
  const own: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options))
    ((STAGE_OPTIONS as readonly string[]).includes(key) ? ofStage : own)[key] = value;
  return [ofStage, own];
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new MaxSimError('INVALID_SOURCE', `${file} cannot be read: ${(cause as Error).message}`, {
      cause,
      details: { file },
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MaxSimError('INVALID_SOURCE', `${file} is not JSON: ${(cause as Error).message}`, {
      cause,
      details: { file },
    });
  }
}
