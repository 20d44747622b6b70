/**
 * On a model thread: one query and its documents in, raw logits out (never a sigmoid: ranking needs
 * the logit, and a saturated sigmoid ties). Gives way after each session run.
 */
import { MaxSimError } from '../errors.js';
import { planBatches, toBatch } from '../runtime/batches.js';
import type { ModelSession } from '../runtime/session.js';
import type { TextTokenizer } from '../runtime/tokenizer.js';
import { type Pair, toPair } from './pair.js';

export type PairsJob = {
  directory: string;
  /** Longest pair in token ids, [CLS] and both [SEP] included. */
  maxLength: number;
  query: string;
  texts: readonly string[];
};

export async function* scorePairs(
  { query, texts, maxLength }: PairsJob,
  tokenizer: TextTokenizer,
  session: ModelSession,
): AsyncGenerator<void, Float32Array> {
  const queryPieces = tokenizer.encode(query);
  const pairs = texts.map((text) =>
    toPair(queryPieces, tokenizer.encode(text), maxLength, tokenizer.special),
  );
  yield;
  const logits = new Float32Array(texts.length);
  for (const positions of planBatches(pairs.map((pair) => pair.ids.length))) {
    const batch = toBatch(positions.map((position) => pairs[position] as Pair));
    const { data, dims } = await session.run(batch);
    if (data.length !== batch.size) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `A cross-encoder must give one logit a pair, but gave [${dims.join(', ')}] for ${batch.size} pairs.`,
      );
    }
    positions.forEach((position, row) => {
      logits[position] = data[row] as number;
    });
    yield;
  }
  return logits;
}
