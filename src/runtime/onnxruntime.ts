/** The only door to onnxruntime. A graph is run on the thread that opened it, and blocks it. */
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { MaxSimError } from '../errors.js';
import { halvesToFloats } from '../half.js';
import type { GraphSpec } from './session.js';

export { type InferenceSession, Tensor } from 'onnxruntime-node';

/** `name`: of the graph, for messages. Throws INVALID_MODEL. */
export async function openGraph(
  source: string | Uint8Array,
  name: string,
  { optimisation, threads }: Pick<GraphSpec, 'optimisation' | 'threads'>,
): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders: ['cpu'],
    graphOptimizationLevel: optimisation,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
    // Threads that spin between runs would take a core from the event loop.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
  try {
    return typeof source === 'string'
      ? await InferenceSession.create(source, options)
      : await InferenceSession.create(source, options);
  } catch (cause) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${name} cannot be loaded by onnxruntime: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/** Throws INVALID_MODEL for what is neither float32 nor float16. */
export function floatsOf(
  tensor: Tensor | undefined,
  output: string,
): { data: Float32Array; dims: readonly number[] } {
  const data: unknown = tensor?.data;
  if (tensor !== undefined && data instanceof Float32Array) return { data, dims: tensor.dims };
  if (tensor?.type === 'float16' && ArrayBuffer.isView(data)) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    return { data: halvesToFloats(bytes), dims: tensor.dims };
  }
  throw new MaxSimError(
    'INVALID_MODEL',
    `The model's output ${output} must be float32 or float16, but is ${tensor?.type ?? 'absent'}.`,
  );
}
