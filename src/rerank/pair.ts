/**
 * A (query, document) pair as one sequence, as the model's tokenizer joins two texts.
 * Truncation is "longest first" as the reference tokenizers do it (Hugging Face tokenizers,
 * truncate_encodings): the longer text gives way; both are cut only when each is over half.
 */
import type { TextTokenizer } from '../runtime/tokenizer.js';

export type Pair = { ids: number[]; types: number[]; attended: number };

export function toPair(
  queryPieces: readonly number[],
  documentPieces: readonly number[],
  maxLength: number,
  template: TextTokenizer['pair'],
): Pair {
  const around = template.reduce((sum, part) => sum + ('ids' in part ? part.ids.length : 0), 0);
  const [queryLength, documentLength] = longestFirst(
    queryPieces.length,
    documentPieces.length,
    maxLength - around,
  );
  const texts = {
    A: queryPieces.slice(0, queryLength),
    B: documentPieces.slice(0, documentLength),
  };
  const ids: number[] = [];
  const types: number[] = [];
  for (const part of template) {
    for (const id of 'ids' in part ? part.ids : texts[part.text]) {
      ids.push(id);
      types.push(part.type);
    }
  }
  return { ids, types, attended: ids.length };
}

export function longestFirst(
  first: number,
  second: number,
  room: number,
): [first: number, second: number] {
  let shorter = Math.min(first, second);
  let longer = Math.max(first, second);
  if (shorter + longer > room) {
    longer = shorter > room ? shorter : Math.max(shorter, room - shorter);
    if (shorter + longer > room) {
      shorter = Math.floor(room / 2);
      longer = shorter + (room % 2);
    }
  }
  return first > second ? [longer, shorter] : [shorter, longer];
}
