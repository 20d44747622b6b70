/**
 * The Encoder of a model folder: texts in, unit-length token vectors out, on the pool's threads.
 */
import { checkArray, checkText } from '../check.js';
import type { Choice } from '../runtime/choice.js';
import { PRIORITY, type WorkerPool } from '../runtime/pool.js';
import { estimateTokens } from '../runtime/queue.js';
import type { GraphSpec } from '../runtime/session.js';
import type { EncodedText, EncodeOptions, Encoder, TextToken } from '../types.js';
import type { EncodeJob } from './encode-texts.js';
import { type LoadedRecipe, loadRecipe } from './load-recipe.js';
import type { ModelOptions } from './model-options.js';
import type { Recipe } from './recipe.js';
import type { TextKind } from './sequence.js';
import type { TokensJob } from './spans.js';

/** Characters of text that one job carries at most: about a batch, and about a second of work. */
const JOB_CHARACTERS = { query: 1_000, document: 8_000 } as const;
/** Jobs of one call that are handed in at a time, per model thread: a long list does not fill the queue. */
const JOBS_AHEAD = 2;

export class ModelEncoder implements Encoder {
  readonly dim: number;
  readonly fingerprint: string;
  readonly recipe: Readonly<Recipe>;
  private readonly directory: string;
  private readonly graph: GraphSpec;
  /** What was measured to be fastest; null: nobody has measured. */
  readonly choice: Choice | null;

  private constructor(
    loaded: LoadedRecipe,
    private readonly pool: WorkerPool,
  ) {
    this.recipe = Object.freeze(loaded.recipe);
    this.dim = loaded.recipe.dim;
    this.fingerprint = loaded.fingerprint;
    this.directory = loaded.directory;
    this.graph = loaded.graph;
    this.choice = loaded.choice;
  }

  /** Throws MODEL_NOT_FOUND or INVALID_MODEL. The pool stays the caller's. */
  static async open(model: string | ModelOptions, pool: WorkerPool): Promise<ModelEncoder> {
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
      tokens: estimateTokens(text),
    })) as TextToken[];
  }

  /** Loads the model on every thread, and runs it once. */
  async warmUp(): Promise<void> {
    const { directory, graph, recipe } = this;
    const job: EncodeJob = { directory, graph, recipe, kind: 'query', texts: ['warm up'] };
    await this.pool.warmUp('encode', job);
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
    const { deadlineMs } = options;
    const deadline = deadlineMs === undefined ? undefined : performance.now() + deadlineMs;
    const encoded = new Array<EncodedText>(texts.length);
    const priority = kind === 'query' ? PRIORITY.query : PRIORITY.document;
    const cost = (some: readonly string[]): number =>
      some.reduce((sum, text) => sum + estimateTokens(text), 0);
    this.pool.admit(priority, cost(texts));
    const encodeGroup = async (positions: readonly number[]): Promise<void> => {
      const members = positions.map((position) => texts[position] as string);
      const job: EncodeJob = {
        directory: this.directory,
        graph: this.graph,
        recipe: this.recipe,
        kind,
        texts: members,
      };
      const { signal } = options;
      const what = { priority, tokens: cost(members), deadline, admitted: true, signal };
      const results = (await this.pool.run('encode', job, what)) as EncodedText[];
      results.forEach((result, i) => {
        encoded[positions[i] as number] = result;
      });
    };
    const { threadCount } = this.pool;
    const groups = groupBySize(texts, JOB_CHARACTERS[kind], threadCount);
    let next = 0;
    const lane = async (): Promise<void> => {
      try {
        while (next < groups.length) await encodeGroup(groups[next++] as number[]);
      } finally {
        next = groups.length; // after a failure, nobody waits for the others
      }
    };
    await Promise.all(Array.from({ length: JOBS_AHEAD * threadCount }, lane));
    return encoded;
  }
}

/**
 * Texts of similar size together (more of one length in a batch), longest first (the threads end at
 * the same time), in at least as many groups as there are threads where the texts are worth it.
 */
function groupBySize(texts: readonly string[], most: number, threads: number): number[][] {
  const size = (position: number): number => (texts[position] as string).length;
  const order = texts.map((_, i) => i).sort((a, b) => size(b) - size(a) || a - b);
  const all = texts.reduce((sum, text) => sum + text.length, 0);
  const room = Math.min(most, Math.max(JOB_CHARACTERS.query, Math.ceil(all / threads)));
  const groups: number[][] = [];
  let characters = Number.POSITIVE_INFINITY;
  for (const position of order) {
    if (characters + size(position) > room) {
      groups.push([]);
      characters = 0;
    }
    groups.at(-1)?.push(position);
    characters += size(position);
  }
  return groups;
}
