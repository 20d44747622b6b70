/**
 * Documents from a stream of lines into the index, commit by commit: `{ id, text?, vectors?, payload? }`
 * a line. What stands before the first bad line is durable, and the answer says how much that is.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { checkId, checkOptions, checkPayload, checkText } from '../check.js';
import { MaxSimError } from '../errors.js';
import type { AddOptions, AddResult, DocumentInput, Engine } from '../maxsim.js';
import { type Admission, estimateTokens } from './admission.js';
import { vectorsOf } from './evidence.js';
import { type Failure, RequestError } from './failure.js';
import type { Line } from './ndjson.js';

/** Of a commit: as many as the CLI has, and about a second of encoding. */
const BATCH_DOCUMENTS = 64;
const BATCH_CHARACTERS = 64_000;
/** Of lines, which with vectors are long. */
const BATCH_LINES = 2 ** 24;
/** How long a stream waits where the queue of the engine is full. */
const RETRY_MS = 100;

export type BulkResult = AddResult & { commits: number };

/** What a stream stored before it failed, and why it did. */
export class BulkError extends RequestError {
  constructor(failure: Failure, stored: BulkResult, cause: unknown) {
    const { status, code, message, details, retryAfterS } = failure;
    super(status, code, message, retryAfterS, { ...details, stored });
    this.cause = cause; // for the log
  }
}

export class Bulk {
  private readonly result: BulkResult = {
    added: 0,
    replaced: 0,
    unchanged: 0,
    truncated: 0,
    commits: 0,
  };
  private batch: DocumentInput[] = [];
  private firstLine = 0;
  private lastLine = 0;
  private characters = 0;
  private lineCharacters = 0;

  constructor(
    private readonly engine: Engine,
    private readonly admission: Admission,
    private readonly options: AddOptions & { signal: AbortSignal },
  ) {}

  get stored(): BulkResult {
    return this.result;
  }

  /** Stores all; throws at the first that is bad, when those before it are stored. */
  async take(lines: AsyncIterable<Line>): Promise<BulkResult> {
    try {
      for await (const line of lines) {
        const document = parse(line);
        if (this.batch.length === 0) this.firstLine = line.number;
        this.lastLine = line.number;
        this.batch.push(document);
        this.characters += document.text?.length ?? 0;
        this.lineCharacters += line.text.length;
        if (this.isFull) await this.flush();
      }
    } catch (error) {
      // What has arrived whole is kept, unless it is what failed.
      if (!this.options.signal.aborted) await this.flush();
      throw error;
    }
    await this.flush();
    return this.result;
  }

  private get isFull(): boolean {
    return (
      this.batch.length >= BATCH_DOCUMENTS ||
      this.characters >= BATCH_CHARACTERS ||
      this.lineCharacters >= BATCH_LINES
    );
  }

  private async flush(): Promise<void> {
    const { batch } = this;
    if (batch.length === 0) return;
    this.batch = [];
    this.characters = 0;
    this.lineCharacters = 0;
    const leave = this.admission.track(estimateTokens(batch.map(({ text }) => text ?? '')));
    let done = false;
    try {
      const { added, replaced, unchanged, truncated } = await this.add(batch);
      this.result.added += added;
      this.result.replaced += replaced;
      this.result.unchanged += unchanged;
      this.result.truncated += truncated;
      this.result.commits += 1;
      done = unchanged === 0;
    } catch (error) {
      if (!(error instanceof MaxSimError)) throw error;
      const where = `Lines ${this.firstLine} to ${this.lastLine} were not stored`;
      throw new MaxSimError(error.code, `${where}: ${error.message}`, { cause: error });
    } finally {
      leave(done);
    }
  }

  /** A stream is never told to come again: it waits. */
  private async add(batch: readonly DocumentInput[]): Promise<AddResult> {
    for (;;) {
      try {
        return await this.engine.add(batch, this.options);
      } catch (error) {
        if (!(error instanceof MaxSimError) || error.code !== 'OVERLOADED') throw error;
      }
      await delay(RETRY_MS);
      if (this.options.signal.aborted)
        throw new MaxSimError('ABORTED', 'The stream was cut off before all of it was stored.');
    }
  }
}

function parse({ number, text }: Line): DocumentInput {
  try {
    return documentOf('document', JSON.parse(text));
  } catch (error) {
    const { message } = error as Error;
    const what = error instanceof SyntaxError ? `it is not JSON: ${message}` : message;
    const code = error instanceof MaxSimError ? error.code : 'INVALID_ARGUMENT';
    throw new RequestError(400, code, `Line ${number}: ${what}`, null, { line: number });
  }
}

/** Of a body or a line. Throws INVALID_ARGUMENT, EMPTY_TEXT. */
export function documentOf(name: string, value: unknown): DocumentInput {
  const { id, text, vectors, payload } = checkOptions<Record<string, unknown>>(
    name,
    value as Record<string, unknown>,
    ['id', 'text', 'vectors', 'payload'],
  );
  checkId(`${name}.id`, id);
  if (text !== undefined || vectors === undefined) checkText(`${name}.text`, text);
  if (payload !== undefined) checkPayload(`${name}.payload`, payload);
  return {
    id: id as string,
    ...(text === undefined ? {} : { text: text as string }),
    ...(vectors === undefined ? {} : { vectors: vectorsOf(`${name}.vectors`, vectors) }),
    ...(payload === undefined ? {} : { payload: payload as NonNullable<DocumentInput['payload']> }),
  };
}
