/** Opens the engine that an index was made for. */
import { Engine, type EngineOptions, Index, MaxSimError } from '../maxsim.js';

/**
 * Without `model` the default is tried first: opening verifies every byte, which should happen once.
 * An index of another model names it, and is opened with that.
 */
export async function openEngine(directory: string, options: EngineOptions): Promise<Engine> {
  try {
    return await Engine.open(directory, options);
  } catch (error) {
    const other = error instanceof MaxSimError && error.code === 'MODEL_MISMATCH';
    if (!other || options.model !== undefined) throw error;
    const model = await modelOf(directory);
    if (model === null) throw error;
    try {
      return await Engine.open(directory, { ...options, model });
    } catch (cause) {
      if (!(cause instanceof MaxSimError) || cause.code !== 'MODEL_NOT_FOUND') throw cause;
      throw new MaxSimError(
        'MODEL_NOT_FOUND',
        `The index was made with the model "${model}", which is not here: ${cause.message} Name its folder with --model.`,
        { cause },
      );
    }
  }
}

async function modelOf(directory: string): Promise<string | null> {
  await using index = await Index.open(directory, { mode: 'read' });
  const model = index.encoder?.recipe['model'];
  return typeof model === 'string' ? model : null;
}
