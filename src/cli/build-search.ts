/** What makes searches fast, on the command line: `compact --search` and `index --search`. */
import { readQueries } from '../evaluate/collection.js';
import {
  type BuildSearchOptions,
  type BuiltSearch,
  Engine,
  Index,
  MaxSimError,
} from '../maxsim.js';
import { engineArguments, type ModelArguments } from './model-arguments.js';
import { formatCount } from './output.js';
import { Progress } from './progress.js';

export type BuildCommandOptions = ModelArguments & {
  retrain?: boolean;
  centroids?: number;
  seed?: number;
  lists?: boolean;
  queries?: string;
};

/** An index to write to, with the engine that encodes its queries; null for vectors of the caller. */
export type Opened = { index: Index; engine: Engine | null } & AsyncDisposable;

/** Queries need a model; without any an index of the caller's own vectors will do. */
export async function openToBuild(
  directory: string,
  options: BuildCommandOptions,
): Promise<Opened> {
  try {
    const engine = await Engine.open(directory, engineArguments(options));
    return { index: engine.index, engine, [Symbol.asyncDispose]: () => engine.close() };
  } catch (error) {
    const other = error instanceof MaxSimError && error.code === 'MODEL_MISMATCH';
    const { model, queries } = options;
    if (!other || model !== undefined || queries !== undefined) throw error;
    const index = await Index.open(directory, { create: false });
    return { index, engine: null, [Symbol.asyncDispose]: () => index.close() };
  }
}

export async function buildSearch(
  { index, engine }: Pick<Opened, 'index' | 'engine'>,
  { retrain, centroids, seed, lists, queries: file }: BuildCommandOptions,
  { json, signal }: { json: boolean; signal: AbortSignal },
): Promise<BuiltSearch> {
  const texts = file === undefined ? undefined : (await readQueries(file)).map(({ text }) => text);
  if (texts?.length === 0) throw new MaxSimError('INVALID_SOURCE', `${file} holds no queries.`);
  const bar = new Progress({ unit: '% of this step', json });
  bar.setTotal(100);
  const options: Omit<BuildSearchOptions, 'queries' | 'queryDocuments'> = {
    signal,
    onProgress: (share) => bar.update(Math.round(100 * share)),
    ...(retrain === undefined ? {} : { retrain }),
    ...(centroids === undefined ? {} : { centroids }),
    ...(seed === undefined ? {} : { seed }),
    ...(lists === undefined ? {} : { lists }),
  };
  try {
    if (engine === null) return await index.buildSearch(options);
    return await engine.buildSearch({
      ...options,
      ...(texts === undefined ? {} : { queries: texts }),
    });
  } finally {
    bar.end();
  }
}

/** After indexing: without it searches are exact and slower, so what is too small for it is no failure. */
export async function prepareSearch(
  engine: Engine,
  { json, signal, say }: { json: boolean; signal: AbortSignal; say: (line: string) => void },
): Promise<void> {
  try {
    const built = await buildSearch({ index: engine.index, engine }, {}, { json, signal });
    say(describeBuilt(built));
  } catch (error) {
    if (!(error instanceof MaxSimError)) throw error;
    if (error.code === 'ABORTED' && signal.aborted) return;
    if (error.code !== 'INVALID_ARGUMENT') throw error;
    say(`${error.message} Searches score every document.`);
  }
}

/** "4,096 centroids, mean cosine 0.871; depths measured with 128 queries". */
export function describeBuilt({ centroids, cosine, queries }: BuiltSearch): string {
  const measured =
    queries === 0 ? 'depths not measured' : `depths measured with ${formatCount(queries)} queries`;
  return `${formatCount(centroids)} centroids, mean cosine ${cosine.toFixed(3)}; ${measured}`;
}
