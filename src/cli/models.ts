/** `maxsim models`: which models there are, how each is read, and how to get them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadRecipe } from '../encode/load-recipe.js';
import type { Recipe } from '../encode/recipe.js';
import { MaxSimError } from '../errors.js';
import {
  type CatalogEntry,
  catalogEntries,
  catalogEntry,
  isModelFolder,
  type ModelKind,
  nearestNames,
  PULLED_FILE,
  placesOf,
  resolveName,
} from '../runtime/catalog.js';
import { TextTokenizer } from '../runtime/tokenizer.js';
import { Interrupt } from './interrupt.js';
import { modelOption } from './model-arguments.js';
import { addModelsCheckCommand } from './models-check.js';
import { addModelsConvertCommand } from './models-convert.js';
import {
  formatBytes,
  formatCount,
  paint,
  printJson,
  printLine,
  renderFacts,
  renderTable,
} from './output.js';
import { Progress } from './progress.js';

const KINDS: readonly ModelKind[] = ['late-interaction', 'cross-encoder', 'dense'];

export function addModelsCommand(program: Command): void {
  const models = program
    .command('models')
    .description('the models there are: list, show, pull, check, convert');
  models
    .command('list')
    .description('the catalog: what is here, and what can be fetched')
    .option('--kind <kind>', `one of ${KINDS.join(', ')}`)
    .option('--json', 'print JSON', false)
    .action(listModels);
  models
    .command('show')
    .description('what is known of a model, and how it is read: markers, lengths, expansion …')
    .argument('<name>', 'catalog name, hub id or folder')
    .option('--model-option <name=value>', 'as for index, to see what it changes', modelOption)
    .option('--json', 'print JSON', false)
    .action(showModel);
  models
    .command('pull')
    .description('fetch a model from the Hugging Face hub into the cache')
    .argument('<name>', 'catalog name, or organisation/name')
    .option('--revision <revision>', 'branch, tag or commit')
    .option('--file <path>', 'which ONNX graph (default: model.onnx or onnx/model.onnx)')
    .option('--allow-non-commercial', 'take weights whose licence forbids commercial use', false)
    .option('--json', 'print JSON', false)
    .action(pull);
  addModelsCheckCommand(models);
  addModelsConvertCommand(models);
}

/** Where a model is; null: not here. */
function folderOf(name: string, entry: CatalogEntry | undefined): string | null {
  return placesOf(name, entry).find(isModelFolder) ?? null;
}

function listModels({ kind, json }: { kind?: string; json: boolean }): void {
  if (kind !== undefined && !KINDS.some((known) => known === kind)) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `--kind must be one of ${KINDS.join(', ')}, but "${kind}" was given.`,
    );
  }
  const rows = catalogEntries()
    .filter((entry) => kind === undefined || entry.kind === kind)
    .map((entry) => ({ ...entry, directory: folderOf(entry.name, entry) }));
  if (json) {
    printJson(rows);
    return;
  }
  printLine(
    renderTable(
      [
        { title: 'name' },
        { title: 'kind' },
        { title: 'dims', align: 'right' },
        { title: 'parameters', align: 'right' },
        { title: 'licence' },
        { title: 'published' },
        { title: 'here' },
      ],
      rows.map((entry) => [
        entry.name,
        entry.kind,
        entry.dims?.join(', ') ?? '',
        millions(entry.parameters),
        entry.nonCommercial ? paint.yellow(entry.license) : entry.license,
        shortQuality(entry),
        entry.directory === null
          ? ''
          : entry.id === null
            ? `in the package, ${formatBytes(sizeOf(entry))}`
            : entry.directory,
      ]),
    ),
  );
  printLine('');
  printLine('"maxsim models show <name>" says more, "maxsim models pull <name>" fetches.');
}

function sizeOf({ files }: CatalogEntry): number {
  return Object.values(files).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The first published figure; of its measure what comes before a comma outside brackets. */
function shortQuality({ quality: [first] }: CatalogEntry): string {
  if (first === undefined) return '';
  return `${first.measure.replace(/, (?![^(]*\)).*/, '')} ${first.value.toFixed(3)}`;
}

async function showModel(
  name: string,
  { modelOption: options = {}, json }: { modelOption?: Record<string, unknown>; json: boolean },
): Promise<void> {
  const resolved = resolveName(name, 'late-interaction');
  const entry = catalogEntry(resolved);
  const directory = folderOf(resolved, entry);
  if (entry === undefined && directory === null) {
    const near = nearestNames(name);
    throw new MaxSimError(
      'MODEL_NOT_FOUND',
      `There is no model "${name}" in the catalog or here (searched ${placesOf(resolved, entry).join(', ')}).${near.length > 0 ? ` Did you mean ${near.join(', ')}?` : ''}`,
    );
  }
  const isLate = directory !== null && (entry === undefined || entry.kind === 'late-interaction');
  const loaded = isLate
    ? await loadRecipe({ ...options, model: resolved, allowNonCommercial: true })
    : null;
  const pulled = directory !== null && existsSync(join(directory, PULLED_FILE));
  if (json) {
    printJson({
      name: resolved,
      directory,
      pulled,
      catalog: entry ?? null,
      recipe: loaded?.recipe ?? null,
      fingerprint: loaded?.fingerprint ?? null,
    });
    return;
  }
  const facts: [string, string][] = [['model', paint.bold(resolved)]];
  if (entry !== undefined) facts.push(...catalogFacts(entry));
  facts.push(['folder', directory ?? `not here: maxsim models pull ${resolved}`]);
  printLine(renderFacts(facts));
  if (loaded === null) return;
  const tokenizer = await TextTokenizer.open(loaded.directory);
  printLine('');
  const { recipe, fingerprint } = loaded;
  printLine(renderFacts([...recipeFacts(recipe, tokenizer), ['fingerprint', fingerprint]]));
  for (const note of recipe.notes) printLine(`${paint.yellow('note')}  ${note}`);
}

function catalogFacts(entry: CatalogEntry): [string, string][] {
  const facts: [string, string][] = [
    ['kind', entry.kind],
    ['licence', entry.nonCommercial ? `${entry.license} (no commercial use)` : entry.license],
    ['languages', entry.languages.join(', ')],
    ['parameters', millions(entry.parameters)],
  ];
  if (entry.dims !== undefined) facts.push(['dims', entry.dims.join(', ')]);
  if (entry.maxLength !== undefined) facts.push(['max length', `${entry.maxLength} tokens`]);
  for (const { measure, value, source } of entry.quality)
    facts.push(['published', `${measure} ${value} (${source})`]);
  facts.push(['source', entry.source]);
  if (entry.revision !== null) facts.push(['revision', entry.revision]);
  if (entry.graphs.length > 0) facts.push(['known graphs', entry.graphs.join(', ')]);
  if (entry.note !== undefined) facts.push(['note', entry.note]);
  return facts;
}

function recipeFacts(recipe: Recipe, tokenizer: TextTokenizer): [string, string][] {
  const marker = (id: number | null, prompt: string): string => {
    const token = id === null ? '' : `${JSON.stringify(tokenizer.token(id))} (id ${id})`;
    const text = prompt === '' ? '' : `${JSON.stringify(prompt)} as text`;
    return [token, text].filter((part) => part !== '').join(', then ') || 'none';
  };
  const { expansion, pooling, longDocuments, projection } = recipe;
  return [
    ['layout', recipe.layout],
    ['graph', recipe.file],
    ['dim', String(recipe.dim)],
    ['query marker', marker(recipe.queryMarkerId, recipe.queryPrompt)],
    ['document marker', marker(recipe.documentMarkerId, recipe.documentPrompt)],
    ['query length', `${recipe.queryLength} tokens`],
    ['document length', `${recipe.documentLength} tokens`],
    [
      'expansion',
      expansion === null
        ? 'none: a query has as many vectors as tokens'
        : `${tokenizer.token(expansion.tokenId)} up to ${expansion.length} tokens (${expansion.strategy})${recipe.attendToExpansion ? ', attended to' : ''}`,
    ],
    [
      'skiplist',
      recipe.skiplistIds.length === 0
        ? 'none'
        : `${formatCount(recipe.skiplistIds.length)} tokens of documents: ${recipe.skiplistIds
            .slice(0, 40)
            .map((id) => tokenizer.token(id))
            .join(' ')}`,
    ],
    [
      'layers',
      projection.length === 0
        ? 'all in the graph'
        : `after the graph: ${projection.map((layer) => `${layer.inFeatures} to ${layer.outFeatures}${layer.activation === 'Identity' ? '' : ` ${layer.activation}`}${layer.bias ? ', bias' : ''}${layer.residual ? ', residual' : ''}`).join('; ')}`,
    ],
    ['unit length', recipe.normalise ? 'yes' : 'as the graph gives them'],
    ['lower case', recipe.lowerCase === false ? "as the tokenizer's" : 'by maxsim'],
    ['special text', recipe.specialTokens === 'plain' ? 'is plain text' : 'as written'],
    ['pooling', pooling === null ? 'none' : `one vector of about ${pooling.factor}`],
    [
      'long documents',
      longDocuments === 'truncate'
        ? 'are cut'
        : `become windows that share ${longDocuments.windowOverlap} tokens`,
    ],
  ];
}

type PullArguments = {
  revision?: string;
  file?: string;
  allowNonCommercial: boolean;
  json: boolean;
};

async function pull(name: string, { json, ...options }: PullArguments): Promise<void> {
  // The hub's library takes longer to load than most commands to run.
  const { pullModel } = await import('../runtime/hub.js');
  const interrupt = new Interrupt();
  const progress = new Progress({ unit: 'bytes', json });
  try {
    const pulled = await pullModel(name, {
      ...options,
      signal: interrupt.signal,
      onProgress: ({ doneBytes, totalBytes }) => {
        progress.setTotal(totalBytes);
        progress.update(doneBytes);
      },
    });
    progress.end();
    if (json) {
      printJson(pulled);
      return;
    }
    const bytes = Object.values(pulled.files).reduce((sum, file) => sum + file.sizeBytes, 0);
    printLine(
      renderFacts([
        ['model', `${paint.bold(pulled.id)} at ${pulled.commit}`],
        ['licence', pulled.license ?? 'not said'],
        ['files', `${formatCount(Object.keys(pulled.files).length)}, ${formatBytes(bytes)}`],
        [
          'loaded',
          pulled.loadedBytes === 0 ? 'nothing: all was here' : formatBytes(pulled.loadedBytes),
        ],
        ['folder', pulled.directory],
      ]),
    );
  } finally {
    progress.end();
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

function millions(parameters: number): string {
  return `${(parameters / 1e6).toFixed(parameters < 1e7 ? 1 : 0)} M`;
}
