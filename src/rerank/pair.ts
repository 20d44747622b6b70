/**
 * A (query, document) pair as one sequence: [CLS] query [SEP] document [SEP], token types 0 and 1.
 * Truncation is "longest first" as the reference tokenizers do it (Hugging Face tokenizers,
 * truncate_encodings): the longer text gives way; both are cut only when each is over half.
 */
import type { TextTokenizer } from '../runtime/tokenizer.js';

export type Pair = { ids: number[]; types: number[]; attended: number };

export function toPair(
  queryPieces: readonly number[],
  documentPieces: readonly number[],
  maxLength: number,
  special: TextTokenizer['special'],
): Pair {
  const [queryLength, documentLength] = longestFirst(
    queryPieces.length,
    documentPieces.length,
    maxLength - 3,
  );
  const head = [special.cls, ...queryPieces.slice(0, queryLength), special.sep];
  const tail = [...documentPieces.slice(0, documentLength), special.sep];
  const ids = [...head, ...tail];
  return { ids, types: [...head.map(() => 0), ...tail.map(() => 1)], attended: ids.length };
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
