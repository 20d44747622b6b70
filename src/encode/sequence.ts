/**
 * A text as the token ids its model was trained on:
 *   document  [CLS] marker tokens… [SEP], cut to documentLength; skiplist tokens are encoded, not kept
 *   query     [CLS] marker tokens… [SEP], cut to queryLength; with expansion [MASK] up to queryLength
 */
import type { TextTokenizer } from '../runtime/tokenizer.js';
import type { Recipe } from './recipe.js';

export type TextKind = 'query' | 'document';

export type Sequence = {
  ids: number[];
  /** How many of `ids` the model may look at: all, but for expansion [MASK]s. */
  attended: number;
  /** Positions in `ids` whose vectors are kept, in order. */
  kept: number[];
  /** Tokens of the text that did not fit. */
  truncatedTokens: number;
};

export function toSequence(
  text: string,
  kind: TextKind,
  recipe: Recipe,
  tokenizer: TextTokenizer,
): Sequence {
  const { cls, sep, mask } = tokenizer.special;
  const marker = kind === 'query' ? recipe.queryMarkerId : recipe.documentMarkerId;
  const length = kind === 'query' ? recipe.queryLength : recipe.documentLength;
  const head = marker === null ? [cls] : [cls, marker];
  const pieces = tokenizer.encode(text);
  const room = length - head.length - 1;
  const truncatedTokens = Math.max(0, pieces.length - room);
  if (truncatedTokens > 0) pieces.length = room;
  const ids = [...head, ...pieces, sep];
  let attended = ids.length;
  if (kind === 'query' && recipe.queryExpansion) {
    while (ids.length < length) ids.push(mask);
    if (recipe.attendToExpansion) attended = ids.length;
  }
  const skip = kind === 'document' ? new Set(recipe.skiplistIds) : undefined;
  const kept: number[] = [];
  for (let i = 0; i < ids.length; i++) if (!skip?.has(ids[i] as number)) kept.push(i);
  return { ids, attended, kept, truncatedTokens };
}
