/**
 * A model's own tokenizer: text in, vocabulary ids out, without the special tokens around them.
 * Encoders and cross-encoders put [CLS], markers and [SEP] where their models expect them.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { MaxSimError } from '../errors.js';
import { type PairPart, type PairProcessor, pairTemplate } from './pair-template.js';

/** Token ids around a text, and what fills up; null where a vocabulary or its models have none. */
export type SpecialIds = {
  cls: number;
  sep: number | null;
  pad: number;
  /** [MASK], or what stands in for it: the last token of models that have no mask. */
  mask: number | null;
  unk: number | null;
};

export type TokenizerOptions = {
  /**
   * What the text "[MASK]" in somebody's document is. 'plain': text like any other, so that nobody can
   * put a special token or a marker into a model's input by writing it; 'as-written': that token, as the
   * reference tokenizers have it.
   */
  specialTokens: 'plain' | 'as-written';
  /**
   * For tokenizers that do not lower-case: 'text' lower-cases all of a text, as sentence-transformers did
   * until 5; 'normaliser' leaves special tokens within it alone, as it does since 6.
   */
  lowerCase?: false | 'text' | 'normaliser';
  /** White space at both ends is no part of a text, as in sentence-transformers until 5. */
  trim?: boolean;
  /** Markers of the model, which are protected like special tokens. */
  markerIds?: readonly number[];
};

/** So much of a text is read even if its sequence is full, to count what is cut off. */
const COUNTED_CHARACTERS = 1 << 16;

/** So much is read at most to fill a sequence of usual length: of spaces, say, that give no token. */
const MAX_CHARACTERS = 1 << 17;

/** So much is tokenised at once; longer texts are cut at white space where there is any. */
const PART_CHARACTERS = 1 << 14;

/** Reserved pieces of BERT vocabularies, some of which are markers of late-interaction models. */
const RESERVED = /^\[unused\d+\]$/;

/** The ids that a text begins with, and how many it has in all. */
export type Pieces = { ids: readonly number[]; total: number };

type AddedToken = {
  id: number;
  content: string;
  special?: boolean;
  normalized?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
};

type Template = { SpecialToken?: { id?: string }; Sequence?: { id?: string } };

type PostProcessor = {
  type?: string;
  cls?: [string, number];
  sep?: [string, number];
  single?: Template[];
  processors?: PostProcessor[];
};

type Definition = {
  added_tokens?: AddedToken[];
  post_processor?: (PostProcessor & PairProcessor) | null;
  normalizer?: { type?: string; normalizers?: { type?: string }[]; lowercase?: boolean } | null;
  decoder?: { type?: string; decoders?: { type?: string }[] } | null;
  pre_tokenizer?: { type?: string; pretokenizers?: { type?: string }[] } | null;
  model: {
    type?: string;
    unk_token?: string | null;
    vocab: Record<string, number> | [string, number][];
  };
};

type Config = Record<string, unknown>;

export class TextTokenizer {
  readonly special: SpecialIds;
  /** Whether the tokenizer's own normaliser lower-cases. */
  readonly lowersByItself: boolean;
  /** How its tokens are written. */
  readonly style: 'wordpiece' | 'byte-level' | 'metaspace';
  /** How two texts become one sequence. */
  readonly pair: readonly PairPart[];
  private readonly lowerCase: boolean;
  private readonly trim: boolean;
  private readonly tokenizer: Tokenizer;
  /** Added tokens, which a plain tokenizer does not know any more. */
  private readonly added: ReadonlyMap<string, AddedToken>;
  private readonly names: ReadonlyMap<number, string>;
  /** The unknown token, where a run of it is one token; else null. */
  private readonly fused: number | null;

  private constructor(
    definition: Definition,
    config: Config,
    options: TokenizerOptions,
    /** Its tokenizer.json. */
    readonly path: string,
  ) {
    const added = definition.added_tokens ?? [];
    this.added = new Map(added.map((token) => [token.content, token]));
    this.names = new Map(added.map((token) => [token.id, token.content]));
    this.lowersByItself = lowers(definition.normalizer ?? null);
    this.lowerCase = options.lowerCase === 'text' && !this.lowersByItself;
    this.trim = options.trim === true;
    this.style = styleOf(definition);
    this.tokenizer = new Tokenizer(prepare(definition, options), config);
    const { model } = this.tokenizer;
    this.fused = (model?.fuse_unk === true ? model.unk_token_id : null) ?? null;
    // The library's own way takes time that is quadratic in the run: a minute for 1 MB of NUL.
    if (model !== null) model.fuse_unk = false;
    const named = (keys: readonly string[], otherwise: string): string => {
      for (const key of keys) {
        const value = config[key];
        const content = isObject(value) ? value['content'] : value;
        if (typeof content === 'string') return content;
      }
      return otherwise;
    };
    const id = (...[keys, otherwise]: [readonly string[], string]): number => {
      const token = named(keys, otherwise);
      const found = this.id(token);
      if (found !== undefined) return found;
      throw new MaxSimError(
        'INVALID_MODEL',
        `${path} has no ${token} token; vocabularies with a first, a last and a padding token are supported.`,
      );
    };
    const frame = frameOf(definition.post_processor ?? null);
    const last = id(['sep_token', 'eos_token'], '[SEP]');
    const mask = named(['mask_token'], '');
    this.special = {
      cls: this.id(frame?.before ?? '') ?? id(['cls_token', 'bos_token'], '[CLS]'),
      sep: frame === null ? last : frame.after === null ? null : (this.id(frame.after) ?? last),
      pad: this.id(named(['pad_token'], '[PAD]')) ?? last,
      mask: this.id(mask) ?? this.id(named(['eos_token'], '')) ?? null,
      unk: this.tokenizer.model?.unk_token_id ?? null,
    };
    this.pair = pairTemplate(definition.post_processor, this.special);
  }

  /** Reads tokenizer.json and tokenizer_config.json of a model folder. Throws INVALID_MODEL. */
  static async open(
    directory: string,
    options: TokenizerOptions = { specialTokens: 'plain' },
  ): Promise<TextTokenizer> {
    const file = join(directory, 'tokenizer.json');
    const [definition, config] = await Promise.all([
      readJson(file),
      readJson(join(directory, 'tokenizer_config.json')),
    ]);
    try {
      return new TextTokenizer(definition as Definition, config as Config, options, file);
    } catch (cause) {
      if (cause instanceof MaxSimError) throw cause;
      throw new MaxSimError('INVALID_MODEL', `${file} cannot be loaded: ${String(cause)}`, {
        cause,
      });
    }
  }

  /** Vocabulary ids of a text, without [CLS] and [SEP]. Lone surrogates read as U+FFFD. */
  encode(text: string): number[] {
    const whole = this.trim ? stripped(text) : text;
    const ids: number[] = [];
    for (let from = 0; from < whole.length; ) from = this.addPart(whole, from, ids);
    return ids;
  }

  /**
   * The first `wanted` ids of a text and how many it has in all, in bounded steps, reading no further
   * than needed. `total` is exact for texts up to 65,536 UTF-16 units and where all was read; else the
   * rest is counted at the rate of what was.
   */
  *encodeStart(text: string, wanted: number): Generator<void, Pieces> {
    const whole = this.trim ? stripped(text) : text;
    const most = Math.max(MAX_CHARACTERS, wanted * 16);
    const ids: number[] = [];
    let at = 0;
    while (at < whole.length && at < most && (ids.length < wanted || at < COUNTED_CHARACTERS)) {
      if (at > 0) yield;
      at = this.addPart(whole, at, ids);
    }
    const total = at < whole.length ? Math.round((ids.length * whole.length) / at) : ids.length;
    return { ids: ids.slice(0, wanted), total: Math.max(total, ids.length) };
  }

  /** Adds the ids of the part that begins at `from`, and returns where the next one begins. */
  private addPart(text: string, from: number, ids: number[]): number {
    const to = endOfPart(text, from);
    const part = text.slice(from, to).toWellFormed();
    const cased = this.lowerCase ? part.toLowerCase() : part;
    for (const id of this.tokenizer.encode(cased, { add_special_tokens: false }).ids)
      if (id !== this.fused || id !== ids.at(-1)) ids.push(id);
    return to;
  }

  /** The vocabulary entry of an id, "##" and all. */
  token(id: number): string {
    return this.names.get(id) ?? this.tokenizer.id_to_token(id) ?? `#${id}`;
  }

  id(token: string): number | undefined {
    return this.added.get(token)?.id ?? this.tokenizer.token_to_id(token);
  }

  /**
   * The one token that a prompt begins with, as the reference tokenizes it, and the text behind it;
   * null for prompts that are text. With `reserved` a piece such as "[unused0]" is one, too, which need
   * not be an added token.
   */
  leadingToken(prompt: string, reserved: boolean): { id: number; rest: string } | null {
    let best: AddedToken | null = null;
    for (const token of this.added.values()) {
      if (token.content === '' || !prompt.startsWith(token.content)) continue;
      if (best === null || token.content.length > best.content.length) best = token;
    }
    if (best !== null) {
      const rest = prompt.slice(best.content.length);
      return { id: best.id, rest: best.rstrip ? rest.trimStart() : rest };
    }
    const [word = ''] = prompt.split(/\s/, 1);
    const id = reserved && RESERVED.test(word) ? this.id(word) : undefined;
    return id === undefined ? null : { id, rest: prompt.slice(word.length).trimStart() };
  }
}

/** The definition that a tokenizer is made of; a copy where it is changed. */
function prepare(definition: Definition, options: TokenizerOptions): object {
  const { specialTokens, markerIds = [] } = options;
  const added = definition.added_tokens ?? [];
  const markers = markerIds.flatMap((id) => nameOf(id, definition) ?? []);
  const prepared: Definition = { ...definition, added_tokens: added };
  const { model, normalizer = null } = definition;
  if (options.lowerCase === 'normaliser' && !lowers(normalizer)) {
    const others = normalizer?.type === 'Sequence' ? (normalizer.normalizers ?? []) : [normalizer];
    prepared.normalizer = {
      type: 'Sequence',
      normalizers: [{ type: 'Lowercase' }, ...others.filter((other) => other !== null)],
    };
  }
  if (specialTokens === 'as-written') {
    // Late-interaction libraries add the markers of a model to its tokenizer when they load it.
    const missing = markerIds.filter((marker) => !added.some(({ id }) => id === marker));
    const extra = missing.flatMap((id) => {
      const content = nameOf(id, definition);
      return content === undefined ? [] : [{ id, content, normalized: true, special: false }];
    });
    prepared.added_tokens = [...added, ...extra];
    return prepared;
  }
  const protectedTokens = new Set([
    ...added
      .filter((token) => token.special || RESERVED.test(token.content))
      .map(({ content }) => content),
    ...markers,
  ]);
  prepared.added_tokens = added.filter(({ content }) => !protectedTokens.has(content));
  // Unigram vocabularies hold "<s>" as a piece like any other: no well-formed text matches what is
  // put in its place. The unknown token is what the model itself falls back on, and stays.
  const hidden = (piece: string, id: number): string =>
    protectedTokens.has(piece) && piece !== model.unk_token ? `\uD800${id}` : piece;
  prepared.model = {
    ...model,
    vocab: Array.isArray(model.vocab)
      ? model.vocab.map(([piece, score], id): [string, number] => [hidden(piece, id), score])
      : Object.fromEntries(
          Object.entries(model.vocab).map(([piece, id]) => [hidden(piece, id), id]),
        ),
  };
  return prepared;
}

function nameOf(id: number, { added_tokens: added = [], model }: Definition): string | undefined {
  const token = added.find((entry) => entry.id === id);
  if (token !== undefined) return token.content;
  if (Array.isArray(model.vocab)) return model.vocab[id]?.[0];
  return Object.entries(model.vocab).find(([, other]) => other === id)?.[0];
}

/** The tokens that a tokenizer puts before and after one text; null where that is not said. */
function frameOf(
  processor: PostProcessor | null,
): { before: string | null; after: string | null } | null {
  if (processor === null) return null;
  const { type, cls, sep, single, processors = [] } = processor;
  if (type === 'BertProcessing' || type === 'RobertaProcessing')
    return { before: cls?.[0] ?? null, after: sep?.[0] ?? null };
  if (type === 'TemplateProcessing' && single !== undefined) {
    const text = single.findIndex((part) => part.Sequence !== undefined);
    return {
      before: single[0]?.SpecialToken?.id ?? null,
      after: single.slice(text + 1).find((part) => part.SpecialToken)?.SpecialToken?.id ?? null,
    };
  }
  return processors.map(frameOf).find((frame) => frame !== null) ?? null;
}

function styleOf({ model, pre_tokenizer: before, decoder }: Definition): TextTokenizer['style'] {
  const types = [
    before?.type,
    ...(before?.pretokenizers ?? []).map(({ type }) => type),
    decoder?.type,
    ...(decoder?.decoders ?? []).map(({ type }) => type),
  ];
  if (types.includes('ByteLevel')) return 'byte-level';
  return model.type === 'Unigram' || types.includes('Metaspace') ? 'metaspace' : 'wordpiece';
}

function lowers(normalizer: Definition['normalizer']): boolean {
  if (!isObject(normalizer)) return false;
  if (normalizer.type === 'Lowercase') return true;
  if (normalizer.type === 'BertNormalizer') return normalizer.lowercase !== false;
  return (normalizer.normalizers ?? []).some((inner) => lowers(inner));
}

/** Where a part ends: before white space, so that it takes no word apart unless that is longer. */
function endOfPart(text: string, from: number): number {
  const limit = from + PART_CHARACTERS;
  if (limit >= text.length) return text.length;
  for (let at = limit; at > from + PART_CHARACTERS / 2; at--)
    if (/\s/.test(text[at] as string) && !/\s/.test(text[at - 1] as string)) return at;
  // Not between the halves of a character beyond the basic plane.
  return limit - (/[\uDC00-\uDFFF]/.test(text[limit] as string) ? 1 : 0);
}

/** What Python's str.strip cuts off: as in JavaScript, but for a few control characters and U+FEFF. */
function isPythonSpace(character: string): boolean {
  const code = character.charCodeAt(0);
  return (
    (code >= 0x1c && code <= 0x1f) || code === 0x85 || (code !== 0xfeff && /\s/.test(character))
  );
}

function stripped(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isPythonSpace(text[from] as string)) from++;
  while (to > from && isPythonSpace(text[to - 1] as string)) to--;
  return text.slice(from, to);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${file} is not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}
