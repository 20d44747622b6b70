/** How far a native encoder is from onnxruntime on the graph it was made of. */
import { MaxSimError } from '../errors.js';
import { NativeSession } from '../runtime/native-session.js';
import { OnnxSession } from '../runtime/onnx-session.js';
import type { GraphSpec } from '../runtime/session.js';
import type { TokenSequence } from './convert.js';

/**
 * Of vectors 1 less the cosine, of single numbers (a cross-encoder's) the difference. onnxruntime
 * rounds too: about half of it is its own.
 */
export type ConversionError = {
  kind: 'cosine' | 'difference';
  mean: number;
  largest: number;
  compared: number;
};

/** More than roundings account for: the graph does something else than was read from it. */
const MOST_COSINE_ERROR = 0.02;
/** The same of numbers: so much, and that share of the largest of them. */
const MOST_NUMBER_ERROR = 0.25;
const MOST_TEXTS = 8;

/** Throws INVALID_MODEL when the two differ by more than roundings. */
export async function compareWithGraph(
  graph: string,
  output: string | null,
  file: string,
  samples: readonly TokenSequence[],
): Promise<ConversionError> {
  const spec: GraphSpec = {
    file: graph,
    sha256: null,
    output,
    head: [],
    width: null,
    optimisation: 'all',
    threads: 1,
  };
  const own = await NativeSession.open(file, spec);
  const other = await OnnxSession.open(spec);
  const errors: number[] = [];
  let largestNumber = 0;
  let width = 0;
  try {
    for (const sample of samples.slice(0, MOST_TEXTS)) {
      const text = { ids: [...sample.ids], types: [...sample.types], attended: sample.ids.length };
      const [a, b] = [await own.run([text]), await other.run([text])];
      if (a.data.length !== b.data.length) {
        throw differs(graph, `[${b.dims.join(', ')}] values, not [${a.dims.join(', ')}]`);
      }
      width = a.dims.at(-1) ?? 1;
      for (let at = 0; at < a.data.length; at += width) {
        const [u, v] = [a.data.subarray(at, at + width), b.data.subarray(at, at + width)];
        for (const value of v) largestNumber = Math.max(largestNumber, Math.abs(value));
        errors.push(width === 1 ? Math.abs((u[0] ?? 0) - (v[0] ?? 0)) : 1 - cosine(u, v));
      }
    }
  } finally {
    await other.close();
  }
  const mean = errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length);
  const most = width === 1 ? MOST_NUMBER_ERROR * (1 + largestNumber) : MOST_COSINE_ERROR;
  if (!(mean <= most)) throw differs(graph, `an error of ${mean.toPrecision(3)} on average`);
  const kind = width === 1 ? 'difference' : 'cosine';
  return { kind, mean, largest: Math.max(0, ...errors), compared: errors.length };
}

function differs(graph: string, what: string): MaxSimError {
  return new MaxSimError(
    'INVALID_MODEL',
    `${graph} cannot be converted: onnxruntime gives other vectors than the encoder made of it, ${what}.`,
  );
}

function cosine(a: Float32Array, b: Float32Array): number {
  let product = 0;
  let own = 0;
  let other = 0;
  for (let i = 0; i < a.length; i++) {
    const [u, v] = [a[i] as number, b[i] as number];
    product += u * v;
    own += u * u;
    other += v * v;
  }
  return product / Math.sqrt(own * other);
}
