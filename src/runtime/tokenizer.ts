/**
 * A model's own tokenizer: text in, vocabulary ids out, without the special tokens around them.
 * Encoders and cross-encoders put [CLS], markers and [SEP] where their models expect them.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { MaxSimError } from '../errors.js';

export type SpecialIds = { cls: number; sep: number; pad: number; mask: number };

export class TextTokenizer {
  readonly special: SpecialIds;
  private readonly tokenizer: Tokenizer;

  private constructor(tokenizer: Tokenizer, directory: string) {
    this.tokenizer = tokenizer;
    const id = (token: string): number => {
      const found = tokenizer.token_to_id(token);
      if (found === undefined) {
        throw new MaxSimError(
          'INVALID_MODEL',
          `${join(directory, 'tokenizer.json')} has no ${token} token; BERT-style vocabularies are supported.`,
        );
      }
      return found;
    };
    this.special = { cls: id('[CLS]'), sep: id('[SEP]'), pad: id('[PAD]'), mask: id('[MASK]') };
  }

  /** Reads tokenizer.json and tokenizer_config.json of a model folder. Throws INVALID_MODEL. */
  static async open(directory: string): Promise<TextTokenizer> {
    const [definition, config] = await Promise.all(
      ['tokenizer.json', 'tokenizer_config.json'].map((name) => readJson(join(directory, name))),
    );
    let tokenizer: Tokenizer;
    try {
      tokenizer = new Tokenizer(definition as object, config as object);
    } catch (cause) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${join(directory, 'tokenizer.json')} cannot be loaded: ${String(cause)}`,
        { cause },
      );
    }
    return new TextTokenizer(tokenizer, directory);
  }

  /** Vocabulary ids of a text, without [CLS] and [SEP]. Lone surrogates read as U+FFFD. */
  encode(text: string): number[] {
    return this.tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }).ids;
  }

  /** The vocabulary entry of an id, "##" and all. */
  token(id: number): string {
    return this.tokenizer.id_to_token(id) ?? `#${id}`;
  }

  id(token: string): number | undefined {
    return this.tokenizer.token_to_id(token);
  }
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
