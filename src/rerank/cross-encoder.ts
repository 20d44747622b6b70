/**
 * A cross-encoder reads query and document together: the best and slowest judge of a short list.
 * Scores are the model's raw logits; only their order within one query means anything.
 */
import { join } from 'node:path';
import { checkArray, checkString, checkText } from '../check.js';
import { MaxSimError } from '../errors.js';
import { locateModel } from '../runtime/catalog.js';
import { PRIORITY, type WorkerPool } from '../runtime/pool.js';
import { readJson } from '../runtime/tokenizer.js';
import type { EncodeOptions } from '../types.js';
import type { PairsJob } from './score-pairs.js';

/** Documents of one job: the threads share a list, and each gives way between its batches. */
const JOB_DOCUMENTS = 8;

export class CrossEncoder {
  private constructor(
    readonly model: string,
    private readonly directory: string,
    /** Longest pair in token ids, [CLS] and both [SEP] included. */
    readonly maxLength: number,
    private readonly pool: WorkerPool,
  ) {}

  /** Throws MODEL_NOT_FOUND or INVALID_MODEL. The pool stays the caller's. */
  static async open(model: string, pool: WorkerPool): Promise<CrossEncoder> {
    const { name, directory } = locateModel(model, 'cross-encoder');
    const config = (await readJson(join(directory, 'config.json'))) as {
      max_position_embeddings?: unknown;
    };
    const maxLength = config.max_position_embeddings;
    if (typeof maxLength !== 'number' || !Number.isInteger(maxLength) || maxLength < 8) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${join(directory, 'config.json')} must give max_position_embeddings, but gives ${JSON.stringify(maxLength)}.`,
      );
    }
    return new CrossEncoder(name, directory, maxLength, pool);
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
    const jobs: Promise<void>[] = [];
    for (let from = 0; from < order.length; from += JOB_DOCUMENTS) {
      const positions = order.slice(from, from + JOB_DOCUMENTS);
      const texts = positions.map((position) => documents[position] as string);
      const job: PairsJob = { directory: this.directory, maxLength: this.maxLength, query, texts };
      const cost = texts.reduce((sum, text) => sum + text.length + query.length, 0);
      jobs.push(
        this.pool
          .run('pairs', job, { priority: PRIORITY.rerank, cost, signal: options.signal })
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
