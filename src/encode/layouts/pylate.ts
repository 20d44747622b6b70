/**
 * Models saved by PyLate (lightonai/pylate): `config_sentence_transformers.json` with its own keys,
 * `modules.json` and Dense folders. Defaults are those of pylate/models/colbert.py.
 */
import { Config, readDense, readModules } from '../../runtime/model-files.js';
import { BLANK, PUNCTUATION, type Settings } from './layout.js';

const KEYS = [
  'query_prefix',
  'document_prefix',
  'query_length',
  'document_length',
  'do_query_expansion',
  'attend_to_expansion_tokens',
  'skiplist_words',
];

/** The kinds of Dense that PyLate keeps; all others of sentence-transformers it leaves out. */
const DENSE = 'Dense';

export async function readPylate(directory: string): Promise<Settings | null> {
  const config = await Config.read(directory, 'config_sentence_transformers.json');
  if (config === null) return null;
  if (config.string('model_type') !== 'ColBERT' && !KEYS.some((key) => config.has(key)))
    return null;
  const modules = await readModules(directory);
  const dense = [];
  for (const module of modules ?? [])
    if (module.name === DENSE) dense.push(await readDense(module.directory));
  const transformer = await Config.read(directory, 'sentence_bert_config.json');
  // What an exporter wrote says more than a default, but for do_query_expansion: always false there.
  const exported = await Config.read(directory, 'onnx_config.json');
  const notes: string[] = [];
  const expand = config.boolean('do_query_expansion');
  if (expand === null) notes.push('do_query_expansion is absent, which PyLate takes as true');
  // PyLate itself wants prompts named at every call; sentence-transformers, which loads the same folders,
  // puts them where they belong: after the marker.
  const prompts = config.object('prompts');
  const prefix = (key: string): string | null =>
    config.string(key) ?? exported?.string(key) ?? null;
  const queryPrefix = prefix('query_prefix') ?? '[Q] ';
  const documentPrefix = prefix('document_prefix') ?? '[D] ';
  // A prompt may have been saved with the marker in front.
  const prompt = (name: string, prefix: string): string => {
    const said = prompts?.string(name) ?? '';
    return said.startsWith(prefix) ? said.slice(prefix.length) : said;
  };
  return {
    ...BLANK,
    layout: 'pylate',
    queryPrefix,
    documentPrefix,
    queryPrompt: prompt('query', queryPrefix),
    documentPrompt: prompt('document', documentPrefix),
    queryLength: config.count('query_length') ?? exported?.count('query_length') ?? 32,
    documentLength: config.count('document_length') ?? exported?.count('document_length') ?? 180,
    expansion:
      expand === false
        ? 'none'
        : {
            strategy: 'fixed',
            length: null,
            attend: config.boolean('attend_to_expansion_tokens') ?? false,
            token: null,
          },
    skiplist:
      config.strings('skiplist_words') ?? exported?.strings('skiplist_words') ?? PUNCTUATION,
    lowerCase: transformer?.boolean('do_lower_case') ?? false,
    dense,
    notes,
  };
}
