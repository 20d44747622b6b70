/**
 * Taking in files of others: documents stream from their source into the index, batch by durable batch;
 * the next batch is read while the last one commits.
 */
import { checkInteger, checkOptions } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { contentHashes } from '../index/content-hash.js';
import type { EncoderIdentity } from '../index/manifest.js';
import { Pace } from '../index/pace.js';
import type { CommitResult, Index, IndexDocument } from '../index/store.js';
import type { DocumentSource, ImportFormat } from './documents.js';
import type { ExportHeader } from './header.js';
import { openSource, type SourceOptions } from './open-source.js';

export type { ImportFormat } from './documents.js';
export type { SourceOptions } from './open-source.js';

export type ImportProgress = {
  /** Documents read so far, and of how many; null where only the end of the file tells. */
  documents: number;
  total: number | null;
};

export type ImportOptions = SourceOptions & {
  /** Documents per commit; a batch also ends at 8 MB of vectors. Default: 1,000. */
  batchSize?: number;
  /**
   * Leave out documents that the index holds with the same content hash: to go on with an import that
   * was cut off. Default: false, every document is stored again.
   */
  resume?: boolean;
  /** Whose documents they become: required for an index with tenants. */
  tenant?: string;
  signal?: AbortSignal;
  onProgress?: (progress: ImportProgress) => void;
};

export type ImportResult = {
  format: ImportFormat;
  /** Stored by this call: new ids, and ids that were there before. */
  added: number;
  replaced: number;
  /** Left out: already there (`resume`); deleted in the source, or without tokens. */
  unchanged: number;
  skipped: number;
  clippedComponents: number;
  generation: number;
};

export type ImportDescription = {
  format: ImportFormat;
  /** For people: which index of which bits and centroids, which tensor of which shape. */
  description: string;
  dim: number;
  /** Null where only the end of the file tells. */
  documents: number | null;
  /** Of exports of maxsim, else null. */
  codec: ExportHeader['codec'] | null;
  encoder: EncoderIdentity | null;
};

const BATCH_BYTES = 8e6;

/** What a path holds, before any of it is imported. Throws INVALID_SOURCE, INVALID_ARGUMENT. */
export async function describeImport(
  path: string,
  options?: SourceOptions,
): Promise<ImportDescription> {
  const source = await openSource(
    path,
    checkOptions<SourceOptions>('options', options, ['format', 'ids', 'lengths']),
  );
  try {
    const { format, description, dim, documents, header } = source;
    const { codec = null, encoder = null } = header ?? {};
    return { format, description, dim, documents, codec, encoder };
  } finally {
    await source.close();
  }
}

/**
 * Imports documents with their token vectors into an index open for writing; ids that it holds are
 * replaced. Batches are committed one after the other: when this rejects, those that were committed
 * stay (`details.committed` says how many documents), and the same call again stores the rest.
 * Memory: two batches, and of a PLAID index its centroids.
 *
 * Throws INVALID_SOURCE naming the file, MODEL_MISMATCH where dim or encoder differ, ABORTED, and what
 * `add` throws.
 */
export async function importInto(
  index: Index,
  path: string,
  options?: ImportOptions,
): Promise<ImportResult> {
  const checked = checkOptions<ImportOptions>('options', options, [
    'format',
    'ids',
    'lengths',
    'batchSize',
    'resume',
    'tenant',
    'signal',
    'onProgress',
  ]);
  const { batchSize = 1000, resume = false, tenant, signal, onProgress } = checked;
  checkInteger('batchSize', batchSize, 1, 1e6);
  if (typeof resume !== 'boolean') throw invalid('resume', 'a boolean', resume);
  index.checkWritable();
  const view = index.view(tenant);
  const source = await openSource(path, checked);
  const run = new Import(index, view, source, resume);
  try {
    checkIdentity(index, source, path);
    const pace = new Pace();
    for await (const document of source.read()) {
      signal?.throwIfAborted();
      if (run.take(document, batchSize)) await run.flush();
      onProgress?.({ documents: run.read + source.skipped, total: source.documents });
      await pace.rest();
    }
    signal?.throwIfAborted();
    await run.flush();
    await run.settle();
    return run.result();
  } catch (error) {
    await run.settle().catch(() => {});
    throw explain(error, signal, run.committed);
  } finally {
    await source.close();
  }
}

class Import {
  read = 0;
  committed = 0;
  private batch: IndexDocument[] = [];
  private bytes = 0;
  private pending: Promise<void> = Promise.resolve();
  private readonly counts = { added: 0, replaced: 0, unchanged: 0, clippedComponents: 0 };

  constructor(
    private readonly index: Index,
    private readonly view: ReturnType<Index['view']>,
    private readonly source: DocumentSource,
    private readonly resume: boolean,
  ) {}

  /** True when the batch is full. */
  take(document: IndexDocument, batchSize: number): boolean {
    this.read += 1;
    this.batch.push(document);
    this.bytes += document.vectors.byteLength;
    return this.batch.length >= batchSize || this.bytes >= BATCH_BYTES;
  }

  /** Starts to commit what was taken, once the batch before is durable. */
  async flush(): Promise<void> {
    const documents = this.batch;
    this.batch = [];
    this.bytes = 0;
    await this.pending;
    if (documents.length === 0) return;
    this.pending = this.commit(documents);
    this.pending.catch(() => {}); // awaited by the next batch, or `settle`
  }

  async settle(): Promise<void> {
    await this.pending;
  }

  result(): ImportResult {
    const { format, skipped } = this.source;
    return { format, ...this.counts, skipped, generation: this.index.generation };
  }

  private async commit(documents: readonly IndexDocument[]): Promise<void> {
    const hashed = await this.withHashes(documents);
    const fresh = this.resume ? await this.unknown(hashed) : hashed;
    this.counts.unchanged += documents.length - fresh.length;
    if (fresh.length > 0) this.count(await this.view.add(fresh));
    this.committed += documents.length;
  }

  private count({ added, replaced, clippedComponents }: CommitResult): void {
    this.counts.added += added;
    this.counts.replaced += replaced;
    this.counts.clippedComponents += clippedComponents;
  }

  /** With a content hash each, over the vectors too; exports say theirs, or that there was none. */
  private async withHashes(documents: readonly IndexDocument[]): Promise<IndexDocument[]> {
    if (this.source.header !== null) return [...documents];
    const hashes = await contentHashes(documents);
    return documents.map((document, i) => ({ contentHash: hashes[i] as string, ...document }));
  }

  private async unknown(documents: readonly IndexDocument[]): Promise<IndexDocument[]> {
    const stored = this.view.contentHashes(documents.map(({ id }) => id));
    return documents.filter(
      ({ contentHash }, i) => contentHash === undefined || contentHash !== stored[i],
    );
  }
}

function checkIdentity(index: Index, source: DocumentSource, path: string): void {
  const differences: string[] = [];
  if (source.dim !== index.dim) differences.push(`dim ${source.dim}, not ${index.dim}`);
  const theirs = source.header?.encoder?.fingerprint;
  const ours = index.encoder?.fingerprint;
  if (theirs !== undefined && ours !== undefined && theirs !== ours) {
    differences.push(`encoder ${theirs}, not ${ours}`);
  }
  if (differences.length === 0) return;
  throw new MaxSimError(
    'MODEL_MISMATCH',
    `${path} holds vectors of ${differences.join(' and of ')} as the index at ${index.directory}.`,
    { details: { file: path } },
  );
}

function explain(error: unknown, signal: AbortSignal | undefined, committed: number): unknown {
  if (signal?.aborted && (error === signal.reason || !(error instanceof MaxSimError))) {
    return new MaxSimError(
      'ABORTED',
      `The import was aborted; ${committed} documents were committed.`,
      { cause: error, details: { committed } },
    );
  }
  if (!(error instanceof MaxSimError)) return error;
  return new MaxSimError(error.code, error.message, {
    cause: error,
    details: { ...error.details, committed },
  });
}
