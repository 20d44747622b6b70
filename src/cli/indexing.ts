/**
 * One run of indexing: documents of sources gathered into batches, each added in one durable commit.
 * The next batch is read and encoded while the last one ends and commits; no id is ever in two batches
 * at once, so the last document of an id wins.
 */
import { type AddResult, type Engine, MaxSimError, type MaxSimErrorCode } from '../maxsim.js';
import type { Source, SourceItem } from './source.js';

type Found = Extract<SourceItem, { kind: 'document' }>;

/** What could not be indexed; `line` is null where a whole file is meant. */
export type Refused = { file: string; line: number | null; reason: string };

export type IndexingReport = AddResult & {
  /** Lines or files, whatever became of them. */
  read: number;
  bad: number;
  emptyFiles: number;
  elapsedMs: number;
};

export type IndexingEvents = {
  onProgress(report: IndexingReport, done: number): void;
  onRefused(refused: Refused): void;
  onEmptyFile(file: string): void;
};

export type IndexingOptions = {
  batchSize: number;
  tenant?: string;
  signal: AbortSignal;
} & IndexingEvents;

type Batch = { ids: ReadonlySet<string>; done: Promise<void> };

/** Codes that say that a document is at fault, not the index or the machine. */
const REFUSALS: ReadonlySet<MaxSimErrorCode> = new Set<MaxSimErrorCode>([
  'INVALID_ARGUMENT',
  'INVALID_VECTORS',
  'VECTOR_OUT_OF_RANGE',
  'EMPTY_TEXT',
]);
const IN_FLIGHT = 2;

export class Indexing {
  private readonly report: IndexingReport = {
    read: 0,
    added: 0,
    replaced: 0,
    unchanged: 0,
    truncated: 0,
    bad: 0,
    emptyFiles: 0,
    elapsedMs: 0,
  };
  private readonly started = performance.now();
  private readonly inFlight: Batch[] = [];
  private batch = new Map<string, Found>();

  constructor(
    private readonly engine: Engine,
    private readonly options: IndexingOptions,
  ) {}

  /** Resolves early when the signal fires; what was committed stays, and is what is reported. */
  async run(sources: readonly Source[]): Promise<IndexingReport> {
    const { signal, batchSize } = this.options;
    try {
      for (const source of sources) {
        for await (const item of source.read()) {
          if (signal.aborted) break;
          this.take(item);
          if (this.batch.size >= batchSize) await this.submit();
        }
      }
      await this.submit();
      await Promise.all(this.inFlight.map((batch) => batch.done));
    } finally {
      await Promise.allSettled(this.inFlight.map((batch) => batch.done));
      this.report.elapsedMs = performance.now() - this.started;
    }
    return this.report;
  }

  private take(item: SourceItem): void {
    this.report.read += 1;
    if (item.kind === 'bad') {
      this.refuse({ file: item.file, line: item.line, reason: item.reason });
    } else if (item.kind === 'empty') {
      this.report.emptyFiles += 1;
      this.options.onEmptyFile(item.file);
    } else {
      const { id } = item.document;
      if (this.batch.delete(id)) this.report.replaced += 1;
      this.batch.set(id, item);
    }
  }

  private async submit(): Promise<void> {
    const found = [...this.batch.values()];
    const ids = new Set(this.batch.keys());
    this.batch = new Map();
    if (found.length === 0) return;
    const clash = (other: Batch): boolean => found.some((item) => other.ids.has(item.document.id));
    while (this.inFlight.length >= IN_FLIGHT || this.inFlight.some(clash)) {
      await Promise.race(this.inFlight.map((batch) => batch.done));
    }
    if (this.options.signal.aborted) return;
    const done = this.add(found).finally(() => {
      this.inFlight.splice(this.inFlight.indexOf(entry), 1);
    });
    const entry: Batch = { ids, done };
    this.inFlight.push(entry);
    done.catch(() => {}); // awaited in `submit` or `run`
  }

  private async add(found: readonly Found[]): Promise<void> {
    const { signal, tenant } = this.options;
    try {
      const { added, replaced, unchanged, truncated } = await this.engine.add(
        found.map((item) => item.document),
        { skipUnchanged: true, signal, ...(tenant === undefined ? {} : { tenant }) },
      );
      this.report.added += added;
      this.report.replaced += replaced;
      this.report.unchanged += unchanged;
      this.report.truncated += truncated;
      this.progress();
    } catch (error) {
      if (!(error instanceof MaxSimError)) throw error;
      if (error.code === 'ABORTED' && signal.aborted) return;
      if (!REFUSALS.has(error.code)) throw error;
      // One document fails the whole batch: halving finds it, and the others are kept.
      const [first, ...others] = found;
      if (first !== undefined && others.length === 0) {
        this.refuse({ file: first.file, line: first.line, reason: error.message });
        return;
      }
      const middle = found.length >> 1;
      await this.add(found.slice(0, middle));
      await this.add(found.slice(middle));
    }
  }

  private refuse(refused: Refused): void {
    this.report.bad += 1;
    this.options.onRefused(refused);
  }

  private progress(): void {
    const { added, replaced, unchanged, bad, emptyFiles } = this.report;
    this.report.elapsedMs = performance.now() - this.started;
    this.options.onProgress(this.report, added + replaced + unchanged + bad + emptyFiles);
  }
}
