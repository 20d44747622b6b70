/** One rerank or search under way: its request, its clock and deadline. */
import type { Index, TenantView } from './index/store.js';
import type { RankRequest } from './request.js';
import type { Pipeline } from './rerank/pipeline.js';
import { aborted } from './runtime/pool.js';
import type { Filter, Timings } from './types.js';

export class Call {
  readonly text: string | null;
  vectors: Float32Array | null;
  readonly topK: number;
  readonly pipeline: Pipeline;
  readonly plain: boolean;
  readonly explain: boolean;
  readonly filter: Filter | undefined;
  /** The documents that the call is about. */
  readonly view: Index | TenantView;
  /** The caller's. */
  readonly signal: AbortSignal | undefined;
  readonly timings: Timings = { encodeMs: 0, scoreMs: 0, crossEncoderMs: 0, totalMs: 0 };
  /** When it began, and when it must be over, of performance.now(); Infinity: never. */
  readonly since = performance.now();
  readonly until: number;

  /** Throws ABORTED when the caller's signal has fired already. */
  constructor(request: RankRequest, view: Index | TenantView) {
    if (request.signal?.aborted) throw aborted(request.signal);
    this.text = request.text;
    this.vectors = request.vectors;
    this.topK = request.topK;
    this.pipeline = request.pipeline;
    this.plain = request.plain;
    this.explain = request.explain;
    this.filter = request.filter;
    this.view = view;
    this.signal = request.signal;
    this.until = this.since + (request.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  end(): Timings {
    this.timings.totalMs = performance.now() - this.since;
    return this.timings;
  }
}
