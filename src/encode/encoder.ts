/**
 * The Encoder of a model folder: texts in, unit-length token vectors out, on the pool's threads.
 */
import { checkArray, checkText } from '../check.js';
import { PRIORITY, type WorkerPool } from '../runtime/pool.js';
import type { EncodedText, EncodeOptions, Encoder, TextToken } from '../types.js';
import type { EncodeJob } from './encode-texts.js';
import { type LoadedRecipe, loadRecipe, type Recipe } from './recipe.js';
import type { TextKind } from './sequence.js';
import type { TokensJob } from './spans.js';

/** Characters of text that one document job carries: a second or so of work for one thread. */
const JOB_CHARACTERS = 8_000;

export class ModelEncoder implements Encoder {
  readonly dim: number;
  readonly fingerprint: string;
  readonly recipe: Readonly<Recipe>;
  private readonly directory: string;

  private constructor(
    loaded: LoadedRecipe,
    private readonly pool: WorkerPool,
  ) {
    this.recipe = Object.freeze(loaded.recipe);
    this.dim = loaded.recipe.dim;
    this.fingerprint = loaded.fingerprint;
    this.directory = loaded.directory;
  }

  /** Throws MODEL_NOT_FOUND or INVALID_MODEL. The pool stays the caller's. */
  static async open(model: string, pool: WorkerPool): Promise<ModelEncoder> {
    return new ModelEncoder(await loadRecipe(model), pool);
  }

  encodeQueries(texts: readonly string[], options: EncodeOptions = {}): Promise<EncodedText[]> {
    return this.encode('query', texts, options);
  }

  encodeDocuments(texts: readonly string[], options: EncodeOptions = {}): Promise<EncodedText[]> {
    return this.encode('document', texts, options);
  }

  async explainTokens(text: string, kind: TextKind): Promise<TextToken[]> {
    const job: TokensJob = { directory: this.directory, recipe: this.recipe, kind, text };
    return (await this.pool.run('tokens', job, {
      priority: PRIORITY.query,
      cost: text.length,
    })) as TextToken[];
  }

  /** The pool is shared, so there is nothing to close here. */
  async close(): Promise<void> {}

  private async encode(
    kind: TextKind,
    texts: readonly string[],
    options: EncodeOptions,
  ): Promise<EncodedText[]> {
    checkArray('texts', texts).forEach((text, i) => {
      checkText(`texts[${i}]`, text);
    });
    const encoded = new Array<EncodedText>(texts.length);
    const priority = kind === 'query' ? PRIORITY.query : PRIORITY.document;
    await Promise.all(
      groupBySize(texts).map(async (positions) => {
        const members = positions.map((position) => texts[position] as string);
        const job: EncodeJob = {
          directory: this.directory,
          recipe: this.recipe,
          kind,
          texts: members,
        };
        const cost = members.reduce((sum, text) => sum + text.length, 0);
        const results = (await this.pool.run('encode', job, {
          priority,
          cost,
          signal: options.signal,
        })) as EncodedText[];
        results.forEach((result, i) => {
          encoded[positions[i] as number] = result;
        });
      }),
    );
    return encoded;
  }
}

/** Texts of similar size together (less padding), longest first (the threads end at the same time). */
function groupBySize(texts: readonly string[]): number[][] {
  const size = (position: number): number => (texts[position] as string).length;
  const order = texts.map((_, i) => i).sort((a, b) => size(b) - size(a) || a - b);
  const groups: number[][] = [];
  let characters = Number.POSITIVE_INFINITY;
  for (const position of order) {
    if (characters + size(position) > JOB_CHARACTERS) {
      groups.push([]);
      characters = 0;
    }
    groups.at(-1)?.push(position);
    characters += size(position);
  }
  return groups;
}
