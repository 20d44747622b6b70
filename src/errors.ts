/**
 * The one error of maxsim. Every failure carries a `code`; docs/errors.md has a heading per code.
 */
export type MaxSimErrorCode =
  | 'INVALID_ARGUMENT' // a value of the wrong type or outside its range
  | 'INVALID_VECTORS' // token vectors of the wrong type, length, dim, or not finite
  | 'VECTOR_OUT_OF_RANGE' // a component that the index's int8 codec cannot hold
  | 'EMPTY_TEXT' // a query or document text with nothing in it
  | 'UNKNOWN_ID' // an id that the index does not hold, where one is required
  | 'CLOSED' // use after close()
  | 'ABORTED' // the caller's AbortSignal fired
  | 'NOT_AN_INDEX' // the directory holds no maxsim index
  | 'UNSUPPORTED_FORMAT' // a format version this release cannot read
  | 'CORRUPT_INDEX' // a stored byte, length or checksum is wrong
  | 'INDEX_LOCKED' // another writer has the index open
  | 'READ_ONLY' // a write through a reader
  | 'TENANT_REQUIRED' // an index with tenants, asked without naming one
  | 'MODEL_MISMATCH' // the index was made by another model, recipe, dim or codec
  | 'CALIBRATION_MISMATCH' // a calibrator, floor or gate made for another model, length or corpus
  | 'MODEL_NOT_FOUND' // no such model in the catalog or at the path
  | 'INVALID_MODEL' // a model folder that cannot be loaded
  | 'LICENSE_REFUSED' // weights that must not be used commercially, without leave
  | 'DOWNLOAD_FAILED' // the hub refused, failed or sent something else
  | 'INVALID_SOURCE' // a corpus, query, candidate or import file that is bad
  | 'DISK_FULL' // too little space for what is to be written
  | 'IO_ERROR' // the operating system refused
  | 'DEADLINE_EXCEEDED' // no time was left to begin
  | 'OVERLOADED' // too much work waits already
  | 'WORKER_FAILED' // an encoder thread died
  | 'RERANKER_FAILED' // a reranking service refused, failed or answered with something else
  | 'RERANKER_UNAVAILABLE' // a reranker that failed too often, or has too much to do, was not asked
  | 'ENCODER_FAILED' // the caller's own encoder threw, or gave no results
  | 'ADDON_NOT_FOUND' // the native addon is not built, or cannot be loaded
  | 'UNSUPPORTED_ISA' // MAXSIM_ISA names kernels this CPU cannot run
  | 'INTERNAL'; // a bug in maxsim

export class MaxSimError extends Error {
  override readonly name = 'MaxSimError';
  readonly code: MaxSimErrorCode;
  /** Facts about the failure for programs: file, line, id, section … */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: MaxSimErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** "topK must be a positive integer, but 0 was given." */
export function invalid(name: string, expected: string, given: unknown): MaxSimError {
  return new MaxSimError(
    'INVALID_ARGUMENT',
    `${name} must be ${expected}, but ${show(given)} was given.`,
  );
}

/** A short, safe rendering of any value for an error message. */
export function show(value: unknown): string {
  if (typeof value === 'string')
    return value.length > 60 ? `${JSON.stringify(value.slice(0, 57))}…` : JSON.stringify(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol' || typeof value === 'bigint' || typeof value !== 'object')
    return String(value);
  if (value === null) return 'null';
  if (ArrayBuffer.isView(value)) {
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    return 'length' in value ? `a ${kind} of length ${String(value.length)}` : `a ${kind}`;
  }
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  return `an object with keys ${Object.keys(value).slice(0, 5).join(', ') || '(none)'}`;
}
