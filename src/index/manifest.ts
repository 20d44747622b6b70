/**
 * The manifest: the one small file that says what an index holds. Line 1 is JSON, line 2 its checksum.
 * It is replaced whole by a rename, so that a reader sees one generation or the next.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LIMITS } from '../check.js';
import { MaxSimError } from '../errors.js';
import { type Field, loadAddon, nativeAsync, type SegmentEntry } from '../runtime/addon.js';
import { CODECS, type CodecName } from '../types.js';
import { isCodec, isResidual, isScale, type StoredCodec } from './codec.js';
import { isField, MAX_FIELDS } from './fields.js';

export const MANIFEST_FILE = 'manifest.json';
const FORMAT = 'maxsim-index';
const VERSION = 1;

export type EncoderIdentity = {
  fingerprint: string;
  recipe: Readonly<Record<string, unknown>>;
};

export type Manifest = {
  generation: number;
  dim: number;
  codec: StoredCodec;
  encoder: EncoderIdentity | null;
  /** What documents can be filtered by, in the order of their names. */
  fields: readonly Field[];
  /** Whether every document belongs to a tenant. */
  tenants: boolean;
  segments: SegmentEntry[];
  /** What searches need beside the documents; absent until `buildSearch`. */
  search?: StoredSearch;
};

/**
 * `codebook`: whose centroids the codes of documents are; that of a residual codec, or one of its own.
 * `cosine`: the mean cosine of tokens with their centroids when these were new. `depths`: how many
 * candidates find how much; null until measured.
 */
export type StoredSearch = {
  codebook: { file: string; crc: number };
  cosine: number;
  depths: StoredDepths | null;
};

/**
 * Measured among `documents` documents with `queries` queries, of candidates from scans and from lists
 * (null without). `depths[r][i]`: how many candidates hold the share `recalls[r]` of the best `ks[i]`
 * documents. `margins[r][i]`: how far those lie, as candidates, below the score of the last of these, at
 * most, per length of the query's tokens; null where that was not found.
 */
export type StoredDepths = {
  documents: number;
  queries: number;
  ks: number[];
  recalls: number[];
  scan: StoredCurve;
  lists: StoredCurve | null;
};

export type StoredCurve = { depths: number[][]; margins: (number | null)[][] };

/** Segments and tombstones are named by the commit that wrote them, so no name is used twice. */
export const SEGMENT_NAME = /^segment-\d{8,}-\d+\.maxsim$/;
export const CODEBOOK_NAME = /^codebook-\d{8,}\.maxsim$/;
export const CENTROIDS_NAME = /^centroids-\d{8,}\.maxsim$/;
export const CODES_NAME = /^segment-\d{8,}-\d+\.maxsim\.\d+\.codes$/;
export const TOMBSTONE_NAME = /^segment-\d{8,}-\d+\.maxsim\.\d+\.dead$/;

export function serializeManifest(manifest: Manifest): Buffer {
  const line = JSON.stringify({ format: FORMAT, version: VERSION, ...manifest });
  return Buffer.from(`${line}\ncrc32c:${checksum(Buffer.from(line))}\n`);
}

/** Resolves with null when the directory has no manifest. */
export async function readManifest(directory: string): Promise<Manifest | null> {
  const path = join(directory, MANIFEST_FILE);
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new MaxSimError('IO_ERROR', `${path}: cannot read: ${(error as Error).message}.`, {
      cause: error,
    });
  }
  return parseManifest(bytes, path);
}

export async function writeManifest(directory: string, manifest: Manifest): Promise<void> {
  await nativeAsync(() =>
    loadAddon().writeFileDurably(join(directory, MANIFEST_FILE), serializeManifest(manifest)),
  );
}

/** Throws UNSUPPORTED_FORMAT for a newer version, NOT_AN_INDEX for a foreign file, else CORRUPT_INDEX. */
export function parseManifest(bytes: Buffer, path: string): Manifest {
  const newline = bytes.indexOf(0x0a);
  const line = newline < 0 ? bytes : bytes.subarray(0, newline);
  let value: unknown;
  let problem = `"format" is not "${FORMAT}"`;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch (error) {
    problem = `line 1 is not JSON (${(error as Error).message})`;
  }
  if (!isObject(value) || value['format'] !== FORMAT) {
    // Ours with a broken byte, ours cut short, or something else's manifest.json?
    const text = bytes.toString('latin1');
    const start = `{"format":"${FORMAT}"`;
    if (text.includes('\ncrc32c:') || text.includes(FORMAT) || start.startsWith(text)) {
      throw corrupt(path, problem);
    }
    throw new MaxSimError('NOT_AN_INDEX', `${path} is not the manifest of a maxsim index.`, {
      details: { file: path },
    });
  }
  // Before the checksum: a newer version may keep it elsewhere.
  const version = value['version'];
  if (typeof version === 'number' && Number.isInteger(version) && version > VERSION) {
    throw new MaxSimError(
      'UNSUPPORTED_FORMAT',
      `${path}: index format version ${version}; this release of maxsim reads version ${VERSION}.`,
      { details: { file: path, version } },
    );
  }
  const expected = `crc32c:${checksum(line)}\n`;
  const found = newline < 0 ? '' : bytes.toString('latin1', newline + 1);
  if (found !== expected) {
    throw corrupt(
      path,
      `line 2 is ${JSON.stringify(found.slice(0, 40))}, expected ${JSON.stringify(expected)}`,
    );
  }
  return checkManifest(value, path);
}

function checkManifest(value: Record<string, unknown>, path: string): Manifest {
  const fail = (name: string, expected: string, found: unknown): never => {
    throw corrupt(path, `"${name}" is ${JSON.stringify(found)}, expected ${expected}`);
  };
  const exact = (object: Record<string, unknown>, name: string, keys: readonly string[]): void => {
    for (const key of Object.keys(object)) {
      if (!keys.includes(key)) fail(`${name}${key}`, 'no such field', object[key]);
    }
  };
  const integer = (name: string, found: unknown, min: number, max: number): number =>
    typeof found === 'number' && Number.isInteger(found) && found >= min && found <= max
      ? found
      : fail(name, `an integer from ${min} to ${max}`, found);
  const object = (name: string, found: unknown): Record<string, unknown> =>
    isObject(found) ? found : fail(name, 'an object', found);
  const matching = (name: string, found: unknown, pattern: RegExp): string =>
    typeof found === 'string' && pattern.test(found) ? found : fail(name, String(pattern), found);

  exact(value, '', [
    'format',
    'version',
    'generation',
    'dim',
    'codec',
    'encoder',
    'fields',
    'tenants',
    'segments',
    'search',
  ]);
  integer('version', value['version'], VERSION, VERSION);
  const generation = integer('generation', value['generation'], 0, Number.MAX_SAFE_INTEGER);
  const dim = integer('dim', value['dim'], LIMITS.minDim, LIMITS.maxDim);

  if (!Array.isArray(value['segments'])) fail('segments', 'an array', value['segments']);
  const segments = (value['segments'] as unknown[]).map((entry, i) => {
    const name = `segments[${i}].`;
    const segment = object(`segments[${i}]`, entry);
    exact(segment, name, ['file', 'documents', 'tokens', 'headerCrc', 'dead', 'codes']);
    const file = matching(`${name}file`, segment['file'], SEGMENT_NAME);
    const documents = integer(`${name}documents`, segment['documents'], 1, 0xfffffffe);
    const checked: SegmentEntry = {
      file,
      documents,
      tokens: integer(`${name}tokens`, segment['tokens'], documents, Number.MAX_SAFE_INTEGER),
      headerCrc: integer(`${name}headerCrc`, segment['headerCrc'], 0, 0xffffffff),
    };
    if (segment['codes'] !== undefined) {
      const codes = object(`${name}codes`, segment['codes']);
      exact(codes, `${name}codes.`, ['file', 'crc']);
      const codesFile = matching(`${name}codes.file`, codes['file'], CODES_NAME);
      if (!codesFile.startsWith(`${file}.`)) {
        fail(`${name}codes.file`, `a file of ${file}`, codesFile);
      }
      if (value['search'] === undefined) fail(`${name}codes`, 'none without "search"', codes);
      checked.codes = {
        file: codesFile,
        crc: integer(`${name}codes.crc`, codes['crc'], 0, 0xffffffff),
      };
    }
    if (segment['dead'] === undefined) return checked;
    const dead = object(`${name}dead`, segment['dead']);
    exact(dead, `${name}dead.`, ['file', 'count']);
    const deadFile = matching(`${name}dead.file`, dead['file'], TOMBSTONE_NAME);
    if (!deadFile.startsWith(`${file}.`)) fail(`${name}dead.file`, `a file of ${file}`, deadFile);
    const count = integer(`${name}dead.count`, dead['count'], 1, documents);
    return { ...checked, dead: { file: deadFile, count } };
  });
  if (new Set(segments.map((segment) => segment.file)).size !== segments.length) {
    fail('segments', 'each file once', value['segments']);
  }

  const codec = object('codec', value['codec']);
  const { name, scale, codebook } = codec;
  if (!isCodec(name)) fail('codec.name', `one of ${CODECS.join(', ')}`, name);
  const stored: StoredCodec = { name: name as CodecName, scale: scale as number | null };
  exact(codec, 'codec.', ['name', 'scale', ...(isResidual(stored.name) ? ['codebook'] : [])]);
  const usable =
    name !== 'int8'
      ? scale === 1
      : scale === null
        ? segments.length === 0
        : typeof scale === 'number' && isScale(scale);
  if (!usable) fail('codec.scale', 'the scale of the codec', scale);
  if (isResidual(stored.name)) {
    if (codebook === null && segments.length === 0) stored.codebook = null;
    else {
      const found = object('codec.codebook', codebook);
      exact(found, 'codec.codebook.', ['file', 'crc']);
      stored.codebook = {
        file: matching('codec.codebook.file', found['file'], CODEBOOK_NAME),
        crc: integer('codec.codebook.crc', found['crc'], 0, 0xffffffff),
      };
    }
  }

  let encoder: EncoderIdentity | null = null;
  if (value['encoder'] !== null) {
    const found = object('encoder', value['encoder']);
    exact(found, 'encoder.', ['fingerprint', 'recipe']);
    encoder = {
      fingerprint: matching('encoder.fingerprint', found['fingerprint'], /^.{1,1024}$/s),
      recipe: object('encoder.recipe', found['recipe']),
    };
  }
  const { fields, tenants } = value;
  if (!Array.isArray(fields) || fields.length > MAX_FIELDS) {
    fail('fields', `an array of at most ${MAX_FIELDS}`, fields);
  }
  const declared = (fields as unknown[]).map((entry, i): Field => {
    const field = object(`fields[${i}]`, entry);
    exact(field, `fields[${i}].`, ['name', 'type']);
    if (!isField(field)) fail(`fields[${i}]`, 'a name and a type', field);
    return { name: field['name'] as string, type: field['type'] as Field['type'] };
  });
  if (declared.some(({ name: own }, i) => i > 0 && own <= (declared[i - 1] as Field).name)) {
    fail('fields', 'each name once, in their order', fields);
  }
  if (typeof tenants !== 'boolean') fail('tenants', 'true or false', tenants);
  const manifest: Manifest = {
    generation,
    dim,
    codec: stored,
    encoder,
    fields: declared,
    tenants: tenants as boolean,
    segments,
  };
  if (value['search'] !== undefined) {
    const search = object('search', value['search']);
    exact(search, 'search.', ['codebook', 'cosine', 'depths']);
    const found = object('search.codebook', search['codebook']);
    exact(found, 'search.codebook.', ['file', 'crc']);
    const own = stored.codebook?.file === found['file'];
    if (own && stored.codebook?.crc !== found['crc']) {
      fail('search.codebook.crc', `${stored.codebook?.crc}, as of the codec`, found['crc']);
    }
    const { cosine, depths } = search;
    if (typeof cosine !== 'number' || !(cosine >= -1 && cosine <= 1)) {
      fail('search.cosine', 'a number from -1 to 1', cosine);
    }
    if (depths !== null && !areDepths(depths)) fail('search.depths', 'measured depths', depths);
    manifest.search = {
      codebook: {
        file: matching('search.codebook.file', found['file'], own ? CODEBOOK_NAME : CENTROIDS_NAME),
        crc: integer('search.codebook.crc', found['crc'], 0, 0xffffffff),
      },
      cosine: cosine as number,
      depths: depths as StoredDepths | null,
    };
  }
  return manifest;
}

function areDepths(value: unknown): value is StoredDepths {
  if (!isObject(value)) return false;
  const { documents, queries, ks, recalls, scan, lists, ...others } = value;
  const isCount = (count: unknown): count is number =>
    typeof count === 'number' && Number.isInteger(count) && count >= 1 && count <= 0xffffffff;
  const isAscending = (list: unknown, valid: (one: unknown) => boolean): list is number[] =>
    Array.isArray(list) &&
    list.length > 0 &&
    list.every((one, i) => valid(one) && (i === 0 || one > list[i - 1]));
  const isShare = (one: unknown): boolean => typeof one === 'number' && one > 0 && one < 1;
  if (!isCount(documents) || !isCount(queries) || Object.keys(others).length > 0) return false;
  if (!isAscending(ks, isCount) || !isAscending(recalls, isShare)) return false;
  const isTable = (table: unknown, valid: (one: unknown) => boolean): boolean =>
    Array.isArray(table) &&
    table.length === recalls.length &&
    table.every((row) => Array.isArray(row) && row.length === ks.length && row.every(valid));
  const isCurve = (curve: unknown): boolean =>
    isObject(curve) &&
    Object.keys(curve).length === 2 &&
    isTable(curve['depths'], isCount) &&
    isTable(curve['margins'], (one) => one === null || typeof one === 'number');
  return isCurve(scan) && (lists === null || isCurve(lists));
}

function checksum(bytes: Uint8Array): string {
  return loadAddon().crc32c(bytes).toString(16).padStart(8, '0');
}

function corrupt(path: string, what: string): MaxSimError {
  return new MaxSimError('CORRUPT_INDEX', `${path}: corrupt manifest: ${what}.`, {
    details: { file: path },
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
