/**
 * How a late-interaction model wants its texts: markers, lengths, expansion, skiplist. Read from the
 * model folder in PyLate's layout (config_sentence_transformers.json) or next-plaid's
 * (onnx_config.json); a wrong value here costs points of nDCG without any error, so nothing is guessed.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { locateModel, sha256 } from '../runtime/catalog.js';
import { readJson, TextTokenizer } from '../runtime/tokenizer.js';

export type Recipe = {
  model: string;
  /** Token ids of the markers put right after [CLS]; null for models without. */
  queryMarkerId: number | null;
  documentMarkerId: number | null;
  /** Longest sequence in token ids, [CLS], marker and [SEP] included. */
  queryLength: number;
  documentLength: number;
  /** Fill queries up to queryLength with [MASK]; those vectors are scored like any other. */
  queryExpansion: boolean;
  /** Whether the model may look at the [MASK]s while it encodes the others. */
  attendToExpansion: boolean;
  /** Document tokens whose vectors are not stored (punctuation). */
  skiplistIds: number[];
  dim: number;
  modelSha256: string;
  tokenizerSha256: string;
};

export type LoadedRecipe = { recipe: Recipe; directory: string; fingerprint: string };

type Config = Record<string, unknown>;

/** Resolves a model by name or path. Throws MODEL_NOT_FOUND or INVALID_MODEL. */
export async function loadRecipe(nameOrPath: string): Promise<LoadedRecipe> {
  const { name, directory } = locateModel(nameOrPath, 'late-interaction');
  const [pylate, nextPlaid] = await Promise.all(
    ['config_sentence_transformers.json', 'onnx_config.json'].map((file) =>
      readOptional(join(directory, file)),
    ),
  );
  if (pylate === undefined && nextPlaid === undefined) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${directory} has neither config_sentence_transformers.json nor onnx_config.json, so its markers and lengths are unknown.`,
    );
  }
  // PyLate's file is what the model was trained with; an exporter's onnx_config.json adds the dim.
  const config: Config = { ...nextPlaid, ...pylate };
  const tokenizer = await TextTokenizer.open(directory);
  const field = <T>(key: string, accepts: (value: unknown) => value is T): T => {
    const value = config[key];
    if (!accepts(value)) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${directory}: ${key} is ${JSON.stringify(value)} in the model's configuration, which is not usable.`,
      );
    }
    return value;
  };
  const marker = (key: string): number | null => {
    const prefix = field(key, isString);
    if (prefix === '') return null;
    const id = tokenizer.id(prefix) ?? tokenizer.id(prefix.trim());
    if (id === undefined) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${directory}: the marker ${JSON.stringify(prefix)} is not in the vocabulary.`,
      );
    }
    return id;
  };
  const skiplistIds = field('skiplist_words', isStrings).map((word) => {
    const id = tokenizer.id(word);
    if (id === undefined)
      throw new MaxSimError(
        'INVALID_MODEL',
        `${directory}: the skiplist word ${JSON.stringify(word)} is not in the vocabulary.`,
      );
    return id;
  });
  const recipe: Recipe = {
    model: name,
    queryMarkerId: marker('query_prefix'),
    documentMarkerId: marker('document_prefix'),
    queryLength: field('query_length', isLength),
    documentLength: field('document_length', isLength),
    queryExpansion: field('do_query_expansion', isBoolean),
    attendToExpansion: field('attend_to_expansion_tokens', isBoolean),
    skiplistIds,
    dim: field('embedding_dim', isDim),
    modelSha256: await sha256(join(directory, 'model.onnx')),
    tokenizerSha256: await sha256(join(directory, 'tokenizer.json')),
  };
  return { recipe, directory, fingerprint: fingerprintOf(recipe) };
}

/** Equal exactly when two recipes give the same vectors for every text; the model's name is not part. */
export function fingerprintOf(recipe: Recipe): string {
  const { model: _, ...parts } = recipe;
  const canonical = JSON.stringify(Object.entries(parts).sort(([a], [b]) => (a < b ? -1 : 1)));
  return createHash('sha256').update(canonical).digest('hex').slice(0, 32);
}

async function readOptional(file: string): Promise<Config | undefined> {
  if (!existsSync(file)) return undefined;
  const value = await readJson(file);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new MaxSimError('INVALID_MODEL', `${file} must hold a JSON object.`);
  }
  return value as Config;
}

const isString = (value: unknown): value is string => typeof value === 'string';
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isStrings = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every(isString);
// 4: [CLS], marker, one token, [SEP].
const isLength = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 4 && (value as number) <= 8192;
const isDim = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 8 && (value as number) <= 1024;
