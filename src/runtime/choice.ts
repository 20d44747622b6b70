/**
 * What `maxsim models check` found fastest for a model on this machine, kept in the cache folder. A
 * choice counts for the same files, CPU and versions only; any other, and a file that cannot be read,
 * is as if there were none: a model loads without it, only slower.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { cacheFolder } from './cache-folder.js';
import { sha256 } from './catalog.js';
import { coreCount } from './cores.js';
import { type FolderFile, graphFiles, weightFiles } from './graph-forms.js';
import { describeGraph } from './onnx-file.js';
import { OPTIMISATIONS, type Optimisation } from './session.js';

export type Choice = {
  /** A graph within the model's folder. */
  file: string;
  optimisation: Optimisation;
  /** Threads within one run of the graph. */
  intraThreads: number;
  /** Model threads of a pool. */
  workers: number;
};

/** A choice, and all that has to be the same for it to count. */
type Entry = Choice & {
  files: FolderFile[];
  /** Of the chosen graph with its weights. */
  sha256: string;
  cpu: string;
  onnxruntime: string;
  maxsim: string;
  /** ISO 8601. */
  measuredAt: string;
};

const MAX_ENTRIES = 200;
const MAX_THREADS = 1024;

export function choiceFile(): string {
  return join(cacheFolder(), 'choices.json');
}

/** What was recorded for the model in this folder; null where nothing counts. Never throws. */
export async function readChoice(directory: string): Promise<Choice | null> {
  const entries = await readEntries();
  if (entries.length === 0) return null;
  const files = await graphFiles(directory).catch(() => []);
  const here = JSON.stringify({ files, ...surroundings() });
  for (const entry of entries) {
    const { cpu, onnxruntime, maxsim } = entry;
    if (JSON.stringify({ files: entry.files, cpu, onnxruntime, maxsim }) !== here) continue;
    const digest = await graphSha256(directory, entry.file).catch(() => null);
    if (digest !== entry.sha256) continue;
    const { file, optimisation, intraThreads, workers } = entry;
    return { file, optimisation, intraThreads, workers };
  }
  return null;
}

/** Keeps a choice, before all earlier ones. Throws IO_ERROR. */
export async function recordChoice(directory: string, choice: Choice): Promise<void> {
  const entry: Entry = {
    ...choice,
    files: await graphFiles(directory),
    sha256: await graphSha256(directory, choice.file),
    ...surroundings(),
    measuredAt: new Date().toISOString(),
  };
  // The first that counts is read, so that an earlier choice of another form need not be looked for.
  const others = (await readEntries()).filter(
    ({ sha256, cpu }) => sha256 !== entry.sha256 || cpu !== entry.cpu,
  );
  const file = choiceFile();
  const aside = `${file}.${randomUUID()}`;
  try {
    await mkdir(cacheFolder(), { recursive: true });
    await writeFile(
      aside,
      `${JSON.stringify([entry, ...others].slice(0, MAX_ENTRIES), null, 1)}\n`,
    );
    await rename(aside, file);
  } catch (cause) {
    await rm(aside, { force: true }).catch(() => {});
    throw new MaxSimError(
      'IO_ERROR',
      `${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}; --no-record does without, MAXSIM_CACHE names another folder.`,
      { cause },
    );
  }
}

/** SHA-256 in hex of a graph, and of the files with its weights where there are any. */
export async function graphSha256(directory: string, file: string): Promise<string> {
  const path = join(directory, file);
  const weights = weightFiles(file, await describeGraph(path));
  if (weights.length === 0) return sha256(path);
  const digests = await Promise.all([file, ...weights].map((one) => sha256(join(directory, one))));
  return createHash('sha256').update(digests.join()).digest('hex');
}

function surroundings(): Pick<Entry, 'cpu' | 'onnxruntime' | 'maxsim'> {
  const [cpu] = cpus();
  const require = createRequire(import.meta.url);
  return {
    // As many cores of it as there are: a container may be given others tomorrow.
    cpu: `${cpu?.model ?? 'unknown'} x ${coreCount()}`,
    onnxruntime: versionOf(require.resolve('onnxruntime-node/package.json')),
    maxsim: versionOf(new URL('../../package.json', import.meta.url)),
  };
}

function versionOf(manifest: string | URL): string {
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

async function readEntries(): Promise<Entry[]> {
  try {
    const value: unknown = JSON.parse(await readFile(choiceFile(), 'utf8'));
    return Array.isArray(value) ? value.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null) return false;
  const entry = value as Record<string, unknown>;
  const isThreads = (count: unknown): boolean =>
    Number.isInteger(count) && (count as number) >= 1 && (count as number) <= MAX_THREADS;
  const { files } = entry;
  return (
    ['file', 'sha256', 'cpu', 'onnxruntime', 'maxsim'].every(
      (key) => typeof entry[key] === 'string',
    ) &&
    (OPTIMISATIONS as readonly unknown[]).includes(entry['optimisation']) &&
    isThreads(entry['intraThreads']) &&
    isThreads(entry['workers']) &&
    Array.isArray(files) &&
    files.some((file) => (file as FolderFile | null)?.path === entry['file'])
  );
}
