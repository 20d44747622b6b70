/** The scale of the int8 codec: what one step of a stored byte is worth. */
import { loadAddon, type NativeSnapshot, nativeAsync } from '../runtime/addon.js';
import { Pace } from './pace.js';

// Room for longer vectors to come, in an index of vectors that are not unit-length.
const HEADROOM = 1.1;
// What the addon takes for unit length: with room for norms computed in half precision.
const UNIT_LENGTH = 1.001;
// Fewer tokens say too little about the largest component to come.
const ENOUGH_TOKENS = 4096;

// Documents whose vectors say how wide the range of all must be.
const SCALE_DOCUMENTS = 512;

/** The scale that an index without documents would use. */
export const DEFAULT_INT8_SCALE = Math.fround(1 / 127);

/** Vectors of documents spread over a snapshot: enough to choose a scale from. */
export async function sampleOf(snapshot: NativeSnapshot): Promise<Float32Array[]> {
  const vectors: Float32Array[] = [];
  const refs = snapshot.refs(0, 0xffffffff);
  const step = Math.max(1, Math.floor(refs.length / SCALE_DOCUMENTS));
  const pace = new Pace();
  for (let i = 0; i < refs.length; i += step) {
    vectors.push(snapshot.tokens(refs[i] as number));
    await pace.rest();
  }
  return vectors;
}

export async function chooseScale(vectors: readonly Float32Array[], dim: number): Promise<number> {
  const { largest, best, longest } = await nativeAsync(() => loadAddon().int8Range(vectors, dim));
  const tokens = vectors.reduce((sum, values) => sum + values.length / dim, 0);
  // Not finite: writing the segment refuses it, naming the document.
  if (!(largest > 0) || largest === Number.POSITIVE_INFINITY) return DEFAULT_INT8_SCALE;
  // Vectors longer than 1 are refused beyond the range, so theirs needs room to grow. Unit-length ones
  // are clamped there, and a rare clamped tip costs less than wider steps for all.
  if (longest > UNIT_LENGTH) return Math.fround((largest * HEADROOM) / 127);
  // Rotated unit vectors are spread like normal variables of deviation 1 / sqrt(dim): a few tokens
  // say little about those that will come, four deviations do: the best range of 8 bits for them.
  // Shorter vectors are spread as much less: none is longer than sqrt(dim) times its largest component.
  const length = Math.min(1, largest * Math.sqrt(dim));
  const range = tokens < ENOUGH_TOKENS ? Math.max(best, (4 / Math.sqrt(dim)) * length) : best;
  return Math.max(2 ** -126, Math.fround(Math.min(1, range) / 127));
}
