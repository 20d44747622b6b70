/**
 * The model of a folder on threads of its own, in any of its forms: texts in, token vectors or logits
 * out, by the very jobs that an engine runs.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EncodeJob } from '../encode/encode-texts.js';
import { loadRecipe, settingsOf } from '../encode/load-recipe.js';
import type { ModelOptions } from '../encode/model-options.js';
import type { Recipe } from '../encode/recipe.js';
import type { TextKind } from '../encode/sequence.js';
import { loadCrossEncoder } from '../rerank/cross-encoder.js';
import type { PairsJob } from '../rerank/score-pairs.js';
import { catalogEntry, type LocateOptions, locateModel, resolveName } from '../runtime/catalog.js';
import { PRIORITY, WorkerPool } from '../runtime/pool.js';
import { estimateTokens } from '../runtime/queue.js';
import type { GraphSpec } from '../runtime/session.js';
import type { EncodedText } from '../types.js';

export type CheckedModel = {
  name: string;
  directory: string;
  kind: 'late-interaction' | 'cross-encoder';
  /** Whether the folder says nothing of how a late-interaction model reads texts. */
  byHand: boolean;
};

/** To load what says nothing; the fixture has the lengths that are compared. */
const NOMINAL: ModelOptions = { queryLength: 32, documentLength: 256 };

/**
 * By catalog name, hub id or path: a folder whose config.json names a classifier of sequences is a
 * cross-encoder, any other is read token by token. Throws MODEL_NOT_FOUND, LICENSE_REFUSED.
 */
export async function findModel(nameOrPath: string, options: LocateOptions): Promise<CheckedModel> {
  const resolved = resolveName(nameOrPath, 'late-interaction');
  const entry = catalogEntry(resolved);
  const { name, directory } = locateModel(resolved, entry?.kind ?? 'late-interaction', options);
  const isCrossEncoder =
    entry === undefined ? await classifiesSequences(directory) : entry.kind === 'cross-encoder';
  if (isCrossEncoder) return { name, directory, kind: 'cross-encoder', byHand: false };
  const byHand = (await settingsOf(directory)) === null;
  return { name, directory, kind: 'late-interaction', byHand };
}

async function classifiesSequences(directory: string): Promise<boolean> {
  const text = await readFile(join(directory, 'config.json'), 'utf8').catch(() => '{}');
  try {
    const { architectures } = JSON.parse(text) as { architectures?: unknown };
    return Array.isArray(architectures) && /ForSequenceClassification/.test(architectures.join());
  } catch {
    return false;
  }
}

/** The licence was looked at when the model was found. */
export const LICENSED: LocateOptions = { allowNonCommercial: true };

export function source({ directory, byHand }: CheckedModel): ModelOptions & { model: string } {
  return { model: directory, ...LICENSED, ...(byHand ? NOMINAL : {}) };
}

/** The graph of one form of the model, as the loader would run it. Throws INVALID_MODEL. */
export async function graphOf(model: CheckedModel, file: string): Promise<GraphSpec> {
  if (model.kind === 'cross-encoder')
    return (await loadCrossEncoder(model.directory, file, LICENSED)).graph;
  return (await loadRecipe({ ...source(model), file })).graph;
}

export class ModelRunner {
  private readonly pool: WorkerPool;

  constructor(
    readonly workers: number,
    private readonly signal: AbortSignal | undefined,
    threadsPerRun = 1,
  ) {
    const entry = new URL('../worker.js', import.meta.url);
    this.pool = new WorkerPool(entry, { threads: workers, threadsPerRun });
  }

  encode(
    model: { recipe: Recipe; directory: string; graph: GraphSpec },
    kind: TextKind,
    texts: readonly string[],
  ): Promise<EncodedText[]> {
    const job: EncodeJob = { ...model, kind, texts };
    return this.run('encode', job, texts) as Promise<EncodedText[]>;
  }

  /** One logit per text. */
  score(job: PairsJob): Promise<Float32Array> {
    return this.run('pairs', job, job.texts) as Promise<Float32Array>;
  }

  /** What runs a graph that has been run. */
  runtimeOf(graph: GraphSpec): 'native' | 'onnx' | null {
    return this.pool.stats().models.find(({ file }) => file === graph.file)?.runtime ?? null;
  }

  close(): Promise<void> {
    return this.pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private run(kind: string, job: unknown, texts: readonly string[]): Promise<unknown> {
    const tokens = texts.reduce((sum, text) => sum + estimateTokens(text), 0);
    return this.pool.run(kind, job, { priority: PRIORITY.document, tokens, signal: this.signal });
  }
}
