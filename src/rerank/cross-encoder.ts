/**
 * A cross-encoder reads query and document together: the best and slowest judge of a short list.
 * Scores are the model's raw logits; only their order within one query means anything.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { checkArray, checkString, checkText } from '../check.js';
import { MaxSimError } from '../errors.js';
import { type LocateOptions, locateModel, sha256 } from '../runtime/catalog.js';
import { type Choice, readChoice } from '../runtime/choice.js';
import { DEFAULT_GRAPHS } from '../runtime/graph-forms.js';
import { PRIORITY, type WorkerPool } from '../runtime/pool.js';
import { positionsOf } from '../runtime/positions.js';
import { estimateTokens } from '../runtime/queue.js';
import type { GraphSpec } from '../runtime/session.js';
import { readJson } from '../runtime/tokenizer.js';
import type { EncodeOptions, Judgement, JudgeOptions, Reranker } from '../types.js';
import { readScoreHead } from './score-head.js';
import type { PairsJob } from './score-pairs.js';

/** Documents of one job: the threads share a list, and each gives way between its batches. */
const JOB_DOCUMENTS = 8;

/** Before its budget ends, so that what is there is taken before nobody waits for it any more. */
const HAND_OVER_MS = 1;

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
  const path = join(directory, file ?? 'model.onnx');
  const graph: GraphSpec = {
    file: path,
    sha256: null,
    output: null,
    head: existsSync(path) ? await readScoreHead(directory, path) : [],
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

export class CrossEncoder implements Reranker {
  readonly name = 'cross-encoder';
  private digest: Promise<string> | undefined;

  private constructor(
    readonly model: string,
    private readonly loaded: Omit<PairsJob, 'query' | 'texts'>,
    private readonly pool: WorkerPool,
  ) {}

  /** Longest pair in token ids, [CLS] and both [SEP] included. */
  get maxLength(): number {
    return this.loaded.maxLength;
  }

  /** Of where its graph is and how texts are read: what `identify` says of the graph's bytes is more. */
  get fingerprint(): string {
    const { graph, specialTokens, maxLength } = this.loaded;
    return `${graph.file}:${specialTokens}:${maxLength}`;
  }

  /** What scores depend on, from the bytes of the graph and of the layers after it, which are read once. */
  async identify(): Promise<{ model: string; quantisation: string; maxLength: number }> {
    const { graph, specialTokens, maxLength } = this.loaded;
    const files = new Set([graph.file, ...graph.head.map((layer) => layer.file)]);
    this.digest ??= Promise.all([...files].map(sha256)).then((digests) => digests.join());
    this.digest.catch(() => {
      this.digest = undefined;
    });
    const digest = createHash('sha256')
      .update(await this.digest)
      .digest('hex')
      .slice(0, 32);
    return { model: `${digest}:${specialTokens}`, quantisation: basename(graph.file), maxLength };
  }

  /** Starts every thread of the pool and has each score one pair. */
  async warmUp(): Promise<void> {
    await this.pool.warmUp('pairs', { ...this.loaded, query: 'warm', texts: ['up'] });
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

  /**
   * One raw logit per document, in the order given. An empty document is scored like any other. Throws
   * DEADLINE_EXCEEDED where a part could not begin in time, OVERLOADED, ABORTED, WORKER_FAILED.
   */
  async score(
    query: string,
    documents: readonly string[],
    { signal, deadlineMs }: EncodeOptions = {},
  ): Promise<Float32Array> {
    checkPairs(query, documents);
    // Long and short documents side by side in every job would not batch; sorted, a job is of one length.
    const order = documents
      .map((_, i) => i)
      .sort((a, b) => (documents[b] as string).length - (documents[a] as string).length || a - b);
    const parts: number[][] = [];
    for (let from = 0; from < order.length; from += JOB_DOCUMENTS)
      parts.push(order.slice(from, from + JOB_DOCUMENTS));
    const deadline = deadlineMs === undefined ? undefined : performance.now() + deadlineMs;
    const scores = new Float32Array(documents.length);
    await Promise.all(this.run(query, documents, parts, scores, { signal, deadline }));
    return scores;
  }

  /**
   * Raw logits. With a budget documents are read in the order given, one by one, and when it ends
   * there is what has been scored. Throws DEADLINE_EXCEEDED when that is nothing, OVERLOADED, ABORTED,
   * WORKER_FAILED, INVALID_MODEL.
   */
  async judge(
    query: string,
    documents: readonly string[],
    { signal, budgetMs }: JudgeOptions = {},
  ): Promise<Judgement> {
    if (budgetMs === undefined) return { scores: await this.score(query, documents, { signal }) };
    checkPairs(query, documents);
    const deadline = performance.now() + budgetMs - HAND_OVER_MS;
    const scores = new Float32Array(documents.length).fill(Number.NaN);
    const budget = new AbortController();
    const timer = setTimeout(
      () => budget.abort(),
      Math.min(MAX_TIMER_MS, Math.max(0, budgetMs - HAND_OVER_MS)),
    );
    const ended = signal === undefined ? budget.signal : AbortSignal.any([signal, budget.signal]);
    // What is not done when the budget ends is lost, and texts of other lengths share no run anyhow.
    const parts = documents.map((_, i) => [i]);
    try {
      const jobs = this.run(query, documents, parts, scores, { signal: ended, deadline });
      await Promise.all(
        jobs.map((job) =>
          job.catch((error: unknown) => {
            if (isStopped(signal) || !isLate(error)) throw error;
          }),
        ),
      );
    } finally {
      clearTimeout(timer);
      budget.abort(); // after a failure every other job would be for nothing
    }
    if (documents.length > 0 && scores.every(Number.isNaN)) {
      throw new MaxSimError(
        'DEADLINE_EXCEEDED',
        `The cross-encoder had ${Math.round(budgetMs)} ms and scored nothing in them.`,
      );
    }
    return { scores };
  }

  /** One job for each part, positions of documents; each puts its logits into `scores`. */
  private run(
    query: string,
    documents: readonly string[],
    parts: readonly (readonly number[])[],
    scores: Float32Array,
    { signal, deadline }: { signal: AbortSignal | undefined; deadline: number | undefined },
  ): Promise<void>[] {
    const cost = (some: readonly string[]): number =>
      some.reduce((sum, text) => sum + estimateTokens(query + text), 0);
    this.pool.admit(PRIORITY.rerank, cost(documents));
    // Every job listens to it, and more than ten listeners of the caller's own signal would be a warning.
    const own = signal === undefined ? undefined : AbortSignal.any([signal]);
    if (own !== undefined) setMaxListeners(0, own);
    return parts.map(async (positions) => {
      const texts = positions.map((position) => documents[position] as string);
      const job: PairsJob = { ...this.loaded, query, texts };
      const tokens = cost(texts);
      const options = { priority: PRIORITY.rerank, tokens, deadline, admitted: true, signal: own };
      const logits = (await this.pool.run('pairs', job, options)) as Float32Array;
      positions.forEach((position, i) => {
        scores[position] = logits[i] as number;
      });
    });
  }
}

/** Timers cannot wait longer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

function checkPairs(query: string, documents: readonly string[]): void {
  checkText('query', query);
  checkArray('documents', documents).forEach((text, i) => {
    checkString(`documents[${i}]`, text);
  });
}

/** By somebody who wants no answer any more; to run out of time is not that. */
function isStopped(signal: AbortSignal | undefined): boolean {
  if (signal === undefined || !signal.aborted) return false;
  const reason: unknown = signal.reason;
  return !(reason instanceof MaxSimError && reason.code === 'DEADLINE_EXCEEDED');
}

function isLate(error: unknown): boolean {
  return (
    error instanceof MaxSimError && (error.code === 'DEADLINE_EXCEEDED' || error.code === 'ABORTED')
  );
}
