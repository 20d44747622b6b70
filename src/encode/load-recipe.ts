/**
 * From a model folder to its recipe: which layout it has, what was said by hand, what the graph itself
 * gives, and whether all of that goes together.
 */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { catalogEntry, locateModel, sha256 } from '../runtime/catalog.js';
import { type Choice, readChoice } from '../runtime/choice.js';
import { DEFAULT_GRAPHS } from '../runtime/graph-forms.js';
import type { DenseSpec } from '../runtime/head-graph.js';
import { Config } from '../runtime/model-files.js';
import { describeGraph, type GraphDescription } from '../runtime/onnx-file.js';
import { positionsOf } from '../runtime/positions.js';
import { probeWidth } from '../runtime/probe.js';
import type { GraphSpec } from '../runtime/session.js';
import { TextTokenizer } from '../runtime/tokenizer.js';
import { BLANK, type Settings } from './layouts/layout.js';
import { readOnnxConfig } from './layouts/onnx-config.js';
import { readPylate } from './layouts/pylate.js';
import { readSentenceTransformers } from './layouts/sentence-transformers.js';
import { readStanford } from './layouts/stanford.js';
import { checkModelOptions, type GivenOptions, type ModelOptions } from './model-options.js';
import { type Expansion, fingerprintOf, type Pooling, type Recipe } from './recipe.js';

export type LoadedRecipe = {
  recipe: Recipe;
  directory: string;
  fingerprint: string;
  graph: GraphSpec;
  /** What `maxsim models check` measured fastest here, where that is what was loaded. */
  choice: Choice | null;
};

/** Of a text encoder: the states of its tokens, under the names that exporters give them. */
const OUTPUTS = ['token_embeddings', 'output', 'last_hidden_state'];

/** Of a sequence that nothing else limits. */
const LONGEST = 8192;

/** Tokens of a document window that the next one repeats, as a share of its length. */
const WINDOW_OVERLAP = 0.25;

/** Layouts that are read as PyLate reads them. */
const PYLATE: ReadonlySet<string> = new Set(['pylate', 'stanford']);

/** Token ids that a sequence has at least. */
const SHORTEST = 4;

/** Throws INVALID_ARGUMENT, MODEL_NOT_FOUND, INVALID_MODEL. */
export async function loadRecipe(model: string | ModelOptions): Promise<LoadedRecipe> {
  const { model: asked, given, allowNonCommercial } = checkModelOptions(model);
  const { name, directory } = locateModel(asked, 'late-interaction', { allowNonCommercial });
  const measured = await readChoice(directory);
  // Who names another file knows better, as an index does that was made with it.
  const choice = (given.file ?? measured?.file) === measured?.file ? measured : null;
  const file = graphFile(directory, given.file ?? choice?.file);
  const path = join(directory, file);
  const [settings, graph, limit, modelSha256, tokenizerSha256] = await Promise.all([
    readSettings(directory, given),
    describeGraph(path),
    longestSequences(directory),
    sha256(path),
    sha256(join(directory, 'tokenizer.json')),
  ]);
  const notes = [...settings.notes];
  const markers = [
    given.queryPrefix ?? settings.queryPrefix,
    given.documentPrefix ?? settings.documentPrefix,
  ];
  const isNew = settings.layout === 'sentence-transformers';
  const lowers = given.lowerCase ?? settings.lowerCase;
  const lowerCase = lowers && (isNew ? 'normaliser' : 'text');
  const specialTokens = given.specialTokens ?? 'plain';
  // As written, since prompts and skiplists name special tokens.
  const tokenizer = await TextTokenizer.open(directory, { specialTokens: 'as-written', lowerCase });
  const [query, document] = markers.map((prefix) =>
    markerOf(prefix ?? '', tokenizer, settings.layout, directory),
  ) as [Marker, Marker];
  const output = await outputOf(graph, path);
  const projection = outsideOf(output.width, settings.dense, path);
  const width = projection.at(-1)?.outFeatures ?? output.width;
  if (settings.dim !== null && settings.dim !== width) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${path} gives ${width} values a token, but the model's vectors have ${settings.dim}${projection.length === 0 ? ': the layer between, linear.weight of model.safetensors or a Dense folder, is missing' : ''}.`,
    );
  }
  const dim = given.dim ?? width;
  if (dim > width) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `The vectors of ${name} have ${width} values, so ${dim} cannot be kept of them.`,
    );
  }
  const trained = catalogEntry(name)?.dims;
  if (dim < width && trained?.includes(dim) !== true)
    notes.push(`cut to ${dim} of ${width} dims, for which this model is not known to be trained`);
  const lengths = lengthsOf(settings, given, limit, directory);
  const expansion = expansionOf(settings, given, lengths.query, tokenizer);
  const skiplistIds = skiplistOf(given.skiplist ?? settings.skiplist ?? [], tokenizer, {
    // PyLate takes the unknown token for words that are none, and so skips all that is unknown.
    unknown:
      given.skiplist === undefined && PYLATE.has(settings.layout) ? tokenizer.special.unk : null,
    notes,
  });
  const windowOverlap = given.windowOverlap ?? Math.floor(lengths.document * WINDOW_OVERLAP);
  const room = lengths.document - (document.id === null ? 2 : 3);
  if (given.longDocuments === 'split' && windowOverlap >= room) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `model.windowOverlap must be below ${room}, the tokens of text in a window, but ${windowOverlap} was given.`,
    );
  }
  const recipe: Recipe = {
    model: name,
    layout: settings.layout,
    file,
    options: given,
    notes,
    queryPrompt: query.rest + settings.queryPrompt,
    documentPrompt: document.rest + settings.documentPrompt,
    queryMarkerId: query.id,
    documentMarkerId: document.id,
    queryLength: expansion?.strategy === 'fixed' ? expansion.length : lengths.query,
    documentLength: lengths.document,
    queryExpansion: expansion !== null,
    attendToExpansion: expansion !== null && (given.attendToExpansion ?? attends(settings)),
    expansion,
    skiplistIds: settings.skiplistTasks.includes('document') ? skiplistIds : [],
    querySkiplistIds: settings.skiplistTasks.includes('query') ? skiplistIds : [],
    keepOnlyIds: settings.keepOnlyIds,
    lowerCase: !tokenizer.lowersByItself && lowerCase,
    trim: !isNew && settings.layout !== 'by-hand' && tokenizer.style !== 'wordpiece',
    specialTokens,
    projection: await Promise.all(
      projection.map(async ({ file: weights, ...layer }) => ({
        ...layer,
        sha256: await sha256(existing(weights)),
      })),
    ),
    normalise: given.normalise ?? settings.normalise,
    dim,
    pooling: poolingOf(settings.pooling, given.poolFactor),
    longDocuments: given.longDocuments === 'split' ? { windowOverlap } : 'truncate',
    modelSha256: await withExternalData(modelSha256, directory, file, graph),
    tokenizerSha256,
  };
  return {
    recipe,
    directory,
    fingerprint: fingerprintOf(recipe),
    graph: {
      file: path,
      sha256: recipe.modelSha256,
      output: output.name,
      head: projection,
      width,
      optimisation: choice?.optimisation ?? 'all',
      threads: 1,
    },
    choice,
  };
}

/**
 * What a model was trained with says more than what an exporter made of it: Stanford's, PyLate's and
 * sentence-transformers' files come before onnx_config.json. A folder without any is told by hand.
 */
async function readSettings(directory: string, given: GivenOptions): Promise<Settings> {
  const said = await settingsOf(directory);
  if (said !== null) return said;
  if (given.queryLength === undefined || given.documentLength === undefined) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${directory} has neither config_sentence_transformers.json of a late-interaction model nor artifact.metadata nor onnx_config.json, so its markers and lengths are unknown: give queryLength and documentLength, and queryPrefix, documentPrefix, queryExpansion and skiplist where the model has them.`,
    );
  }
  return { ...BLANK, layout: 'by-hand', expansion: 'none', notes: [] };
}

/** Null where the folder says nothing of how its model reads texts. */
export async function settingsOf(directory: string): Promise<Settings | null> {
  const exported = await readOnnxConfig(directory);
  const found =
    (await readSentenceTransformers(directory)) ??
    (await readPylate(directory)) ??
    (await readStanford(directory));
  return found === null ? exported : { ...found, dim: found.dim ?? exported?.dim ?? null };
}

/** Throws INVALID_MODEL where a file of weights is not there. */
function existing(weights: string): string {
  if (existsSync(weights)) return weights;
  throw new MaxSimError(
    'INVALID_MODEL',
    `${weights} is missing, but the graph ends before that layer. pytorch_model.bin is not read: save the weights as safetensors.`,
  );
}

function graphFile(directory: string, asked: string | undefined): string {
  const candidates = asked === undefined ? DEFAULT_GRAPHS : [asked];
  const file = candidates.find((candidate) => existsSync(join(directory, candidate)));
  if (file !== undefined) return file;
  throw new MaxSimError(
    'INVALID_MODEL',
    `${directory} must hold ${candidates.join(' or ')}, but does not${asked === undefined ? '; the option file names another' : ''}.`,
  );
}

type Limits = {
  /** By config.json: longer sequences have no position. */
  positions: number | null;
  /** model_max_length of the tokenizer: what a text is cut to where nothing else says so. */
  tokenizer: number | null;
};

async function longestSequences(directory: string): Promise<Limits> {
  const tokenizer = await Config.read(directory, 'tokenizer_config.json');
  const length = tokenizer?.number('model_max_length') ?? null;
  // Tokenizers without a limit write a number of thirty digits.
  const isLimit = length !== null && Number.isSafeInteger(length) && length >= 4;
  return {
    positions: await positionsOf(directory),
    tokenizer: isLimit ? length : null,
  };
}

type Marker = { id: number | null; rest: string };

/** A prefix that is one token of the vocabulary is put in as that token; any other is text. */
function markerOf(
  prefix: string,
  tokenizer: TextTokenizer,
  layout: Settings['layout'],
  directory: string,
): Marker {
  if (prefix === '') return { id: null, rest: '' };
  // sentence-transformers puts any text before the text; where that begins with a token, that is a marker.
  if (layout === 'sentence-transformers' || layout === 'by-hand')
    return tokenizer.leadingToken(prefix, layout === 'by-hand') ?? { id: null, rest: prefix };
  // The others insert one token.
  const id = tokenizer.id(prefix) ?? tokenizer.id(prefix.trim());
  if (id !== undefined) return { id, rest: '' };
  throw new MaxSimError(
    'INVALID_MODEL',
    `${directory}: the marker ${JSON.stringify(prefix)} is not in the vocabulary.`,
  );
}

async function outputOf(
  graph: GraphDescription,
  path: string,
): Promise<{ name: string; width: number }> {
  const wanted = OUTPUTS.map((name) => graph.outputs.find((output) => output.name === name));
  const output = wanted.find((found) => found !== undefined) ?? graph.outputs[0];
  if (output?.dims.length === 3)
    return { name: output.name, width: output.dims[2] ?? (await probeWidth(path, output.name)) };
  throw new MaxSimError(
    'INVALID_MODEL',
    `${path} must give token vectors [batch, tokens, width], but gives ${graph.outputs.map(({ name, dims }) => `${name} [${dims.map((dim) => dim ?? '?').join(', ')}]`).join(', ')}.`,
  );
}

/**
 * The Dense layers that are not in the graph. Exporters put all of them in or none: if the graph's width
 * is what the first one takes, they are outside; if it is what the last one gives, inside.
 */
function outsideOf(width: number, dense: readonly DenseSpec[], path: string): readonly DenseSpec[] {
  const [first] = dense;
  if (first === undefined) return [];
  dense.forEach((layer, i) => {
    const before = dense[i - 1];
    if (before === undefined || before.outFeatures === layer.inFeatures) return;
    throw new MaxSimError(
      'INVALID_MODEL',
      `${layer.file}: a dense layer takes ${layer.inFeatures} values, but the one before gives ${before.outFeatures}.`,
    );
  });
  const last = dense.at(-1)?.outFeatures;
  // Where both are the same, one more projection would be wrong half the time: ask.
  if (width === first.inFeatures && width !== last) return dense;
  if (width === last && width !== first.inFeatures) return [];
  throw new MaxSimError(
    'INVALID_MODEL',
    width === last
      ? `${path} gives ${width} values a token, which the dense layers both take and give: whether they are inside cannot be told.`
      : `${path} gives ${width} values a token, but the dense layers take ${first.inFeatures} and give ${last}.`,
  );
}

function lengthsOf(
  settings: Settings,
  given: GivenOptions,
  { positions: limit, tokenizer }: Limits,
  directory: string,
): { query: number; document: number } {
  const otherwise = Math.min(tokenizer ?? LONGEST, limit ?? LONGEST, LONGEST);
  const length = (kind: 'query' | 'document'): number => {
    const key = `${kind}Length` as const;
    const value = given[key] ?? settings[key] ?? otherwise;
    if (value < SHORTEST) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${directory}: ${key} is ${value}, but a sequence takes ${SHORTEST} tokens: the first, a marker, one of text, the last.`,
      );
    }
    if (limit === null || value <= limit) return value;
    if (given[key] === undefined && settings.layout === 'sentence-transformers') return limit;
    throw new MaxSimError(
      given[key] === undefined ? 'INVALID_MODEL' : 'INVALID_ARGUMENT',
      `${directory}: ${key} is ${value}, but the model has positions for ${limit} tokens.`,
    );
  };
  return { query: length('query'), document: length('document') };
}

function expansionOf(
  settings: Settings,
  given: GivenOptions,
  queryLength: number,
  tokenizer: TextTokenizer,
): Expansion | null {
  const said = settings.expansion;
  const wanted = given.queryExpansion ?? (said !== null && said !== 'none');
  if (!wanted) return null;
  const { strategy, length, token } =
    said === null || said === 'none'
      ? { strategy: 'fixed' as const, length: null, token: null }
      : said;
  const tokenId = token === null ? tokenizer.special.mask : (tokenizer.id(token) ?? null);
  if (tokenId === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${tokenizer.path} has no ${token ?? 'mask token'} to expand queries with; queryExpansion: false does without.`,
    );
  }
  if (strategy === 'fixed') {
    return { strategy, length: given.queryLength ?? length ?? queryLength, tokenId };
  }
  // Here the length is the least a query has, and queryLength the most.
  if (length !== null && length > queryLength) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `queryLength is ${queryLength}, but this model expands queries to ${length} tokens at least.`,
    );
  }
  return { strategy, length: length ?? queryLength, tokenId };
}

function attends({ expansion }: Settings): boolean {
  return expansion !== null && expansion !== 'none' && expansion.attend;
}

/** `unknown` stands for words that are no single token; null leaves them out. */
function skiplistOf(
  words: readonly string[],
  tokenizer: TextTokenizer,
  { unknown, notes }: { unknown: number | null; notes: string[] },
): number[] {
  const missing = words.filter((word) => tokenizer.id(word) === undefined);
  if (missing.length > 0) {
    notes.push(
      `skiplist words that are no tokens ${unknown === null ? 'are left out' : 'stand for the unknown token, as in PyLate'}: ${missing.join(' ')}`,
    );
  }
  const ids = words.map((word) => tokenizer.id(word) ?? unknown);
  return [...new Set(ids.filter((id) => id !== null))];
}

function poolingOf(said: Pooling | null, factor: number | undefined): Pooling | null {
  if (factor === undefined) return said;
  return factor <= 1 ? null : { factor, protectedTokens: 1, normalise: false };
}

/** Weights in files of their own count like those in the graph's. */
async function withExternalData(
  digest: string,
  directory: string,
  file: string,
  graph: GraphDescription,
): Promise<string> {
  const others = [...graph.externalData].sort();
  if (others.length === 0) return digest;
  const folder = join(directory, file, '..');
  const digests = await Promise.all(others.map((other) => sha256(join(folder, basename(other)))));
  return [digest, ...digests].join('+');
}
