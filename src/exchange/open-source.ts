/** What a path holds is told by its content, whatever it is called. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkArray, checkString } from '../check.js';
import { invalid } from '../errors.js';
import { type DocumentSource, IMPORT_FORMATS, type ImportFormat } from './documents.js';
import { parseHeader } from './header.js';
import { jsonlSource } from './jsonl-source.js';
import { firstLine } from './lines.js';
import { isNpy } from './npy.js';
import { exists, npySource, npzSource, readLengths } from './numpy-source.js';
import { isPlaid, plaidSource } from './plaid.js';
import { isSafetensors } from './safetensors.js';
import { exportSource, safetensorsSource } from './safetensors-source.js';
import { refused, SourceFile, unreadable } from './source-file.js';
import { isZip } from './zip.js';

export type SourceOptions = {
  /** Default: told by the content. */
  format?: ImportFormat;
  /**
   * Ids of documents that come without, in their order: a list, or a file (`.json`, `.jsonl`, else one a
   * line). Default: ids.json, ids.txt or ids.jsonl beside the vectors, else 0 to n - 1.
   */
  ids?: string | readonly string[];
  /** Tokens per document: a `.npy` or `.json` file. Default: doclens.npy or doclens.json beside. */
  lengths?: string;
};

/** Throws INVALID_SOURCE where the path holds nothing that can be imported. */
export async function openSource(path: string, options: SourceOptions): Promise<DocumentSource> {
  checkString('path', path);
  const { format, ids, lengths } = options;
  if (format !== undefined && !IMPORT_FORMATS.includes(format)) {
    throw invalid('format', `one of ${IMPORT_FORMATS.join(', ')}`, format);
  }
  if (ids !== undefined && typeof ids !== 'string') checkArray('ids', ids);
  if (lengths !== undefined) checkString('lengths', lengths);
  const found = format ?? (await detect(path));
  const given = lengths === undefined ? null : await readLengths(lengths);
  switch (found) {
    case 'plaid':
      return await plaidSource(path, ids ?? (await idsIn(path)));
    case 'safetensors':
      return await safetensorsSource(path, ids ?? null, given);
    case 'npy':
      return await npySource(path, ids ?? (await idsBeside(path)), given);
    case 'npz':
      return await npzSource(path, ids ?? (await idsBeside(path)), given);
    case 'jsonl':
      return await openJsonl(path);
  }
}

async function openJsonl(path: string): Promise<DocumentSource> {
  const header = parseHeader(await firstLine(path), path);
  // The sidecar of an export, given instead of its vectors.
  if (header !== null && header.vectors !== 'base64-f32') return await exportSource(path, header);
  return await jsonlSource(path);
}

async function detect(path: string): Promise<ImportFormat> {
  const stats = await stat(path).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  if (stats.isDirectory()) {
    if ((await isPlaid(path)) || (await isPlaid(join(path, 'fast_plaid_index')))) return 'plaid';
    const names = (await readdir(path)).slice(0, 5).join(', ');
    throw refused(
      path,
      `is no index of the PLAID family: metadata.json and centroids.pt or centroids.npy are not both in it (it holds ${names || 'nothing'})`,
    );
  }
  const file = await SourceFile.open(path);
  try {
    const head = await file.read(0, Math.min(16, file.size));
    if (isNpy(head)) return 'npy';
    if (isZip(head)) return 'npz';
    if (isSafetensors(head, file.size)) return 'safetensors';
    const text = head
      .toString('utf8')
      .replace(/^\uFEFF/, '')
      .trimStart();
    if (text.startsWith('{') || text.startsWith('"')) return 'jsonl';
  } finally {
    await file.close();
  }
  throw refused(
    path,
    'is none of the formats that are read: jsonl, safetensors, npy, npz, or a folder of the PLAID family',
  );
}

async function idsBeside(path: string): Promise<string | null> {
  return await idsIn(join(path, '..'));
}

async function idsIn(folder: string): Promise<string | null> {
  for (const name of ['ids.json', 'ids.jsonl', 'ids.txt']) {
    if (await exists(join(folder, name))) return join(folder, name);
  }
  return null;
}
