/** Documents that come from files of others, one after the other: what every format is read into. */
import type { IndexDocument } from '../index/store.js';
import type { ExportHeader } from './header.js';

export const IMPORT_FORMATS = ['jsonl', 'safetensors', 'npy', 'npz', 'plaid'] as const;

export type ImportFormat = (typeof IMPORT_FORMATS)[number];

export interface DocumentSource {
  readonly format: ImportFormat;
  /** What exactly was found, for people: "fast-plaid index, 4 bits, 1,024 centroids". */
  readonly description: string;
  readonly dim: number;
  /** How many `read` will give, with those it skips; null where only the end of a file tells. */
  readonly documents: number | null;
  /** Of exports of maxsim. */
  readonly header: ExportHeader | null;
  /** How many documents `read` has left out: deleted ones, and ones without any token. */
  readonly skipped: number;
  /** Throws INVALID_SOURCE where the files are not what they must be, after what came before it. */
  read(): AsyncGenerator<IndexDocument, void, undefined>;
  close(): Promise<void>;
}
