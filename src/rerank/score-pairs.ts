/**
 * On a model thread: one query and its documents in, raw logits out (never a sigmoid: ranking needs
 * the logit, and a saturated sigmoid ties). Gives way after each session run.
 */
import { MaxSimError } from '../errors.js';
import type { StopFlag } from '../runtime/native-encoder.js';
import type { GraphSpec, Session } from '../runtime/session.js';
import type { TextTokenizer } from '../runtime/tokenizer.js';
import { type Pair, toPair } from './pair.js';

export type PairsJob = {
  directory: string;
  graph: GraphSpec;
  /** What "[SEP]" within a text is: text, or that token. */
  specialTokens: 'plain' | 'as-written';
  /** Longest pair in token ids, [CLS] and both [SEP] included. */
  maxLength: number;
  query: string;
  texts: readonly string[];
};

export async function* scorePairs(
  { query, texts, maxLength, graph }: PairsJob,
  tokenizer: TextTokenizer,
  session: Session,
  stop?: StopFlag,
): AsyncGenerator<void, Float32Array> {
  // More than fits is of no use, and a text of megabytes takes seconds.
  const { ids: queryPieces } = yield* tokenizer.encodeStart(query, maxLength);
  const pairs: Pair[] = [];
  for (const text of texts) {
    const { ids } = yield* tokenizer.encodeStart(text, maxLength);
    pairs.push(toPair(queryPieces, ids, maxLength, tokenizer.pair));
  }
  yield;
  const logits = new Float32Array(texts.length);
  const lengths = pairs.map((pair) => pair.ids.length);
  for (const positions of session.plan(lengths)) {
    const batch = positions.map((position) => pairs[position] as Pair);
    const { data, dims } = await session.run(batch, stop);
    // Layers after the graph have made a logit of every token; that of [CLS], the first, is the pair's.
    const perToken = graph.head.length > 0;
    const rows = batch.map((pair) => (perToken ? pair.ids.length : 1));
    if (data.length !== rows.reduce((sum, count) => sum + count, 0)) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `A cross-encoder must give one logit a pair, but gave [${dims.join(', ')}] for ${batch.length} pairs.`,
      );
    }
    let first = 0;
    positions.forEach((position, i) => {
      logits[position] = data[first] as number;
      first += rows[i] as number;
    });
    yield;
  }
  return logits;
}
