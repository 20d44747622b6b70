/**
 * Finds a model folder by catalog name or path. Looked up in order: the path itself, every folder of
 * MAXSIM_MODELS (separated like PATH), the models/ folder that ships with the package.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { delimiter, isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MaxSimError } from '../errors.js';

export type ModelKind = 'late-interaction' | 'cross-encoder';

export type CatalogEntry = {
  name: string;
  kind: ModelKind;
  license: string;
  languages: string[];
  source: string;
  files: Record<string, { sizeBytes: number; sha256: string }>;
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

export type LocatedModel = { name: string; directory: string };

/**
 * The folder of a model: 'default' is the catalog's default of that kind. Throws MODEL_NOT_FOUND with
 * the places that were searched and the names there are.
 */
export function locateModel(nameOrPath: string, kind: ModelKind): LocatedModel {
  const known = readCatalog();
  const name =
    nameOrPath === 'default'
      ? kind === 'cross-encoder'
        ? known.defaultCrossEncoder
        : known.default
      : nameOrPath;
  const entry = known.models.find((model) => model.name === name);
  if (entry !== undefined && entry.kind !== kind) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${name} is a ${entry.kind} model, but a ${kind} model is needed here.`,
    );
  }
  const searched: string[] = [];
  if (isAbsolute(name) || name.startsWith('.') || name.includes(sep)) searched.push(resolve(name));
  else {
    for (const root of (process.env['MAXSIM_MODELS'] ?? '').split(delimiter)) {
      if (root !== '') searched.push(resolve(root, name));
    }
    searched.push(join(SHIPPED, name));
  }
  const directory = searched.find((folder) => existsSync(join(folder, 'model.onnx')));
  if (directory === undefined) {
    const names = known.models.filter((model) => model.kind === kind).map((model) => model.name);
    throw new MaxSimError(
      'MODEL_NOT_FOUND',
      `There is no model "${nameOrPath}" (searched ${searched.join(', ')}); the catalog has ${names.join(', ')}, or give the path of a folder with model.onnx and tokenizer.json.`,
    );
  }
  return { name, directory };
}

/** SHA-256 of a file in hex, read in pieces so that the event loop is never held for long. */
export async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 18 }))
    hash.update(piece as Buffer);
  return hash.digest('hex');
}
