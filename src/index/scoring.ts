/** Around one scoring call: which ids are known, how long it may take, where its scores belong. */
import { checkPositive } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { loadAddon, nativeAsync, type TaskLimits, UNKNOWN_REF } from '../runtime/addon.js';
import type { CodecName } from '../types.js';

/** Known refs in order; `places[i]` is the place of the i-th one's id, null when all are known. */
export type ResolvedIds = { known: Uint32Array; places: Uint32Array | null; unknownIds: string[] };

export function resolveRefs(ids: readonly string[], refs: Uint32Array): ResolvedIds {
  const unknownIds: string[] = [];
  for (let i = 0; i < refs.length; i++) {
    if (refs[i] === UNKNOWN_REF) unknownIds.push(ids[i] as string);
  }
  if (unknownIds.length === 0) return { known: refs, places: null, unknownIds };
  const places = Uint32Array.from(refs.keys()).filter((i) => refs[i] !== UNKNOWN_REF);
  return { known: refs.filter((ref) => ref !== UNKNOWN_REF), places, unknownIds };
}

/** Scores of the known ids at the places of all; NaN elsewhere. */
export function spread(
  scores: Float32Array,
  places: Uint32Array | null,
  size: number,
): Float32Array {
  if (places === null) return scores;
  const all = new Float32Array(size).fill(Number.NaN);
  for (let i = 0; i < scores.length; i++) all[places[i] as number] = scores[i] as number;
  return all;
}

/**
 * Multiply-adds that each kernel set does in about 0.3 ms on one core (measured, int8; f32 takes four
 * times as long): what may run on the event loop, where handing it over and back would cost as much.
 */
const SHORT_WORK: Readonly<Record<string, number>> = {
  avx512: 80e6,
  avxvnni: 40e6,
  avx2: 20e6,
  neon: 20e6,
};

let shortWork: number | undefined;

/** Whether scoring these documents is no burden for the event loop. */
export function isShort(
  query: { tokenCount: number; dim: number },
  codec: CodecName,
  tokenCounts: Uint32Array,
): boolean {
  shortWork ??= SHORT_WORK[loadAddon().kernels().chosen] ?? 0;
  const tokens = tokenCounts.reduce((sum, count) => sum + count, 0);
  return tokens * query.tokenCount * query.dim * (codec === 'f32' ? 4 : 1) <= shortWork;
}

/** Runs a task that ends with ABORTED when the signal fires or the time is up. */
export async function withLimits<T>(
  signal: AbortSignal | undefined,
  deadlineMs: number | undefined,
  run: (limits: TaskLimits) => Promise<T>,
): Promise<T> {
  if (deadlineMs !== undefined) checkPositive('deadlineMs', deadlineMs);
  const limits: TaskLimits = deadlineMs === undefined ? {} : { deadlineMs };
  if (signal === undefined) return await nativeAsync(() => run(limits));
  if (!(signal instanceof AbortSignal)) throw invalid('signal', 'an AbortSignal', signal);
  const cancel = new (loadAddon().Cancel)();
  const abort = () => cancel.cancel();
  if (signal.aborted) {
    throw new MaxSimError('ABORTED', 'The caller aborted the operation.', { cause: signal.reason });
  }
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await nativeAsync(() => run({ ...limits, cancel }));
  } catch (error) {
    if (!signal.aborted || (error as MaxSimError).code !== 'ABORTED') throw error;
    throw new MaxSimError('ABORTED', 'The caller aborted the operation.', { cause: signal.reason });
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
