/** The configuration files of a model folder, read with every type checked; modules of sentence-transformers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MaxSimError, show } from '../errors.js';
import { ACTIVATIONS, type Activation, type DenseSpec, type LayerNormSpec } from './head-graph.js';

/** A JSON object of a model folder, whose fields are read with their type checked. */
export class Config {
  private constructor(
    readonly file: string,
    private readonly fields: Record<string, unknown>,
  ) {}

  /** Null where there is no such file. Throws INVALID_MODEL when it is no JSON object. */
  static async read(directory: string, name: string): Promise<Config | null> {
    const file = join(directory, name);
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw new MaxSimError('INVALID_MODEL', `${file} cannot be read: ${String(cause)}`, { cause });
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new MaxSimError('INVALID_MODEL', `${file} is not valid JSON: ${String(cause)}`, {
        cause,
      });
    }
    return Config.of(file, value);
  }

  static of(file: string, value: unknown): Config {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return new Config(file, value as Record<string, unknown>);
    throw new MaxSimError(
      'INVALID_MODEL',
      `${file} must hold a JSON object, but holds ${show(value)}.`,
    );
  }

  has(key: string): boolean {
    return this.fields[key] !== undefined;
  }

  string(key: string): string | null {
    return this.field(key, 'a string', (value): value is string => typeof value === 'string');
  }

  boolean(key: string): boolean | null {
    return this.field(
      key,
      'true or false',
      (value): value is boolean => typeof value === 'boolean',
    );
  }

  /** A count from 1. */
  count(key: string): number | null {
    return this.field(
      key,
      'a whole number from 1',
      (value): value is number => Number.isSafeInteger(value) && (value as number) >= 1,
    );
  }

  number(key: string): number | null {
    return this.field(key, 'a number', (value): value is number => Number.isFinite(value));
  }

  strings(key: string): string[] | null {
    return this.field(
      key,
      'an array of strings',
      (value): value is string[] =>
        Array.isArray(value) && value.every((entry) => typeof entry === 'string'),
    );
  }

  ids(key: string): number[] | null {
    return this.field(
      key,
      'an array of token ids',
      (value): value is number[] =>
        Array.isArray(value) &&
        value.every((id) => Number.isSafeInteger(id) && (id as number) >= 0),
    );
  }

  object(key: string): Config | null {
    const value = this.fields[key];
    return value === undefined || value === null ? null : Config.of(`${this.file}: ${key}`, value);
  }

  /** Absent and null are the same, as in the libraries that write these files. */
  private field<T>(
    key: string,
    expected: string,
    accepts: (value: unknown) => value is T,
  ): T | null {
    const value = this.fields[key];
    if (value === undefined || value === null) return null;
    if (accepts(value)) return value;
    throw new MaxSimError(
      'INVALID_MODEL',
      `${this.file}: ${key} must be ${expected}, but is ${show(value)}.`,
    );
  }
}

export type Module = { type: string; name: string; directory: string };

/** modules.json of sentence-transformers; null where there is none. */
export async function readModules(directory: string): Promise<Module[] | null> {
  const file = join(directory, 'modules.json');
  let list: unknown;
  try {
    list = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new MaxSimError('INVALID_MODEL', `${file} cannot be read: ${String(cause)}`, { cause });
  }
  if (!Array.isArray(list))
    throw new MaxSimError('INVALID_MODEL', `${file} must hold an array, but holds ${show(list)}.`);
  return list.map((entry, i) => {
    const config = Config.of(`${file}: entry ${i}`, entry);
    const type = config.string('type') ?? '';
    return {
      type,
      name: type.split('.').at(-1) ?? '',
      directory: join(directory, config.string('path') ?? ''),
    };
  });
}

/** A Dense layer's folder: config.json and model.safetensors (PyLate, sentence-transformers). */
export async function readDense(directory: string): Promise<DenseSpec> {
  const config = await Config.read(directory, 'config.json');
  if (config === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${directory} must hold a config.json of its dense layer.`,
    );
  }
  const inFeatures = config.count('in_features');
  const outFeatures = config.count('out_features');
  if (inFeatures === null || outFeatures === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${config.file} must give in_features and out_features.`,
    );
  }
  const activation = config.string('activation_function') ?? 'torch.nn.modules.activation.Tanh';
  return {
    file: join(directory, 'model.safetensors'),
    inFeatures,
    outFeatures,
    // sentence-transformers' own defaults.
    bias: config.boolean('bias') ?? true,
    activation: activationOf(activation, config.file),
    residual: config.boolean('use_residual') ?? false,
  };
}

function activationOf(path: string, file: string): Activation {
  const name = path.split('.').at(-1);
  const known = ACTIVATIONS.find((activation) => activation === name);
  if (known !== undefined) return known;
  throw new MaxSimError(
    'INVALID_MODEL',
    `${file}: activation_function ${path} is not supported; ${ACTIVATIONS.join(', ')} are.`,
  );
}

/** A LayerNorm layer's folder (sentence-transformers): config.json and model.safetensors. */
export async function readLayerNorm(directory: string): Promise<LayerNormSpec> {
  const config = await Config.read(directory, 'config.json');
  const features = config?.count('dimension') ?? null;
  if (features === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${join(directory, 'config.json')} must give the dimension of its layer norm.`,
    );
  }
  return { kind: 'layer-norm', file: join(directory, 'model.safetensors'), features };
}
