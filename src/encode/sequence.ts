/**
 * A text as the token ids its model was trained on:
 *   document  [CLS] marker tokens… [SEP], cut to documentLength, or several windows of it; tokens of the
 *             skiplist are encoded, not kept
 *   query     [CLS] marker tokens… [SEP], cut to queryLength; with expansion [MASK] up to its length
 */
import type { Pieces, TextTokenizer } from '../runtime/tokenizer.js';
import type { Recipe } from './recipe.js';

export type TextKind = 'query' | 'document';

export type Sequence = {
  ids: number[];
  /** How many of `ids` the model may look at: all, but for expansion [MASK]s. */
  attended: number;
  /** Positions in `ids` whose vectors are kept, in order. */
  kept: number[];
  /** Position in `ids` of the first token of the text, and its number within the text. */
  first: number;
  firstToken: number;
};

export type TextSequences = {
  /** One, or the windows of a long document. */
  sequences: Sequence[];
  /** Tokens of the text that did not fit. */
  truncatedTokens: number;
};

/** An index holds so many vectors of a document at most; windows beyond are truncated. */
const MAX_VECTORS = 65_535;

export function toSequences(
  { ids: pieces, total }: Pieces,
  kind: TextKind,
  recipe: Recipe,
  tokenizer: TextTokenizer,
): TextSequences {
  const marker = kind === 'query' ? recipe.queryMarkerId : recipe.documentMarkerId;
  const { cls, sep } = tokenizer.special;
  const head = marker === null ? [cls] : [cls, marker];
  const tail = sep === null ? [] : [sep];
  const length = kind === 'query' ? recipe.queryLength : recipe.documentLength;
  const room = length - head.length - tail.length;
  const { longDocuments } = recipe;
  const split = kind === 'document' && longDocuments !== 'truncate' && pieces.length > room;
  const stride = split ? room - longDocuments.windowOverlap : room;
  const mostWindows = split ? Math.floor(MAX_VECTORS / length) : 1;
  const sequences: Sequence[] = [];
  let end = 0;
  for (
    let from = 0;
    sequences.length === 0 || (end < pieces.length && sequences.length < mostWindows);
    from += stride
  ) {
    end = Math.min(pieces.length, from + room);
    const ids = [...head, ...pieces.slice(from, end), ...tail];
    sequences.push(finish(ids, from, head.length, kind, recipe));
  }
  return { sequences, truncatedTokens: total - end };
}

function finish(
  ids: number[],
  firstToken: number,
  first: number,
  kind: TextKind,
  recipe: Recipe,
): Sequence {
  let attended = ids.length;
  const { expansion } = recipe;
  if (kind === 'query' && expansion !== null) {
    while (ids.length < expansion.length) ids.push(expansion.tokenId);
    if (recipe.attendToExpansion) attended = ids.length;
  }
  const skip = new Set(kind === 'document' ? recipe.skiplistIds : recipe.querySkiplistIds);
  const only =
    kind === 'document' && recipe.keepOnlyIds !== null ? new Set(recipe.keepOnlyIds) : null;
  const kept: number[] = [];
  ids.forEach((id, i) => {
    if (!skip.has(id) && (only === null || only.has(id))) kept.push(i);
  });
  // Nothing left would be no document at all: its first token stands for it.
  if (kept.length === 0) kept.push(0);
  return { ids, attended, kept, first, firstToken };
}

/** Vocabulary ids of a text, prompt and all, as many as can be encoded, in bounded steps. */
export function piecesOf(
  text: string,
  kind: TextKind,
  recipe: Recipe,
  tokenizer: TextTokenizer,
): Generator<void, Pieces> {
  const prompt = kind === 'query' ? recipe.queryPrompt : recipe.documentPrompt;
  const split = kind === 'document' && recipe.longDocuments !== 'truncate';
  const length = kind === 'query' ? recipe.queryLength : recipe.documentLength;
  return tokenizer.encodeStart(prompt + text, split ? MAX_VECTORS : length);
}
