/**
 * A cross-encoder reads query and document together: the best and slowest judge of a short list.
 * Scores are the model's raw logits; only their order within one query means anything.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkArray, checkString, checkText } from '../check.js';
import { MaxSimError } from '../errors.js';
import { type LocateOptions, locateModel } from '../runtime/catalog.js';
import { type Choice, readChoice } from '../runtime/choice.js';
import { DEFAULT_GRAPHS } from '../runtime/graph-forms.js';
import { PRIORITY, type WorkerPool } from '../runtime/pool.js';
import { positionsOf } from '../runtime/positions.js';
import { estimateTokens } from '../runtime/queue.js';
import type { GraphSpec } from '../runtime/session.js';
import { readJson } from '../runtime/tokenizer.js';
import type { EncodeOptions } from '../types.js';
import type { PairsJob } from './score-pairs.js';

/** Documents of one job: the threads share a list, and each gives way between its batches. */
const JOB_DOCUMENTS = 8;

export type CrossEncoderOptions = {
  /**
   * What "[SEP]" within a text is. 'plain' (default): text, so that a document cannot end itself or
   * begin another. 'as-written': that token, as the reference libraries have it.
   */
  specialTokens?: 'plain' | 'as-written';
  /** Load weights whose licence forbids commercial use. */
  allowNonCommercial?: boolean;
};

export type LoadedCrossEncoder = {
  name: string;
  directory: string;
  graph: GraphSpec;
  /** Longest pair in token ids, [CLS] and both [SEP] included. */
  maxLength: number;
  /** What `maxsim models check` measured fastest here, where that is what was loaded. */
  choice: Choice | null;
};

/** What a model folder says of a cross-encoder. Throws MODEL_NOT_FOUND or INVALID_MODEL. */
export async function loadCrossEncoder(
  model: string,
  asked?: string,
  options?: LocateOptions,
): Promise<LoadedCrossEncoder> {
  const { name, directory } = locateModel(model, 'cross-encoder', options);
  const maxLength = await longestPair(directory);
  const choice = asked === undefined ? await readChoice(directory) : null;
  const file =
    asked ?? choice?.file ?? DEFAULT_GRAPHS.find((one) => existsSync(join(directory, one)));
  const graph: GraphSpec = {
    file: join(directory, file ?? 'model.onnx'),
    sha256: null,
    output: null,
    head: [],
    width: null,
    optimisation: choice?.optimisation ?? 'all',
    threads: 1,
  };
  return { name, directory, graph, maxLength, choice };
}

/** Of config.json's positions and the tokenizer's own limit the lower, as sentence-transformers has it. */
async function longestPair(directory: string): Promise<number> {
  const positions = await positionsOf(directory);
  if (positions === null || positions < 8) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${join(directory, 'config.json')} must give max_position_embeddings, with room for 8 tokens, but ${positions === null ? 'gives none' : `has room for ${positions}`}.`,
    );
  }
  const tokenizer = (await readJson(join(directory, 'tokenizer_config.json'))) as {
    model_max_length?: unknown;
  } | null;
  const limit = tokenizer?.model_max_length;
  return typeof limit === 'number' && limit >= 8 ? Math.min(positions, limit) : positions;
}

export class CrossEncoder {
  private constructor(
    readonly model: string,
    private readonly loaded: Omit<PairsJob, 'query' | 'texts'>,
    private readonly pool: WorkerPool,
  ) {}

  /** Longest pair in token ids, [CLS] and both [SEP] included. */
  get maxLength(): number {
    return this.loaded.maxLength;
  }

  /** Throws MODEL_NOT_FOUND or INVALID_MODEL. The pool stays the caller's. */
  static async open(
    model: string,
    pool: WorkerPool,
    { specialTokens = 'plain', allowNonCommercial = false }: CrossEncoderOptions = {},
  ): Promise<CrossEncoder> {
    const { name, directory, graph, maxLength } = await loadCrossEncoder(model, undefined, {
      allowNonCommercial,
    });
    const loaded = { directory, graph, maxLength };
    return new CrossEncoder(name, { ...loaded, specialTokens }, pool);
  }

  /** One raw logit per document, in the order given. An empty document is scored like any other. */
  async score(
    query: string,
    documents: readonly string[],
    options: EncodeOptions = {},
  ): Promise<Float32Array> {
    checkText('query', query);
    checkArray('documents', documents).forEach((text, i) => {
      checkString(`documents[${i}]`, text);
    });
    // Long and short documents side by side in every job would pad; sorted, a job is of one length.
    const order = documents
      .map((_, i) => i)
      .sort((a, b) => (documents[b] as string).length - (documents[a] as string).length || a - b);
    const scores = new Float32Array(documents.length);
    const { deadlineMs } = options;
    const deadline = deadlineMs === undefined ? undefined : performance.now() + deadlineMs;
    const cost = (some: readonly string[]): number =>
      some.reduce((sum, text) => sum + estimateTokens(query + text), 0);
    this.pool.admit(PRIORITY.rerank, cost(documents));
    const jobs: Promise<void>[] = [];
    for (let from = 0; from < order.length; from += JOB_DOCUMENTS) {
      const positions = order.slice(from, from + JOB_DOCUMENTS);
      const texts = positions.map((position) => documents[position] as string);
      const job: PairsJob = { ...this.loaded, query, texts };
      jobs.push(
        this.pool
          .run('pairs', job, {
            priority: PRIORITY.rerank,
            tokens: cost(texts),
            deadline,
            admitted: true,
            signal: options.signal,
          })
          .then((logits) => {
            positions.forEach((position, i) => {
              scores[position] = (logits as Float32Array)[i] as number;
            });
          }),
      );
    }
    await Promise.all(jobs);
    return scores;
  }
}
