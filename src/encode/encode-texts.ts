/**
 * On a model thread: texts in, token vectors out, one session run at a time. The generator gives way
 * after each run, so that its thread can serve something more urgent in between.
 */
import { MaxSimError } from '../errors.js';
import { planBatches, toBatch } from '../runtime/batches.js';
import type { ModelSession } from '../runtime/session.js';
import type { TextTokenizer } from '../runtime/tokenizer.js';
import type { EncodedText } from '../types.js';
import type { Recipe } from './recipe.js';
import { type Sequence, type TextKind, toSequence } from './sequence.js';

export type EncodeJob = {
  directory: string;
  recipe: Recipe;
  kind: TextKind;
  texts: readonly string[];
};

export async function* encodeTexts(
  { texts, kind, recipe }: EncodeJob,
  tokenizer: TextTokenizer,
  session: ModelSession,
): AsyncGenerator<void, EncodedText[]> {
  const sequences: Sequence[] = [];
  for (const text of texts) {
    sequences.push(toSequence(text, kind, recipe, tokenizer));
    if (sequences.length % 16 === 0) yield;
  }
  const encoded = new Array<EncodedText>(texts.length);
  for (const positions of planBatches(sequences.map((sequence) => sequence.ids.length))) {
    const members = positions.map((position) => sequences[position] as Sequence);
    const batch = toBatch(members);
    const { data, dims } = await session.run(batch);
    const width = dims[2];
    if (
      dims.length !== 3 ||
      dims[0] !== batch.size ||
      dims[1] !== batch.length ||
      width !== recipe.dim
    ) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${recipe.model} must give [${batch.size}, ${batch.length}, ${recipe.dim}] token vectors, but gave [${dims.join(', ')}].`,
      );
    }
    members.forEach((sequence, row) => {
      const vectors = new Float32Array(sequence.kept.length * width);
      sequence.kept.forEach((token, i) => {
        const from = (row * batch.length + token) * width;
        vectors.set(data.subarray(from, from + width), i * width);
      });
      encoded[positions[row] as number] = {
        vectors,
        tokenCount: sequence.kept.length,
        truncatedTokens: sequence.truncatedTokens,
      };
    });
    yield;
  }
  return encoded;
}
