/**
 * The models that are known by name, and where a model's folder is. Looked for in order: the path itself,
 * every folder of MAXSIM_MODELS (separated like PATH), the models/ folder that ships with the package,
 * and the cache that `maxsim models pull` fills.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, delimiter, isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { distance } from 'fastest-levenshtein';
import { MaxSimError } from '../errors.js';
import { cacheFolder } from './cache-folder.js';

export type ModelKind = 'late-interaction' | 'cross-encoder' | 'dense';

/** A published figure, and where it is published. */
export type Quality = { measure: string; value: number; source: string };

export type CatalogEntry = {
  name: string;
  /** 'organisation/name' on the Hugging Face hub; null for those that ship with the package. */
  id: string | null;
  /** The hub's branch or commit. */
  revision: string | null;
  kind: ModelKind;
  license: string;
  /** Whether the licence forbids commercial use. */
  nonCommercial: boolean;
  languages: string[];
  parameters: number;
  /** Values of a vector; more than one where vectors may be cut. */
  dims?: number[];
  queryLength?: number;
  documentLength?: number;
  maxLength?: number;
  quality: Quality[];
  /** ONNX graphs that the repository is known to hold. */
  graphs: string[];
  /** Files whose bytes are known. */
  files: Record<string, { sizeBytes: number; sha256: string }>;
  source: string;
  note?: string;
};

type Catalog = { default: string; defaultCrossEncoder: string; models: CatalogEntry[] };

const SHIPPED = fileURLToPath(new URL('../../models/', import.meta.url));

let catalog: Catalog | undefined;

function readCatalog(): Catalog {
  catalog ??= JSON.parse(readFileSync(join(SHIPPED, 'catalog.json'), 'utf8')) as Catalog;
  return catalog;
}

export function catalogEntries(): readonly CatalogEntry[] {
  return readCatalog().models;
}

/** By name, or by hub id. */
export function catalogEntry(nameOrId: string): CatalogEntry | undefined {
  const lower = nameOrId.toLowerCase();
  return readCatalog().models.find(
    ({ name, id }) => name.toLowerCase() === lower || id?.toLowerCase() === lower,
  );
}

/** Names of the catalog that somebody may have meant, nearest first. */
export function nearestNames(name: string): string[] {
  const short = name.split('/').at(-1)?.toLowerCase() ?? '';
  const ranked = readCatalog().models.map((entry) => {
    const other = entry.name.toLowerCase();
    const apart = distance(short, other) / Math.max(short.length, other.length, 1);
    const part = short.length >= 4 && (other.includes(short) || short.includes(other));
    return { name: entry.name, apart: part ? Math.min(apart, 0.3) : apart };
  });
  return ranked
    .filter(({ apart }) => apart <= 0.4)
    .sort((a, b) => a.apart - b.apart)
    .slice(0, 3)
    .map((entry) => entry.name);
}

/** The catalog's default of a kind, where 'default' was asked for. */
export function resolveName(nameOrPath: string, kind: ModelKind): string {
  const known = readCatalog();
  if (nameOrPath !== 'default') return nameOrPath;
  return kind === 'cross-encoder' ? known.defaultCrossEncoder : known.default;
}

export type LocatedModel = { name: string; directory: string };

export type LocateOptions = { allowNonCommercial?: boolean };

/**
 * The folder of a model: 'default' is the catalog's default of that kind. Throws MODEL_NOT_FOUND with
 * the places that were searched and the names there are, INVALID_MODEL for a model of another kind, and
 * LICENSE_REFUSED for weights that must not be used commercially, unless that is allowed.
 */
export function locateModel(
  nameOrPath: string,
  kind: ModelKind,
  { allowNonCommercial = false }: LocateOptions = {},
): LocatedModel {
  const name = resolveName(nameOrPath, kind);
  const entry = catalogEntry(name);
  if (entry !== undefined) {
    if (entry.kind !== kind) {
      throw new MaxSimError(
        'INVALID_MODEL',
        `${name} is a ${entry.kind} model, but a ${kind} model is needed here.`,
      );
    }
    checkLicense(entry, allowNonCommercial);
  }
  const searched = placesOf(name, entry);
  const directory = searched.find(isModelFolder);
  if (directory !== undefined) {
    if (entry === undefined) checkPulledLicense(directory, allowNonCommercial);
    return { name, directory };
  }
  throw new MaxSimError(
    'MODEL_NOT_FOUND',
    `There is no model "${nameOrPath}" here (searched ${searched.join(', ')}). ${remedy(name, entry, kind)}`,
    { details: { searched } },
  );
}

/** Whether a folder holds what every model must have: a tokenizer, and an ONNX graph there or one folder deeper. */
export function isModelFolder(folder: string): boolean {
  const isGraph = (name: string): boolean => name.endsWith('.onnx');
  const entries = entriesOf(folder);
  return (
    entries.includes('tokenizer.json') &&
    (entries.some(isGraph) || entries.some((inner) => entriesOf(join(folder, inner)).some(isGraph)))
  );
}

/** Models that did not come with the package: those in folders of MAXSIM_MODELS, and those in the cache. */
export function modelsHere(): LocatedModel[] {
  const cached = entriesOf(pulledRoot()).map((entry) => ({
    name: entry.replace('--', '/'),
    directory: join(pulledRoot(), entry),
  }));
  const own = ownRoots().flatMap((root) => {
    const direct = entriesOf(root);
    const nested = direct.flatMap((outer) =>
      entriesOf(join(root, outer)).map((inner) => `${outer}/${inner}`),
    );
    return [...direct, ...nested].map((name) => ({ name, directory: join(root, name) }));
  });
  // A pull that is not done has its folder beside the model's.
  return [...own, ...cached].filter(
    ({ name, directory }) => !/\.(partial|old)$/.test(name) && isModelFolder(directory),
  );
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return []; // not there, or no folder
  }
}

function ownRoots(): string[] {
  const roots = (process.env['MAXSIM_MODELS'] ?? '').split(delimiter);
  return roots.filter((root) => root !== '').map((root) => resolve(root));
}

/** Every folder in which a model of this name may be, in the order they are looked at. */
export function placesOf(name: string, entry: CatalogEntry | undefined): string[] {
  const isHubId = /^[\w.-]+\/[\w.-]+$/.test(name);
  const isPath = isAbsolute(name) || name.startsWith('.') || name.includes(sep);
  if (isPath && (!isHubId || existsSync(name))) return [resolve(name)];
  const places: string[] = [];
  for (const root of ownRoots()) {
    places.push(resolve(root, name));
    if (entry !== undefined && entry.name !== name) places.push(resolve(root, entry.name));
    if (entry?.id != null) places.push(resolve(root, entry.id));
  }
  if (!isHubId) places.push(join(SHIPPED, name));
  const id = entry?.id ?? (isHubId ? name : null);
  if (id !== null) places.push(pulledFolder(id));
  return [...new Set(places)];
}

/** Where a model of the package is, if it is one. */
export function shippedFolder(name: string): string {
  return join(SHIPPED, basename(name));
}

/** Where `maxsim models pull` puts the model of a hub id. */
export function pulledFolder(id: string): string {
  return join(pulledRoot(), id.replace('/', '--'));
}

function pulledRoot(): string {
  return join(cacheFolder(), 'models');
}

/** What a pulled model's folder says of where it came from. */
export const PULLED_FILE = 'maxsim-model.json';

export function isNonCommercial(license: string): boolean {
  return /(^|[-_ ])nc([-_ ]|$)|non-?commercial/i.test(license);
}

/** Throws LICENSE_REFUSED. */
export function checkLicense(
  { name, license, nonCommercial }: Pick<CatalogEntry, 'name' | 'license' | 'nonCommercial'>,
  allowNonCommercial: boolean,
): void {
  if (!nonCommercial || allowNonCommercial) return;
  throw new MaxSimError(
    'LICENSE_REFUSED',
    `${name} is licensed ${license}, which forbids commercial use: allowNonCommercial: true (--allow-non-commercial) says that yours is none.`,
    { details: { license } },
  );
}

function checkPulledLicense(directory: string, allowNonCommercial: boolean): void {
  const file = join(directory, PULLED_FILE);
  if (!existsSync(file)) return;
  let about: { id?: unknown; license?: unknown } | null;
  try {
    about = JSON.parse(readFileSync(file, 'utf8')) as typeof about;
  } catch (cause) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${file} must be JSON that says where the model came from, but is not: pull the model again.`,
      { cause },
    );
  }
  const { id, license } = about ?? {};
  if (typeof license !== 'string') return;
  const nonCommercial = isNonCommercial(license);
  checkLicense({ name: String(id), license, nonCommercial }, allowNonCommercial);
}

function remedy(name: string, entry: CatalogEntry | undefined, kind: ModelKind): string {
  if (entry?.id != null) return `"maxsim models pull ${entry.name}" fetches it.`;
  if (/^[\w.-]+\/[\w.-]+$/.test(name))
    return `"maxsim models pull ${name}" fetches it, if the hub has it.`;
  const near = nearestNames(name);
  if (near.length > 0) return `Did you mean ${near.join(', ')}?`;
  const names = readCatalog().models.filter((model) => model.kind === kind);
  return `The catalog has ${names.map((model) => model.name).join(', ')}; or give the path of a folder with tokenizer.json and an ONNX graph.`;
}

/** SHA-256 of a file in hex, read in pieces so that the event loop is never held for long. */
export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 18 }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}
