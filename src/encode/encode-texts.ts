/**
 * On a model thread: texts in, token vectors out, one session run at a time. The generator gives way
 * after each run, so that its thread can serve something more urgent in between.
 */
import { MaxSimError } from '../errors.js';
import type { StopFlag } from '../runtime/native-encoder.js';
import type { GraphSpec, Session } from '../runtime/session.js';
import type { TextTokenizer } from '../runtime/tokenizer.js';
import type { EncodedText } from '../types.js';
import { pool } from './pooling.js';
import type { Recipe } from './recipe.js';
import { piecesOf, type Sequence, type TextKind, toSequences } from './sequence.js';
import { toUnit } from './unit-vector.js';

export type EncodeJob = {
  directory: string;
  graph: GraphSpec;
  recipe: Recipe;
  kind: TextKind;
  texts: readonly string[];
};

/** Texts that are tokenised before somebody else may have the thread. */
const TEXTS_A_STEP = 16;

/** A sequence of a text, and where its vectors go. */
type Part = { sequence: Sequence; text: number; firstVector: number };

export async function* encodeTexts(
  { texts, kind, recipe, graph }: EncodeJob,
  tokenizer: TextTokenizer,
  session: Session,
  stop?: StopFlag,
): AsyncGenerator<void, EncodedText[]> {
  const parts: Part[] = [];
  const encoded: EncodedText[] = [];
  for (const [text, content] of texts.entries()) {
    const steps = piecesOf(content, kind, recipe, tokenizer);
    let step = steps.next();
    for (; !step.done; step = steps.next()) if (content.length > 1 << 14) yield;
    const { sequences, truncatedTokens } = toSequences(step.value, kind, recipe, tokenizer);
    let tokenCount = 0;
    for (const sequence of sequences) {
      parts.push({ sequence, text, firstVector: tokenCount });
      tokenCount += sequence.kept.length;
    }
    encoded.push({
      vectors: new Float32Array(tokenCount * recipe.dim),
      tokenCount,
      truncatedTokens,
      ...(sequences.length > 1 ? { windows: sequences.length } : {}),
    });
    if (text % TEXTS_A_STEP === TEXTS_A_STEP - 1) yield;
  }
  const lengths = parts.map(({ sequence }) => sequence.ids.length);
  for (const positions of session.plan(lengths)) {
    const members = positions.map((position) => parts[position] as Part);
    const sequences = members.map(({ sequence }) => sequence);
    const { data, dims } = await session.run(sequences, stop);
    const tokens = sequences.reduce((sum, { ids }) => sum + ids.length, 0);
    const [rows, width = 0] = dims;
    if (dims.length !== 2 || rows !== tokens || width !== graph.width) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${recipe.model} must give ${graph.width} values for each of ${tokens} tokens, but gave [${dims.join(', ')}].`,
      );
    }
    let first = 0;
    for (const { sequence, text, firstVector } of members) {
      const { vectors } = encoded[text] as EncodedText;
      sequence.kept.forEach((token, i) => {
        const from = (first + token) * width;
        const at = (firstVector + i) * recipe.dim;
        vectors.set(data.subarray(from, from + recipe.dim), at);
        if (recipe.normalise) toUnit(vectors.subarray(at, at + recipe.dim));
      });
      first += sequence.ids.length;
    }
    yield;
  }
  const { pooling } = recipe;
  if (kind === 'document' && pooling !== null) {
    // Window by window: its work and memory grow with the square of the tokens.
    const pooled = encoded.map((): Float32Array[] => []);
    for (const { sequence, text, firstVector } of parts) {
      const { vectors } = encoded[text] as EncodedText;
      const end = firstVector + sequence.kept.length;
      const window = vectors.subarray(firstVector * recipe.dim, end * recipe.dim);
      pooled[text]?.push(pool(window, recipe.dim, pooling));
      yield;
    }
    for (const [i, text] of encoded.entries()) {
      const vectors = joined(pooled[i] as Float32Array[]);
      encoded[i] = { ...text, vectors, tokenCount: vectors.length / recipe.dim };
    }
  }
  return encoded;
}

/** In memory of its own, as it is handed over to another thread. */
function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
