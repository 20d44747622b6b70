/**
 * MultiVectorEncoder of sentence-transformers 6: `modules.json` names a Transformer, Dense layers, a
 * MultiVectorMask, Normalize and perhaps token pooling, each with its config; prompts carry the markers.
 * Defaults are those of the modules' constructors.
 */
import { MaxSimError, show } from '../../errors.js';
import { Config, type Module, readDense, readModules } from '../../runtime/model-files.js';
import type { Pooling } from '../recipe.js';
import { BLANK, type ExpansionSettings, type Settings } from './layout.js';

/** Modules that change no token vector. */
const IGNORED = ['Pooling', 'Dropout'];

export async function readSentenceTransformers(directory: string): Promise<Settings | null> {
  const modules = await readModules(directory);
  const config = await Config.read(directory, 'config_sentence_transformers.json');
  const multi =
    config?.string('model_type') === 'MultiVectorEncoder' ||
    modules?.some(({ name }) => name === 'MultiVectorMask') === true;
  if (!multi || modules === null) return null;
  const settings: Settings = {
    ...BLANK,
    layout: 'sentence-transformers',
    queryPrefix: config?.object('prompts')?.string('query') ?? '',
    documentPrefix: config?.object('prompts')?.string('document') ?? '',
    expansion: 'none',
    skiplist: [],
    normalise: false,
    notes: [],
  };
  for (const module of modules) await read(module, settings);
  return settings;
}

async function read(module: Module, settings: Settings): Promise<void> {
  switch (module.name) {
    case 'Transformer': {
      const config = await Config.read(module.directory, 'sentence_bert_config.json');
      const longest = config?.count('max_seq_length') ?? null;
      settings.queryLength = config?.count('query_length') ?? longest;
      settings.documentLength = config?.count('document_length') ?? longest;
      settings.lowerCase = config?.boolean('do_lower_case') ?? false;
      const expansion = config?.object('query_expansion') ?? null;
      settings.expansion = expansion === null ? 'none' : expansionOf(expansion);
      return;
    }
    case 'Dense': {
      settings.dense = [...settings.dense, await readDense(module.directory)];
      return;
    }
    case 'MultiVectorMask': {
      const config = await Config.read(module.directory, 'config.json');
      settings.skiplist = config?.strings('skiplist_words') ?? [];
      settings.skiplistTasks = config?.strings('skiplist_tasks') ?? ['document'];
      const only = config?.ids('keep_only_token_ids') ?? [];
      // An empty list restricts nothing.
      settings.keepOnlyIds = only.length === 0 ? null : only;
      return;
    }
    case 'Normalize':
      settings.normalise = true;
      return;
    case 'HierarchicalTokenPooling': {
      const config = await Config.read(module.directory, 'config.json');
      settings.pooling = config === null ? null : poolingOf(config);
      return;
    }
    default:
      if (IGNORED.includes(module.name)) return;
      throw new MaxSimError(
        'INVALID_MODEL',
        `${module.directory}: modules of the kind ${module.type} are not supported.`,
      );
  }
}

function expansionOf(config: Config): ExpansionSettings {
  const strategy = config.string('strategy');
  const length = config.count('length');
  if ((strategy !== 'fixed' && strategy !== 'min') || length === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${config.file} must have a length and the strategy "fixed" or "min", but has ${show(length)} and ${show(strategy)}.`,
    );
  }
  return {
    strategy,
    length,
    attend: config.boolean('attend') ?? false,
    token: config.string('token'),
  };
}

function poolingOf(config: Config): Pooling | null {
  const factor = config.number('pool_factor') ?? 1;
  const tasks = config.strings('tasks') ?? ['document'];
  if (tasks.includes('query')) {
    throw new MaxSimError('INVALID_MODEL', `${config.file}: pooling of queries is not supported.`);
  }
  if (factor <= 1) return null;
  return {
    factor,
    protectedTokens: config.number('num_protected_tokens') ?? 1,
    // Saved before there was the setting: not normalised.
    normalise: config.boolean('normalize_embeddings') ?? false,
  };
}
