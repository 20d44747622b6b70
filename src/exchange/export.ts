/** Writing an index for others: as jsonl, or as safetensors with a jsonl sidecar. */
import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { checkBoolean, checkInteger, checkOptions, checkString } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { floatsToHalves } from '../half.js';
import { Index } from '../index/store.js';
import type { StoredDocument } from '../types.js';
import { type ExportHeader, serializeHeader } from './header.js';
import { checksum } from './jsonl-source.js';
import { layOut } from './safetensors.js';
import { sidecarOf } from './safetensors-source.js';
import { type StagedFile, StagedFiles } from './staged-files.js';

export const EXPORT_FORMATS = ['jsonl', 'safetensors'] as const;

export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export type ExportProgress = { documents: number; total: number };

export type ExportOptions = {
  /** Default: 'jsonl', or 'safetensors' for a path that ends so. */
  format?: ExportFormat;
  /**
   * False: ids, texts and payloads alone, as a corpus that `maxsim index` reads ({id, text, metadata}).
   * Default: true.
   */
  vectors?: boolean;
  /** Of safetensors: 'f16' halves the size and rounds to half precision. Default: 'f32', exact. */
  dtype?: 'f32' | 'f16';
  /** Of safetensors: vectors beyond this go to further files. Default: 4 GiB. */
  shardBytes?: number;
  /** Replace files that are there. Default: false. */
  overwrite?: boolean;
  /** Whose documents: required for an index with tenants, which are exported one by one. */
  tenant?: string;
  signal?: AbortSignal;
  onProgress?: (progress: ExportProgress) => void;
};

export type ExportResult = {
  format: ExportFormat;
  /** All that were written, the one to give to an importer first. */
  files: string[];
  documents: number;
  tokens: number;
  generation: number;
};

const DEFAULT_SHARD_BYTES = 2 ** 32;
const SLICE_MS = 4;

/**
 * Writes the newest generation of an index, or of the one in a directory, whatever is committed
 * meanwhile. The files appear when they are complete and durable, or not at all; a document at a time is
 * held.
 *
 * Throws INVALID_ARGUMENT where a file is there already, ABORTED, IO_ERROR; VECTOR_OUT_OF_RANGE where
 * f16 cannot hold a value.
 *
 * @example
 * await exportIndex(index, './index.safetensors')
 */
export async function exportIndex(
  index: Index | string,
  path: string,
  options?: ExportOptions,
): Promise<ExportResult> {
  checkString('path', path);
  const checked = checkOptions<ExportOptions>('options', options, [
    'format',
    'vectors',
    'dtype',
    'shardBytes',
    'overwrite',
    'tenant',
    'signal',
    'onProgress',
  ]);
  const {
    format = /\.safetensors$/i.test(path) ? 'safetensors' : 'jsonl',
    vectors = true,
    dtype = 'f32',
    shardBytes = DEFAULT_SHARD_BYTES,
    overwrite = false,
    tenant,
    signal,
    onProgress,
  } = checked;
  if (!EXPORT_FORMATS.includes(format)) {
    throw invalid('format', `one of ${EXPORT_FORMATS.join(', ')}`, format);
  }
  if (dtype !== 'f32' && dtype !== 'f16') throw invalid('dtype', "'f32' or 'f16'", dtype);
  checkBoolean('vectors', vectors);
  checkBoolean('overwrite', overwrite);
  checkInteger('shardBytes', shardBytes, 1, Number.MAX_SAFE_INTEGER);
  if (format === 'safetensors' && !vectors) {
    throw invalid('vectors', 'true for safetensors, which is nothing but vectors', vectors);
  }
  if (format === 'safetensors' && !/\.safetensors$/i.test(path)) {
    throw invalid('path', 'a name that ends in .safetensors', path);
  }
  // A reader of its own: documents and their vectors must be of one generation.
  const directory = typeof index === 'string' ? index : index.directory;
  await using reader = await Index.open(directory, { mode: 'read' });
  const view = reader.view(tenant);
  const { dim, codec, encoder } = reader;
  const { documentCount, tokenCount } = view;
  const about: About = {
    dim,
    codec: { name: codec.name, scale: codec.scale },
    encoder,
    documents: documentCount,
    tokens: tokenCount,
  };
  const staged = new StagedFiles(overwrite);
  const writer =
    format === 'jsonl'
      ? new JsonlWriter(view, about, staged, path, vectors)
      : new SafetensorsWriter(view, about, staged, path, dtype, shardBytes);
  try {
    await writer.begin();
    let documents = 0;
    let started = performance.now();
    for await (const document of view.documents()) {
      signal?.throwIfAborted();
      await writer.write(document);
      documents += 1;
      onProgress?.({ documents, total: documentCount });
      if (performance.now() - started < SLICE_MS) continue;
      await setImmediate();
      started = performance.now();
    }
    signal?.throwIfAborted();
    await writer.end();
    await staged.publish();
    const { generation } = reader;
    return {
      format,
      files: writer.files,
      documents: documentCount,
      tokens: tokenCount,
      generation,
    };
  } catch (error) {
    await staged.discard();
    if (signal?.aborted && error === signal.reason) {
      throw new MaxSimError('ABORTED', 'The export was aborted; nothing was written.', {
        cause: error,
      });
    }
    throw error;
  }
}

type About = Omit<ExportHeader, 'vectors'>;
type View = ReturnType<Index['view']>;

/** What is written of a document beside its vectors. */
function recordOf({ id, text, payload, contentHash }: StoredDocument): Record<string, unknown> {
  return {
    id,
    ...(text === null ? {} : { text }),
    ...(payload === null ? {} : { payload }),
    ...(contentHash === null ? {} : { contentHash }),
  };
}

function lineOf(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

class JsonlWriter {
  readonly files: string[];
  private file: StagedFile | undefined;

  constructor(
    private readonly view: View,
    private readonly about: About,
    private readonly staged: StagedFiles,
    path: string,
    private readonly vectors: boolean,
  ) {
    this.files = [path];
  }

  async begin(): Promise<void> {
    this.file = await this.staged.create(this.files[0] as string);
    if (!this.vectors) return;
    await this.file.write(
      Buffer.from(`${serializeHeader({ ...this.about, vectors: 'base64-f32' })}\n`),
    );
  }

  async write(document: StoredDocument): Promise<void> {
    await this.file?.write(lineOf(this.vectors ? this.withVectors(document) : corpusOf(document)));
  }

  async end(): Promise<void> {}

  private withVectors(document: StoredDocument): Record<string, unknown> {
    const vectors = this.view.vectors(document.id);
    const { buffer, byteOffset, byteLength } = vectors;
    const base64 = Buffer.from(buffer, byteOffset, byteLength).toString('base64');
    return { ...recordOf(document), crc32: checksum(vectors), vectors: base64 };
  }
}

/** BEIR's fields, which encode and index anew. */
function corpusOf({ id, text, payload }: StoredDocument): Record<string, unknown> {
  return { id, text: text ?? '', ...(payload === null ? {} : { metadata: payload }) };
}

type Shard = { documents: number; tokens: number };

/** Per shard the tensors "vectors" [tokens, dim] and "doclens" [documents]; all else in the sidecar. */
class SafetensorsWriter {
  files: string[] = [];
  private shards: Shard[] = [];
  private sidecar: StagedFile | undefined;
  private parts: StagedFile[] = [];
  private current = 0;
  private doclens: Int32Array = new Int32Array(0);
  private written = 0;
  private readonly id = randomUUID();

  constructor(
    private readonly view: View,
    private readonly about: About,
    private readonly staged: StagedFiles,
    private readonly path: string,
    private readonly dtype: 'f32' | 'f16',
    private readonly shardBytes: number,
  ) {}

  async begin(): Promise<void> {
    await this.plan();
    const total = this.shards.length;
    const five = (n: number): string => String(n).padStart(5, '0');
    const paths = this.shards.map((_, i) =>
      total === 1
        ? this.path
        : this.path.replace(/\.safetensors$/i, `-${five(i + 1)}-of-${five(total)}.safetensors`),
    );
    const sidecar = sidecarOf(this.path);
    this.files = [...paths, sidecar];
    for (const path of paths) this.parts.push(await this.staged.create(path));
    // Renamed last: with it the export is there.
    this.sidecar = await this.staged.create(sidecar);
    const names = paths.map((path) => basename(path));
    const header: ExportHeader = {
      ...this.about,
      vectors: { files: names, dtype: this.dtype === 'f32' ? 'F32' : 'F16', export: this.id },
    };
    await this.sidecar.write(Buffer.from(`${serializeHeader(header)}\n`));
    await this.beginShard();
  }

  async write(document: StoredDocument): Promise<void> {
    const { id, tokenCount } = document;
    if (this.written === (this.shards[this.current] as Shard).documents) {
      await this.endShard();
      this.current += 1;
      await this.beginShard();
    }
    const vectors = this.view.vectors(id);
    const bytes = this.dtype === 'f32' ? bytesOf(vectors) : halvesOf(vectors, id);
    const crc32 = checksum(vectors);
    this.doclens[this.written++] = tokenCount;
    await this.part.write(bytes);
    // The checksum is of the stored f32 values, which f16 has rounded.
    await this.sidecar?.write(
      lineOf({ ...recordOf(document), ...(this.dtype === 'f32' ? { crc32 } : {}) }),
    );
  }

  async end(): Promise<void> {
    await this.endShard();
  }

  /** How many documents go into which file. */
  private async plan(): Promise<void> {
    const rowBytes = this.about.dim * (this.dtype === 'f32' ? 4 : 2);
    let shard: Shard = { documents: 0, tokens: 0 };
    this.shards = [shard];
    for await (const { tokenCount } of this.view.documents()) {
      if (shard.documents > 0 && (shard.tokens + tokenCount) * rowBytes > this.shardBytes) {
        shard = { documents: 0, tokens: 0 };
        this.shards.push(shard);
      }
      shard.documents += 1;
      shard.tokens += tokenCount;
    }
  }

  private async beginShard(): Promise<void> {
    const { documents, tokens } = this.shards[this.current] as Shard;
    const { dim, codec, encoder } = this.about;
    const { head } = layOut(
      [
        { name: 'vectors', dtype: this.dtype === 'f32' ? 'F32' : 'F16', shape: [tokens, dim] },
        { name: 'doclens', dtype: 'I32', shape: [documents] },
      ],
      {
        format: 'maxsim-export',
        export: this.id,
        codec: codec.name,
        encoder: encoder?.fingerprint ?? '',
        shard: `${this.current + 1} of ${this.shards.length}`,
      },
    );
    this.doclens = new Int32Array(documents);
    this.written = 0;
    await this.part.write(head);
  }

  private async endShard(): Promise<void> {
    await this.part.write(bytesOf(this.doclens));
  }

  private get part(): StagedFile {
    return this.parts[this.current] as StagedFile;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Int32Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}

function halvesOf(vectors: Float32Array, id: string): Buffer {
  const far = vectors.find((x) => Math.abs(x) > 65_504);
  if (far === undefined) return floatsToHalves(vectors);
  throw new MaxSimError(
    'VECTOR_OUT_OF_RANGE',
    `Document ${JSON.stringify(id)} holds ${far}, beyond the 65,504 of f16; export it as f32.`,
    { details: { id } },
  );
}
