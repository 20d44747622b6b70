/**
 * How a tokenizer joins two texts: BERT's [CLS] A [SEP] B [SEP] with token types 0 and 1, RoBERTa's
 * <s> A </s></s> B </s> with one type, or whatever its tokenizer.json says (post_processor).
 */
import type { SpecialIds } from './tokenizer.js';

export type PairPart = { type: number } & ({ text: 'A' | 'B' } | { ids: readonly number[] });

type Piece = {
  Sequence?: { id?: unknown; type_id?: unknown };
  SpecialToken?: { id?: unknown; type_id?: unknown };
};

export type PairProcessor = {
  type?: unknown;
  pair?: Piece[];
  special_tokens?: Record<string, { ids?: number[] }>;
  processors?: PairProcessor[];
};

/** That of a BERT where the tokenizer does not say. */
export function pairTemplate(
  said: PairProcessor | null | undefined,
  { cls, sep }: Pick<SpecialIds, 'cls' | 'sep'>,
): PairPart[] {
  const all = said?.type === 'Sequence' ? (said.processors ?? []) : [said];
  for (const one of all) {
    const template = one?.type === 'TemplateProcessing' ? templateOf(one) : null;
    if (template !== null) return template;
  }
  const isRoberta = all.some((one) => one?.type === 'RobertaProcessing');
  const type = isRoberta ? 0 : 1;
  const end = sep === null ? [] : [sep];
  return [
    { ids: [cls], type: 0 },
    { text: 'A', type: 0 },
    { ids: isRoberta ? [...end, ...end] : end, type: 0 },
    { text: 'B', type },
    { ids: end, type },
  ];
}

/** Null for a template that does not have each of the two texts once. */
function templateOf({ pair = [], special_tokens: special = {} }: PairProcessor): PairPart[] | null {
  const parts: PairPart[] = [];
  for (const { Sequence: sequence, SpecialToken: token } of pair) {
    const type = Number(sequence?.type_id ?? token?.type_id ?? 0);
    if (sequence?.id === 'A' || sequence?.id === 'B') parts.push({ text: sequence.id, type });
    else parts.push({ ids: special[String(token?.id)]?.ids ?? [], type });
  }
  const texts = parts.flatMap((part) => ('text' in part ? part.text : []));
  return texts.join('') === 'AB' ? parts : null;
}
