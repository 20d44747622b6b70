/**
 * Which characters of a text each kept token stands for. Tokenizers normalise before they split (case,
 * accents, control characters, compatible forms) and the tokenizer library keeps no offsets, so the
 * tokens are laid over the text again, character by character.
 */
import type { TextTokenizer } from '../runtime/tokenizer.js';
import type { TextToken } from '../types.js';
import type { Recipe } from './recipe.js';
import { piecesOf, type TextKind, toSequences } from './sequence.js';

export type TokensJob = { directory: string; recipe: Recipe; kind: TextKind; text: string };

/** The token behind each row that `encodeTexts` gives for this text; none where rows are means of several. */
export function tokenSpans(
  { text, kind, recipe }: TokensJob,
  tokenizer: TextTokenizer,
): TextToken[] {
  if (kind === 'document' && recipe.pooling !== null) return [];
  const steps = piecesOf(text, kind, recipe, tokenizer);
  let step = steps.next();
  while (!step.done) step = steps.next();
  const pieces = step.value;
  const prompt = kind === 'query' ? recipe.queryPrompt : recipe.documentPrompt;
  const names = pieces.ids.map((id) => tokenizer.token(id));
  const spans = layOver(prompt + text, names, tokenizer.style);
  return toSequences(pieces, kind, recipe, tokenizer).sequences.flatMap(
    ({ ids, kept, first, firstToken }) =>
      kept.map((position) => {
        const token = position - first;
        const inText = token >= 0 && ids[position] === pieces.ids[firstToken + token];
        const span = inText ? spans[firstToken + token] : null;
        return {
          token: tokenizer.token(ids[position] as number),
          // Of the text alone, without the prompt.
          span:
            span && span[0] >= prompt.length
              ? ([span[0] - prompt.length, span[1] - prompt.length] as Span)
              : null,
        };
      }),
  );
}

type Span = [start: number, end: number];

/** How a vocabulary writes its tokens: "##ing", "\u0120word" in bytes as characters, "\u2581word". */
export type TokenStyle = 'wordpiece' | 'byte-level' | 'metaspace';

/** Spans of tokens, in order; null where a token cannot be found again. */
export function layOver(
  text: string,
  tokens: readonly string[],
  style: TokenStyle = 'wordpiece',
): (Span | null)[] {
  const { characters, starts, ends } = normalise(text, style);
  let at = 0;
  const spans: (Span | null)[] = [];
  for (const { piece, count, glued } of surfaces(tokens, style)) {
    const found = find(piece, glued);
    for (let i = 0; i < count; i++) spans.push(found);
  }
  return spans;

  function find(piece: string, glued: boolean): Span | null {
    while (at < characters.length && characters[at] === ' ') at++;
    let from = -1;
    let to = -1;
    if (piece === '[UNK]' || piece === '<unk>') {
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
      const wanted = [...(style === 'wordpiece' ? piece : piece.normalize(FORMS[style]))];
      if (wanted.length === 0) return null;
      const limit = Math.min(characters.length - wanted.length, at + 64);
      for (let start = at; start <= limit && from < 0; start++) {
        if (wanted.every((c, k) => isSame(characters[start + k] as string, c))) from = start;
        if (glued) break; // a continuation follows its word at once
      }
      to = from + wanted.length;
    }
    if (from < 0 || from >= characters.length) return null;
    at = to;
    return [starts[from] as number, ends[to - 1] as number];
  }
}

function isSame(character: string, wanted: string): boolean {
  return character === wanted || character.toLowerCase() === wanted.toLowerCase();
}

/** What tokens stand for in a text; `count` of them for one piece, where each has a part of a character. */
type Surface = { piece: string; count: number; glued: boolean };

function surfaces(tokens: readonly string[], style: TokenStyle): Surface[] {
  if (style === 'byte-level') return byteSurfaces(tokens);
  return tokens.map((token, i) => {
    const glued = style === 'wordpiece' && token.startsWith('##');
    const piece = style === 'metaspace' ? token.replaceAll('\u2581', ' ').trim() : token;
    return { piece: glued ? piece.slice(2) : piece, count: 1, glued: glued && i > 0 };
  });
}

function byteSurfaces(tokens: readonly string[]): Surface[] {
  const strict = new TextDecoder('utf-8', { fatal: true });
  const result: Surface[] = [];
  let bytes: number[] = [];
  let count = 0;
  for (const token of tokens) {
    const own = [...token].map((c) => BYTES.get(c));
    count += 1;
    if (own.includes(undefined)) {
      // No bytes: a token that was added as a whole.
      result.push({ piece: token, count, glued: false });
      bytes = [];
      count = 0;
      continue;
    }
    bytes.push(...(own as number[]));
    let piece: string;
    try {
      piece = strict.decode(Uint8Array.from(bytes));
    } catch {
      continue; // the rest of the character is in the next token
    }
    result.push({ piece: piece.trim(), count, glued: false });
    bytes = [];
    count = 0;
  }
  if (count > 0) result.push({ piece: '', count, glued: false });
  return result;
}

/** GPT-2's way to write each byte as a printable character (openai/gpt-2, encoder.py). */
const BYTES: ReadonlyMap<string, number> = (() => {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  const map = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++)
    map.set(String.fromCodePoint(printable(byte) ? byte : next++), byte);
  return map;
})();

/** Letters and their marks apart, as they may be written either way. */
const FORMS = { wordpiece: 'NFD', metaspace: 'NFKD', 'byte-level': 'NFD' } as const;

type Normalised = { characters: string[]; starts: number[]; ends: number[] };

/**
 * With origins kept: BERT's normaliser (lower case, accents stripped, control characters dropped), the
 * compatible forms of Unigram vocabularies, or the text as it is.
 */
function normalise(text: string, style: TokenStyle): Normalised {
  const result: Normalised = { characters: [], starts: [], ends: [] };
  let start = 0;
  for (const original of text) {
    const end = start + original.length;
    const wordPiece = style === 'wordpiece';
    const form = original.normalize(FORMS[style]);
    for (const c of wordPiece ? form.toLowerCase() : form) {
      if (wordPiece && (/\p{Mn}/u.test(c) || (/\p{C}/u.test(c) && !/[\t\n\r]/.test(c)))) continue;
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
