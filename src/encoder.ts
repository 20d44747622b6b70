/**
 * Which encoder texts go to: the one given, a model read as it was asked for, or the model that an index
 * was made with, read as it was then.
 */
import { basename } from 'node:path';
import { checkInteger, checkOptions } from './check.js';
import { ModelEncoder } from './encode/encoder.js';
import type { ModelOptions } from './encode/model-options.js';
import { OwnEncoder } from './encode/own-encoder.js';
import { MaxSimError } from './errors.js';
import { readManifest } from './index/manifest.js';
import { checkRuntime, WorkerPool } from './runtime/pool.js';
import type { Runtime } from './runtime/session.js';
import type { Encoder } from './types.js';

export type Model = string | ModelOptions | Encoder;

export type EncoderOptions = {
  /**
   * Model threads, each with the model in memory. Default: as `maxsim models check` has measured on this
   * machine, else one per core, at most 8.
   */
  threads?: number;
  /** Cores that one run of a model uses. Default: as measured, else 1, which serves most. */
  threadsPerRun?: number;
  /**
   * Tokens of text that may wait for a model thread; calls beyond are refused with OVERLOADED. Default:
   * 1,000,000, some minutes of work for a core.
   */
  maxQueuedTokens?: number;
  /**
   * What runs the models. 'native': the native encoder, INVALID_MODEL where it cannot. 'onnx':
   * onnxruntime. 'auto': the native encoder where the graph has int8 weights that it takes as they are,
   * and the CPU has VNNI; else onnxruntime. Default: the environment's MAXSIM_RUNTIME, else 'auto'.
   */
  runtime?: Runtime;
};

const ENCODER_OPTIONS = ['threads', 'threadsPerRun', 'maxQueuedTokens', 'runtime'] as const;

/** An encoder with threads of its own, which `close` stops. */
export type OpenedEncoder = ModelEncoder & AsyncDisposable;

/**
 * A model without an index, for vectors that go elsewhere. Throws INVALID_ARGUMENT, MODEL_NOT_FOUND,
 * INVALID_MODEL.
 *
 * @example
 * await using encoder = await openEncoder({ model: 'default', dim: 64 })
 * const [{ vectors }] = await encoder.encodeQueries(['who approves travel?'])
 */
export async function openEncoder(
  model: string | ModelOptions = 'default',
  options?: EncoderOptions,
): Promise<OpenedEncoder> {
  const checked = checkOptions<EncoderOptions>('options', options, ENCODER_OPTIONS);
  const pool = newPool(checked);
  try {
    const encoder = await opened(model, pool, checked);
    return Object.assign(encoder, {
      close: () => pool.close(),
      [Symbol.asyncDispose]: () => pool.close(),
    });
  } catch (error) {
    await pool.close();
    throw error;
  }
}

/** Throws INVALID_ARGUMENT. */
export function newPool(options: EncoderOptions): WorkerPool {
  const { threads, threadsPerRun, maxQueuedTokens, runtime } = options;
  if (threads !== undefined) checkInteger('threads', threads, 1, 256);
  if (threadsPerRun !== undefined) checkInteger('threadsPerRun', threadsPerRun, 1, 256);
  if (maxQueuedTokens !== undefined)
    checkInteger('maxQueuedTokens', maxQueuedTokens, 1, Number.MAX_SAFE_INTEGER);
  if (runtime !== undefined) checkRuntime('runtime', runtime);
  const entry = new URL('./worker.js', import.meta.url);
  return new WorkerPool(entry, { threads, threadsPerRun, maxQueuedTokens, runtime });
}

/** A model on the threads of a pool, as many as it was measured to be fastest with. */
async function opened(
  model: string | ModelOptions,
  pool: WorkerPool,
  { threads, threadsPerRun }: EncoderOptions,
): Promise<ModelEncoder> {
  const encoder = await ModelEncoder.open(model, pool);
  const { choice } = encoder;
  if (threads === undefined && threadsPerRun === undefined && choice !== null)
    pool.resize(choice.workers, choice.intraThreads);
  return encoder;
}

/** The encoder of an engine: see EngineOptions.model. */
export async function encoderFor(
  directory: string,
  model: Model | undefined,
  pool: WorkerPool,
  { allowNonCommercial, ...options }: EncoderOptions & { allowNonCommercial: boolean },
): Promise<Encoder> {
  const licence = allowNonCommercial ? { allowNonCommercial } : {};
  const open = (asked: ModelOptions): Promise<ModelEncoder> =>
    opened({ ...licence, ...asked }, pool, options);
  if (isOwn(model)) return new OwnEncoder(model);
  const stored = await recipeOf(directory);
  const given: ModelOptions =
    typeof model === 'object' ? model : model === undefined ? {} : { model };
  if (stored === null) return await open(given);
  if (given.model !== undefined) {
    const same = basename(given.model) === basename(stored.model);
    return await open(same ? { ...stored.options, ...given } : given);
  }
  try {
    return await open({ ...stored.options, ...given, model: stored.model });
  } catch (cause) {
    if (!(cause instanceof MaxSimError) || cause.code !== 'MODEL_NOT_FOUND') throw cause;
    throw new MaxSimError(
      'MODEL_NOT_FOUND',
      `The index was made with the model "${stored.model}", which is not here: ${cause.message} Name its folder as the model.`,
      { cause },
    );
  }
}

/** Whatever is neither a name nor options is refused as an encoder that is none. */
function isOwn(model: Model | undefined): model is Encoder {
  if (model === undefined || typeof model === 'string') return false;
  return (
    typeof model !== 'object' ||
    model === null ||
    'encodeQueries' in model ||
    ('dim' in model && 'fingerprint' in model)
  );
}

type StoredRecipe = { model: string; options: Partial<ModelOptions> };

/** What the encoder of an index says of itself; null where that is no model folder's. */
async function recipeOf(directory: string): Promise<StoredRecipe | null> {
  const manifest = await readManifest(directory).catch((error: unknown) => {
    // Whoever opens the index says what is wrong with it.
    if (error instanceof MaxSimError) return null;
    throw error;
  });
  const recipe = manifest?.encoder?.recipe;
  const model = recipe?.['model'];
  if (recipe === undefined || typeof model !== 'string' || !('modelSha256' in recipe)) return null;
  const { options, file } = recipe;
  return {
    model,
    options: {
      // Recipes did not say so once: texts were read as written, and there was one graph.
      ...('specialTokens' in recipe ? {} : { specialTokens: 'as-written' as const }),
      file: typeof file === 'string' ? file : 'model.onnx',
      ...(typeof options === 'object' && options !== null ? options : {}),
    },
  };
}
