/**
 * Which characters of a text each kept token stands for. WordPiece tokenizers normalise before they
 * split (lower case, no accents, no control characters) and the tokenizer library keeps no offsets, so
 * the tokens are laid over the normalised text again, character by character.
 */
import type { TextTokenizer } from '../runtime/tokenizer.js';
import type { TextToken } from '../types.js';
import type { Recipe } from './recipe.js';
import { type TextKind, toSequence } from './sequence.js';

export type TokensJob = { directory: string; recipe: Recipe; kind: TextKind; text: string };

/** The token behind each row that `encodeTexts` gives for this text. */
export function tokenSpans(
  { text, kind, recipe }: TokensJob,
  tokenizer: TextTokenizer,
): TextToken[] {
  const sequence = toSequence(text, kind, recipe, tokenizer);
  const marker = kind === 'query' ? recipe.queryMarkerId : recipe.documentMarkerId;
  const first = marker === null ? 1 : 2; // after [CLS] and the marker
  const last = sequence.ids.lastIndexOf(tokenizer.special.sep);
  const names = sequence.ids.map((id) => tokenizer.token(id));
  const spans = layOver(text, names.slice(first, last));
  return sequence.kept.map((position) => ({
    token: names[position] as string,
    span: position >= first && position < last ? (spans[position - first] ?? null) : null,
  }));
}

type Span = [start: number, end: number];

/** Spans of WordPiece tokens, in order; null where a token cannot be found again. */
export function layOver(text: string, tokens: readonly string[]): (Span | null)[] {
  const { characters, starts, ends } = normalise(text);
  let at = 0;
  return tokens.map((token, i) => {
    while (at < characters.length && characters[at] === ' ') at++;
    const piece = token.startsWith('##') ? token.slice(2) : token;
    let from = -1;
    let to = -1;
    if (token === '[UNK]') {
      // One word that the vocabulary cannot spell: up to the next space, punctuation or CJK character.
      from = at;
      to = at + 1;
      while (
        to < characters.length &&
        isWordPart(characters[at] as string) &&
        isWordPart(characters[to] as string)
      )
        to++;
    } else {
      // Normally right here; a token that was registered as a whole ("[unused0]") is found as written.
      const wanted = [...piece];
      const limit = Math.min(characters.length - wanted.length, at + 64);
      for (let start = at; start <= limit && from < 0; start++) {
        if (
          wanted.every(
            (c, k) => characters[start + k] === c || characters[start + k] === c.toLowerCase(),
          )
        )
          from = start;
        if (token.startsWith('##') && i > 0) break; // a continuation follows its word at once
      }
      to = from + wanted.length;
    }
    if (from < 0 || from >= characters.length) return null;
    at = to;
    return [starts[from] as number, ends[to - 1] as number];
  });
}

type Normalised = { characters: string[]; starts: number[]; ends: number[] };

/** BERT's normaliser (lower case, accents stripped, control characters dropped), with origins kept. */
function normalise(text: string): Normalised {
  const result: Normalised = { characters: [], starts: [], ends: [] };
  let start = 0;
  for (const original of text) {
    const end = start + original.length;
    for (const c of original.normalize('NFD').toLowerCase()) {
      if (/\p{Mn}/u.test(c) || (/\p{C}/u.test(c) && !/[\t\n\r]/.test(c))) continue;
      result.characters.push(/\s/u.test(c) ? ' ' : c);
      result.starts.push(start);
      result.ends.push(end);
    }
    start = end;
  }
  return result;
}

function isWordPart(c: string): boolean {
  return c !== ' ' && !/[\p{P}\p{S}]/u.test(c) && !/\p{Script=Han}/u.test(c);
}
