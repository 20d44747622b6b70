/**
 * Queries made from documents, where nobody has real ones: a title, or a sentence. They are easier than
 * questions, as some document holds their very words, but tell codecs apart all the same.
 */

import { drawSome, type Random } from './random.js';
import type { Payload, StoredDocument } from './types.js';

const CHARACTERS = { least: 20, most: 200 } as const;
/** As many as the queries of common models have. */
const TOKENS = 32;

/** Made at its first use: its rules take some ten milliseconds to load. */
let segmenter: Intl.Segmenter | undefined;

/** The title in the payload, else a random sentence; the beginning of a text that has no usable one. */
export function pseudoQuery(
  { text, payload }: Pick<StoredDocument, 'text' | 'payload'>,
  random: Random,
): string | null {
  const title = titleOf(payload);
  if (title !== null && isUsable(title)) return title;
  if (text === null || text.trim() === '') return null;
  segmenter ??= new Intl.Segmenter('en', { granularity: 'sentence' });
  const usable = [...segmenter.segment(text)].map(({ segment }) => segment.trim()).filter(isUsable);
  const [sentence] = drawSome(usable, 1, random);
  return sentence ?? text.trim().slice(0, CHARACTERS.most).toWellFormed();
}

/** For vectors without a text: a run of a document's own tokens, so many at most. */
export function pseudoQueryVectors(
  vectors: Float32Array,
  dim: number,
  random: Random,
  most = TOKENS,
): Float32Array {
  const tokens = vectors.length / dim;
  const start = Math.floor(random() * Math.max(1, tokens - most + 1));
  return vectors.slice(start * dim, (start + most) * dim);
}

function titleOf(payload: Payload | null): string | null {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) return null;
  const { title } = payload;
  return typeof title === 'string' ? title.trim() : null;
}

function isUsable(text: string): boolean {
  return text.length >= CHARACTERS.least && text.length <= CHARACTERS.most;
}
