/** How long a sequence a model has positions for. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJson } from './tokenizer.js';

/** Families that count positions from the padding's id on, as fairseq did. */
const AFTER_PADDING = /roberta|camembert|mpnet|longformer|xmod/;

/**
 * Token ids by max_position_embeddings of config.json, special tokens included; null where that does
 * not say a whole number.
 */
export async function positionsOf(directory: string): Promise<number | null> {
  const file = join(directory, 'config.json');
  if (!existsSync(file)) return null;
  const config = ((await readJson(file)) ?? {}) as Record<string, unknown>;
  const positions = config['max_position_embeddings'];
  if (!Number.isSafeInteger(positions) || (positions as number) < 1) return null;
  if (!AFTER_PADDING.test(String(config['model_type']))) return positions as number;
  const padding = config['pad_token_id'];
  return (positions as number) - 1 - (typeof padding === 'number' ? padding : 1);
}
