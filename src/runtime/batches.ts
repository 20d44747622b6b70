/**
 * Groups sequences into batches for one run.
 *
 * In onnxruntime only sequences of equal length share a batch, so nothing is padded, and only where the
 * length is a multiple of 4: onnxruntime's kernels work in rows of 4, and a text that straddles them
 * gets other roundings, so its vectors would depend on its neighbours (measured: up to 0.018 in a
 * component; bit-equal under this rule). Graphs that mix texts whatever their length run every text
 * alone (onnx-session.ts finds out). Little is lost: one text of 256 tokens a run costs 0.37 ms a token
 * and eight 0.42; of 32 tokens, 0.37 and 0.32. So queries that wait are not joined into one run either.
 *
 * The native encoder takes texts of any lengths together.
 */

/** Also bounds what an urgent job has to wait for: about 0.15 s. */
export const BATCH_TOKENS = 256;

/** Positions of `lengths`, longest first, in batches of at most `budget` tokens (or one sequence). */
export function planBatches(lengths: readonly number[], budget: number = BATCH_TOKENS): number[][] {
  const order = lengths
    .map((_, i) => i)
    .sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const batches: number[][] = [];
  let open: { length: number; positions: number[] } | undefined;
  for (const position of order) {
    const length = lengths[position] as number;
    const fits =
      open !== undefined &&
      open.length === length &&
      length % 4 === 0 &&
      length * (open.positions.length + 1) <= budget;
    if (open === undefined || !fits) {
      open = { length, positions: [] };
      batches.push(open.positions);
    }
    open.positions.push(position);
  }
  return batches;
}

/**
 * Of the native encoder: texts of any lengths, whose blocks of rows then are full. About as long for an
 * urgent job to wait as above.
 */
const PACKED_TOKENS = 1024;

/** Positions of `lengths`, longest first, in batches of at most `budget` tokens (or one sequence). */
export function packBatches(
  lengths: readonly number[],
  budget: number = PACKED_TOKENS,
): number[][] {
  const order = lengths
    .map((_, i) => i)
    .sort((a, b) => (lengths[b] as number) - (lengths[a] as number) || a - b);
  const batches: number[][] = [];
  let tokens = Number.POSITIVE_INFINITY;
  for (const position of order) {
    const length = lengths[position] as number;
    if (tokens + length > budget) {
      batches.push([]);
      tokens = 0;
    }
    batches.at(-1)?.push(position);
    tokens += length;
  }
  return batches;
}

/** A padded batch of token ids, row after row: `size * length` values in each array. */
export type TokenBatch = {
  size: number;
  length: number;
  ids: BigInt64Array;
  /** 1 for a token the model may look at, 0 for padding. */
  attention: BigInt64Array;
  /** Segment of each token: 0, or 1 for the second text of a pair. */
  types: BigInt64Array;
};

export type TokenSequence = {
  ids: readonly number[];
  /** How many leading ids the model may look at. */
  attended: number;
  /** Token types; absent: all 0. */
  types?: readonly number[];
};

/** Sequences of one length as rows of a batch. */
export function toBatch(sequences: readonly TokenSequence[]): TokenBatch {
  const size = sequences.length;
  const length = sequences[0]?.ids.length ?? 0;
  const ids = new BigInt64Array(size * length);
  const attention = new BigInt64Array(size * length);
  const types = new BigInt64Array(size * length);
  sequences.forEach((sequence, row) => {
    const from = row * length;
    for (let i = 0; i < length; i++) {
      ids[from + i] = BigInt(sequence.ids[i] as number);
      types[from + i] = BigInt(sequence.types?.[i] ?? 0);
    }
    attention.fill(1n, from, from + sequence.attended);
  });
  return { size, length, ids, attention, types };
}
