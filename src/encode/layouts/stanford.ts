/**
 * Checkpoints of stanford-futuredata/ColBERT: `artifact.metadata`, or at least the architecture HF_ColBERT
 * in config.json, and `linear.weight` among the weights.
 * Queries are always expanded, the markers are [unused0] and [unused1], punctuation is not stored, and
 * the vocabulary is BERT's, as in colbert/infra/config/settings.py.
 */
import { Config } from '../../runtime/model-files.js';
import { BLANK, PUNCTUATION, readLinear, type Settings } from './layout.js';

export async function readStanford(directory: string): Promise<Settings | null> {
  const config = await Config.read(directory, 'artifact.metadata');
  const architectures = (await Config.read(directory, 'config.json'))?.strings('architectures');
  if (config === null && architectures?.includes('HF_ColBERT') !== true) return null;
  const linear = await readLinear(directory);
  return {
    ...BLANK,
    layout: 'stanford',
    queryPrefix: config?.string('query_token_id') ?? '[unused0]',
    documentPrefix: config?.string('doc_token_id') ?? '[unused1]',
    queryLength: config?.count('query_maxlen') ?? 32,
    documentLength: config?.count('doc_maxlen') ?? 180,
    expansion: {
      strategy: 'fixed',
      length: null,
      attend: config?.boolean('attend_to_mask_tokens') ?? false,
      token: null,
    },
    skiplist: (config?.boolean('mask_punctuation') ?? true) ? PUNCTUATION : [],
    dense: linear === null ? [] : [linear],
    dim: config?.count('dim') ?? null,
    notes: [],
  };
}
