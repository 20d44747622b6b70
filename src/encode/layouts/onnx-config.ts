/**
 * Graphs exported for next-plaid (lightonai/next-plaid): `onnx_config.json` beside a graph that has the
 * Dense layers and the L2 norm inside. Defaults are those of its reader.
 */
import { Config } from '../../runtime/model-files.js';
import { BLANK, type Settings } from './layout.js';

export async function readOnnxConfig(directory: string): Promise<Settings | null> {
  const config = await Config.read(directory, 'onnx_config.json');
  if (config === null) return null;
  const queryPrefix = config.string('query_prefix');
  const notes: string[] = [];
  const said = config.boolean('do_query_expansion');
  let expand = said ?? true;
  // The exporter loads every model without expansion and writes that down, whatever the model was
  // trained with. Models of the BERT era were: as many vectors as the query length, those of [MASK] among
  // them; those of the ModernBERT era were not.
  if (said === false && isBertEra(config, queryPrefix)) {
    expand = true;
    notes.push(
      'do_query_expansion is false in onnx_config.json, where the exporter always writes that; this model has the body or the markers of those that were trained with expansion, so it is on (queryExpansion: false turns it off)',
    );
  }
  return {
    ...BLANK,
    layout: 'onnx-config',
    queryPrefix: queryPrefix ?? '[Q] ',
    documentPrefix: config.string('document_prefix') ?? '[D] ',
    queryLength: config.count('query_length') ?? 48,
    documentLength: config.count('document_length') ?? 300,
    expansion: expand
      ? {
          strategy: 'fixed',
          length: null,
          attend: config.boolean('attend_to_expansion_tokens') ?? false,
          token: null,
        }
      : 'none',
    skiplist: config.strings('skiplist_words') ?? [],
    lowerCase: config.boolean('do_lower_case') ?? false,
    dim: config.count('embedding_dim'),
    notes,
  };
}

/** A BERT, or the reserved entries of BERT's vocabulary for markers. */
function isBertEra(config: Config, queryPrefix: string | null): boolean {
  const isBert = /^(Distil)?Bert/i.test(config.string('model_class') ?? '');
  return isBert || /^\[unused\d+\]/.test(queryPrefix ?? '');
}
