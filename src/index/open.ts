/**
 * Opening an index: what the caller asked for against what the directory holds. Creates in an absent or
 * empty directory, touches nothing in one that is no index.
 */
import { access, constants, mkdir, readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  LIMITS,
} from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import {
  type Field,
  loadAddon,
  type NativeLock,
  native,
  nativeAsync,
  type ReadOptions,
} from '../runtime/addon.js';
import type { FieldTypes } from '../types.js';
import { type CodecOption, checkCodec, codecOf } from './codec.js';
import { checkFields, describeFields } from './fields.js';
import { type Generation, isOurs, openAhead, openGeneration, removeOrphans } from './generation.js';
import {
  type EncoderIdentity,
  MANIFEST_FILE,
  type Manifest,
  readManifest,
  writeManifest,
} from './manifest.js';
import { recipeDifferences } from './recipe-difference.js';

export type IndexOptions = ReadOptions & {
  /** 'write' takes the index's lock; 'read' takes none and writes nothing. Default: 'write'. */
  mode?: 'write' | 'read';
  /** Values per token vector, 8 to 1,024. Required to create an index, checked otherwise. */
  dim?: number;
  /** Chosen at creation, checked otherwise; `recode` changes it. Default: 'int8'. */
  codec?: CodecOption;
  /** Which encoder makes the vectors. Fixed at creation, its fingerprint checked otherwise. */
  encoder?: EncoderIdentity;
  /**
   * What documents can be filtered by, from their payloads: `{ lang: 'keyword', year: 'number' }`. Fixed
   * at creation, checked otherwise. Default: nothing.
   */
  fields?: FieldTypes;
  /** Whether every document belongs to a tenant: see `tenant`. Fixed at creation. Default: false. */
  tenants?: boolean;
  /** Create the index if the directory is absent or empty. Default: true in write mode. */
  create?: boolean;
  /**
   * In write mode: 'background' merges small segments, and rewrites those of which most documents are
   * dead, beside the commits; 'off' leaves it to `compact`. Default: 'background'.
   */
  compaction?: 'background' | 'off';
};

export const LOCK_FILE = 'writer.lock';

type Identity = Pick<IndexOptions, 'dim' | 'codec' | 'encoder' | 'tenants'> & {
  fields?: readonly Field[];
};
type Checked = Identity &
  Required<Pick<IndexOptions, 'mode' | 'create' | 'compaction'>> & { reading: ReadOptions };

function checkIndexOptions(options: IndexOptions | undefined): Checked {
  const {
    mode = 'write',
    dim,
    codec,
    encoder,
    fields,
    tenants,
    create = mode === 'write',
    compaction = 'background',
    verify = 'on-use',
    memory = 'mapped',
  } = checkOptions<IndexOptions>('options', options, [
    'mode',
    'dim',
    'codec',
    'encoder',
    'fields',
    'tenants',
    'create',
    'compaction',
    'verify',
    'memory',
  ]);
  checkOneOf('verify', verify, ['on-use', 'at-open']);
  checkOneOf('memory', memory, ['mapped', 'populated', 'huge-pages']);
  if (mode !== 'write' && mode !== 'read') throw invalid('mode', "'write' or 'read'", mode);
  if (typeof create !== 'boolean') throw invalid('create', 'a boolean', create);
  if (create && mode === 'read') throw invalid('create', 'false in read mode', create);
  if (compaction !== 'background' && compaction !== 'off') {
    throw invalid('compaction', "'background' or 'off'", compaction);
  }
  if (dim !== undefined) checkInteger('dim', dim, LIMITS.minDim, LIMITS.maxDim);
  if (codec !== undefined) checkCodec(codec);
  if (encoder !== undefined) checkEncoder(encoder);
  if (tenants !== undefined) checkBoolean('tenants', tenants);
  return {
    mode,
    create,
    compaction,
    reading: { verify, memory },
    ...(dim === undefined ? {} : { dim }),
    ...(codec === undefined ? {} : { codec }),
    ...(encoder === undefined ? {} : { encoder }),
    ...(fields === undefined ? {} : { fields: checkFields(fields) }),
    ...(tenants === undefined ? {} : { tenants }),
  };
}

function checkEncoder(encoder: unknown): void {
  const { fingerprint, recipe } = checkOptions<EncoderIdentity>(
    'encoder',
    encoder as EncoderIdentity,
    ['fingerprint', 'recipe'],
  );
  if (checkString('encoder.fingerprint', fingerprint) === '' || fingerprint.length > 1024) {
    throw invalid('encoder.fingerprint', 'a string of 1 to 1024 characters', fingerprint);
  }
  if (typeof recipe !== 'object' || recipe === null || Array.isArray(recipe)) {
    throw invalid('encoder.recipe', 'an object', recipe);
  }
}

/** Throws MODEL_MISMATCH naming every field in which the index is not what was asked for. */
function checkIdentity(path: string, manifest: Manifest, options: Identity): void {
  const differences: string[] = [];
  if (options.dim !== undefined && options.dim !== manifest.dim) {
    differences.push(`dim ${manifest.dim}, not ${options.dim}`);
  }
  if (options.codec !== undefined) {
    const { name, scale } = codecOf(options.codec);
    const stored = manifest.codec;
    if (name !== stored.name) differences.push(`codec ${stored.name}, not ${name}`);
    else if (name === 'int8' && scale !== null && scale !== stored.scale) {
      differences.push(
        `codec range ${stored.scale === null ? 'not chosen yet' : stored.scale * 127}, not ${scale * 127}`,
      );
    }
  }
  const asked = options.encoder?.fingerprint;
  if (asked !== undefined && asked !== manifest.encoder?.fingerprint) {
    differences.push(describeEncoder(manifest.encoder, options.encoder as EncoderIdentity));
  }
  if (
    options.fields !== undefined &&
    describeFields(options.fields) !== describeFields(manifest.fields)
  ) {
    differences.push(
      `the fields ${describeFields(manifest.fields)}, not ${describeFields(options.fields)}`,
    );
  }
  if (options.tenants !== undefined && options.tenants !== manifest.tenants) {
    differences.push(manifest.tenants ? 'tenants, not without' : 'no tenants, not with them');
  }
  if (differences.length > 0) {
    throw new MaxSimError(
      'MODEL_MISMATCH',
      `The index at ${path} was made with ${differences.join('; with ')}.`,
      { details: { directory: path } },
    );
  }
}

/** "encoder A, not B (documentLength: the index has 300, 180 was asked for)". */
function describeEncoder(stored: EncoderIdentity | null, asked: EncoderIdentity): string {
  const names = `encoder ${stored?.fingerprint ?? '(none)'}, not ${asked.fingerprint}`;
  const fields = stored === null ? [] : recipeDifferences(stored.recipe, asked.recipe);
  return fields.length === 0 ? names : `${names} (${fields.join('; ')})`;
}

/** The newest generation, or null when it is `current`. Retries when a commit removes files meanwhile. */
export async function openNewest(
  path: string,
  current: Generation | null,
  reading?: ReadOptions,
): Promise<Generation | null> {
  let manifest = await readManifest(path);
  for (;;) {
    if (manifest === null) throw notAnIndex(path, `it has no ${MANIFEST_FILE}`);
    if (current !== null) {
      // A directory that was made anew may have any generation: compare all of it.
      if (JSON.stringify(manifest) === JSON.stringify(current.manifest)) return null;
      // The codec may have changed: a writer has called recode.
      const { dim, encoder, fields, tenants } = current.manifest;
      checkIdentity(path, manifest, { dim, fields, tenants, ...(encoder && { encoder }) });
    }
    try {
      if (current === null) return await openGeneration(path, manifest, null, reading);
      return await openAhead(path, manifest, current).catch(async () => {
        // A damaged document is no reason to stay behind: whoever asks for it will be told.
        return await openGeneration(path, manifest as Manifest, current);
      });
    } catch (error) {
      const newer = await readManifest(path);
      // The same generation again: it is broken, not on the move.
      if (newer === null || newer.generation === manifest.generation) throw error;
      manifest = newer;
    }
  }
}

/** What `Index.open` opens: a generation, and in write mode the lock. */
export async function openIndex(
  directory: string,
  options: IndexOptions | undefined,
): Promise<{ path: string; current: Generation; lock: NativeLock | null }> {
  const path = resolve(checkString('directory', directory));
  const checked = checkIndexOptions(options);
  return { path, ...(await (checked.mode === 'read' ? openReader : openWriter)(path, checked)) };
}

async function openReader(
  path: string,
  options: Checked,
): Promise<{ current: Generation; lock: null }> {
  const current = (await openNewest(path, null, options.reading)) as Generation;
  try {
    checkIdentity(path, current.manifest, options);
  } catch (error) {
    current.snapshot.close();
    throw error;
  }
  return { current, lock: null };
}

async function openWriter(
  path: string,
  options: Checked,
): Promise<{ current: Generation; lock: NativeLock }> {
  await prepareDirectory(path, options);
  const lock = native(() => loadAddon().lockIndex(join(path, LOCK_FILE)));
  try {
    let manifest = await readManifest(path);
    if (manifest === null) {
      manifest = firstManifest(options);
      await writeManifest(path, manifest);
    } else {
      checkIdentity(path, manifest, options);
    }
    const current = await openGeneration(path, manifest, null, options.reading);
    // A writer that was killed may have renamed its manifest and not flushed the name: before files
    // of the generation before are removed, this one must be sure to stay.
    await nativeAsync(() => loadAddon().flushDirectory(path));
    await removeOrphans(path, manifest);
    return { current, lock };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Leaves a directory that holds an index, or one in which an index may be made; else throws. */
async function prepareDirectory(path: string, options: Checked): Promise<void> {
  let entries: string[] | null = null;
  try {
    entries = await readdir(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOTDIR') throw notAnIndex(path, 'it is a file');
    if (code !== 'ENOENT') {
      throw new MaxSimError('IO_ERROR', `${path}: cannot list: ${message}.`, { cause: error });
    }
  }
  if (entries?.includes(MANIFEST_FILE)) return;
  if (!options.create) {
    throw notAnIndex(path, entries === null ? 'it does not exist' : `it has no ${MANIFEST_FILE}`);
  }
  // What a crash during creation can leave is ours; anything else is somebody's.
  const foreign = entries?.find(
    (name) => name !== LOCK_FILE && !(isOurs(name) && name.startsWith(`${MANIFEST_FILE}.tmp-`)),
  );
  if (foreign !== undefined) {
    throw notAnIndex(path, `it has no ${MANIFEST_FILE} but holds ${JSON.stringify(foreign)}`);
  }
  firstManifest(options); // before anything is made: throws when dim is missing
  try {
    const made = await mkdir(path, { recursive: true });
    // The names of new directories are entries of their parents, and as durable as those. One that was
    // there may have been made by a call that failed before this flush.
    if (made === undefined && !(await isReadable(dirname(path)))) return;
    for (let child = path; ; child = dirname(child)) {
      await nativeAsync(() => loadAddon().flushDirectory(dirname(child)));
      if (made === undefined || child === made || child === dirname(child)) break;
    }
  } catch (error) {
    if (error instanceof MaxSimError) throw error;
    throw new MaxSimError('IO_ERROR', `${path}: cannot create: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

/** What cannot be opened cannot be flushed; who made it must have done so. */
async function isReadable(directory: string): Promise<boolean> {
  return await access(directory, constants.R_OK).then(
    () => true,
    () => false,
  );
}

function firstManifest(options: Checked): Manifest {
  if (options.dim === undefined) {
    throw new MaxSimError('INVALID_ARGUMENT', 'options.dim is required to create an index.');
  }
  const { encoder, fields = [], tenants = false } = options;
  return {
    generation: 0,
    dim: options.dim,
    codec: codecOf(options.codec ?? 'int8'),
    // A copy, and what JSON makes of it.
    encoder:
      encoder === undefined ? null : (JSON.parse(JSON.stringify(encoder)) as EncoderIdentity),
    fields,
    tenants,
    segments: [],
  };
}

function notAnIndex(path: string, why: string): MaxSimError {
  return new MaxSimError('NOT_AN_INDEX', `${path} is not a maxsim index: ${why}.`, {
    details: { directory: path },
  });
}
