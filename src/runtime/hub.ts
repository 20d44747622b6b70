/**
 * Fetches a model from the Hugging Face hub into the cache: what the repository holds and its checksums
 * come from the hub's API (@huggingface/hub), the bytes by plain requests that can go on where an earlier
 * one was cut. A model appears in its folder whole, or not at all.
 */
import { existsSync } from 'node:fs';
import {
  copyFile,
  link,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { MaxSimError } from '../errors.js';
import {
  type CatalogEntry,
  catalogEntry,
  checkLicense,
  isNonCommercial,
  nearestNames,
  PULLED_FILE,
  pulledFolder,
  resolveName,
  sha256,
} from './catalog.js';
import { describe, type HubFile, list } from './hub-api.js';
import { fetchFile, ofTheDisk } from './hub-file.js';
import { PullLock } from './pull-lock.js';

export type PullOptions = {
  /** A branch, tag or commit. Default: the catalog's, else 'main'. */
  revision?: string;
  /** The ONNX graph to fetch, as the repository names it. Default: model.onnx or onnx/model.onnx. */
  file?: string;
  allowNonCommercial?: boolean;
  signal?: AbortSignal;
  onProgress?(progress: PullProgress): void;
};

export type PullProgress = { file: string; doneBytes: number; totalBytes: number };

export type PulledModel = {
  id: string;
  directory: string;
  /** The commit of the repository. */
  commit: string;
  license: string | null;
  /** Of each file that was fetched. */
  files: Record<string, { sizeBytes: number; sha256: string }>;
  /** Bytes that were loaded now: less than all after a cut, none when all was there. */
  loadedBytes: number;
};

const GRAPHS = ['model.onnx', 'onnx/model.onnx'];

/** Configuration of every layout, tokenizers, small weights of Dense layers, and what says the licence. */
const WANTED: readonly RegExp[] = [
  /^(config|modules|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$/,
  /^(config_sentence_transformers|sentence_bert_config|onnx_config)\.json$/,
  /^artifact\.metadata$/,
  /^\d+_[A-Za-z]+\/(config\.json|model\.safetensors)$/,
  /^(LICENSE|README)(\.\w+)?$/,
];

/**
 * By catalog name or 'organisation/name'. Throws DOWNLOAD_FAILED, LICENSE_REFUSED, MODEL_NOT_FOUND for a
 * name that is none, DISK_FULL, ABORTED.
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const { allowNonCommercial = false, signal } = options;
  const entry = catalogEntry(resolveName(name, 'late-interaction'));
  const id = entry === undefined ? name : entry.id;
  if (id === null)
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `${entry?.name ?? name} is in the package: there is nothing to fetch.`,
    );
  if (!/^[\w.-]+\/[\w.-]+$/.test(id)) {
    const near = nearestNames(name);
    throw new MaxSimError(
      'MODEL_NOT_FOUND',
      `"${name}" is no name of the catalog and no "organisation/name" of the hub.${near.length > 0 ? ` Did you mean ${near.join(', ')}?` : ''}`,
    );
  }
  if (entry !== undefined) checkLicense(entry, allowNonCommercial);
  const directory = pulledFolder(id);
  refuseOffline(id, directory);
  const wanted = options.revision ?? entry?.revision ?? 'main';
  const { commit, license } = await describe(id, wanted, signal);
  const said = license ?? entry?.license ?? null;
  // Also of models of the catalog: a licence may have changed since.
  if (said !== null)
    checkLicense(
      { name: id, license: said, nonCommercial: isNonCommercial(said) },
      allowNonCommercial,
    );
  const files = choose(id, await list(id, commit, signal), options.file);
  try {
    await mkdir(dirname(directory), { recursive: true });
    await using _lock = await PullLock.take(`${directory}.lock`, signal);
    return await fetchAll({ id, commit, license: said, directory, files, entry, options });
  } catch (cause) {
    throw ofTheDisk(directory, cause);
  }
}

function refuseOffline(id: string, directory: string): void {
  const offline = [process.env['HF_HUB_OFFLINE'], process.env['MAXSIM_OFFLINE']];
  if (!offline.some((value) => value !== undefined && !['', '0', 'false'].includes(value))) return;
  throw new MaxSimError(
    'DOWNLOAD_FAILED',
    `${id} is not to be fetched: HF_HUB_OFFLINE or MAXSIM_OFFLINE is set. It would go to ${directory}; a folder of MAXSIM_MODELS may hold it, too.`,
  );
}

type Fetching = {
  id: string;
  commit: string;
  license: string | null;
  directory: string;
  files: HubFile[];
  entry: CatalogEntry | undefined;
  options: PullOptions;
};

async function fetchAll(fetching: Fetching): Promise<PulledModel> {
  const { id, commit, license, directory, files, entry, options } = fetching;
  const totalBytes = files.reduce((sum, file) => sum + file.size, 0);
  const present = await readPulled(directory);
  if (present?.commit === commit && files.every(({ path }) => path in present.files)) {
    options.onProgress?.({ file: '', doneBytes: totalBytes, totalBytes });
    return { ...present, directory, loadedBytes: 0 };
  }
  const staging = `${directory}.partial`;
  await mkdir(staging, { recursive: true });
  await requireRoom(staging, totalBytes - (await bytesIn(staging)));
  const pulled: PulledModel = { id, directory, commit, license, files: {}, loadedBytes: 0 };
  let doneBytes = 0;
  for (const file of files) {
    const target = join(staging, file.path);
    await mkdir(dirname(target), { recursive: true });
    const already = present?.commit === commit ? present.files[file.path] : undefined;
    if (already !== undefined) await takeOver(join(directory, file.path), target);
    const loaded = await fetchFile({ id, commit, signal: options.signal }, file, target, (bytes) =>
      options.onProgress?.({ file: file.path, doneBytes: doneBytes + bytes, totalBytes }),
    );
    doneBytes += file.size;
    const digest = await sha256(target);
    const known = entry?.files[file.path]?.sha256;
    if (known !== undefined && known !== digest) {
      await rm(target, { force: true });
      throw new MaxSimError(
        'DOWNLOAD_FAILED',
        `${file.path} of ${id} has the SHA-256 ${digest}, but the catalog knows it with ${known}.`,
      );
    }
    pulled.files[file.path] = { sizeBytes: file.size, sha256: digest };
    pulled.loadedBytes += loaded;
  }
  // What an earlier pull of the same commit has fetched besides, other graphs, stays.
  if (present?.commit === commit) {
    for (const [path, about] of Object.entries(present.files)) {
      if (path in pulled.files) continue;
      await mkdir(dirname(join(staging, path)), { recursive: true });
      await takeOver(join(directory, path), join(staging, path));
      pulled.files[path] = about;
    }
  }
  await keepOnly(staging, new Set(Object.keys(pulled.files)));
  const { directory: _, loadedBytes: __, ...about } = pulled;
  await writeFile(join(staging, PULLED_FILE), `${JSON.stringify(about, null, 2)}\n`);
  const old = `${directory}.old`;
  await rm(old, { recursive: true, force: true });
  if (existsSync(directory)) await rename(directory, old);
  await rename(staging, directory);
  await rm(old, { recursive: true, force: true });
  return pulled;
}

/** A file that is there already, copied by link where the disk can. */
async function takeOver(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
}

async function readPulled(directory: string): Promise<Omit<PulledModel, 'loadedBytes'> | null> {
  try {
    const about = JSON.parse(await readFile(join(directory, PULLED_FILE), 'utf8')) as PulledModel;
    const files = Object.entries(about.files);
    const sizes = await Promise.all(files.map(([path]) => stat(join(directory, path))));
    return files.every(([, { sizeBytes }], i) => sizes[i]?.size === sizeBytes) ? about : null;
  } catch {
    return null; // not there, or not whole: as if it were not
  }
}

function choose(id: string, files: readonly HubFile[], asked: string | undefined): HubFile[] {
  const candidates = asked === undefined ? GRAPHS : [asked];
  const graph = candidates.find((path) => files.some((file) => file.path === path));
  if (graph === undefined) {
    const others = files.map(({ path }) => path).filter((path) => path.endsWith('.onnx'));
    throw new MaxSimError(
      'DOWNLOAD_FAILED',
      `${id} has no ${candidates.join(' and no ')}${others.length === 0 ? ', nor any other ONNX graph: one has to be exported first.' : `, but ${others.join(', ')}: name one as the file (--file).`}`,
      { details: { graphs: others } },
    );
  }
  // Stanford's checkpoints have their projection among the weights of the model.
  const has = (pattern: RegExp): boolean => files.some(({ path }) => pattern.test(path));
  const wanted =
    has(/^artifact\.metadata$/) && !has(/^\d+_Dense\//)
      ? [...WANTED, /^model\.safetensors$/]
      : WANTED;
  const isSafe = (path: string): boolean =>
    !path.split('/').includes('..') && !path.startsWith('/');
  return files.filter(
    ({ path }) =>
      isSafe(path) &&
      (path === graph ||
        path.startsWith(`${graph}_data`) ||
        path === `${graph}.data` ||
        wanted.some((pattern) => pattern.test(path))),
  );
}

async function requireRoom(directory: string, bytes: number): Promise<void> {
  const { bavail, blocks, bsize } = await statfs(directory);
  if (blocks === 0 || bavail * bsize >= bytes) return;
  throw new MaxSimError(
    'DISK_FULL',
    `${directory}: this model needs ${bytes} bytes, but ${bavail * bsize} are available on its disk.`,
    { details: { directory, needed: bytes, available: bavail * bsize } },
  );
}

/** Of an earlier pull that was cut. */
async function bytesIn(folder: string): Promise<number> {
  const all = await Promise.all((await filesIn(folder)).map((file) => stat(join(folder, file))));
  return all.reduce((sum, { size }) => sum + size, 0);
}

/** Earlier pulls that were cut may have been of another commit, whose graphs are none of this model. */
async function keepOnly(folder: string, paths: ReadonlySet<string>): Promise<void> {
  for (const file of await filesIn(folder)) if (!paths.has(file)) await rm(join(folder, file));
}

/** As the hub names them: within the folder, with forward slashes. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
}
