/**
 * What the configuration files of a model folder say, in one form for all libraries. `null` is what a
 * folder leaves open; defaults of a library are filled in by its own reader.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DenseSpec } from '../../runtime/head-graph.js';
import { readWeights } from '../../runtime/weights.js';
import type { Layout, Pooling } from '../recipe.js';

export type Settings = {
  layout: Layout;
  /** A token of the vocabulary put after [CLS], or a text put before the text. */
  queryPrefix: string | null;
  documentPrefix: string | null;
  /** Text between the prefix and the text. */
  queryPrompt: string;
  documentPrompt: string;
  queryLength: number | null;
  documentLength: number | null;
  /** null: not said. */
  expansion: ExpansionSettings | 'none' | null;
  skiplist: readonly string[] | null;
  /** 'query' where the skiplist is for queries too. */
  skiplistTasks: readonly string[];
  keepOnlyIds: readonly number[] | null;
  lowerCase: boolean;
  /** Dense layers of the model, whether or not the graph has them. */
  dense: readonly DenseSpec[];
  normalise: boolean;
  pooling: Pooling | null;
  /** What the folder says the vectors have. */
  dim: number | null;
  notes: string[];
};

export type ExpansionSettings = {
  strategy: 'fixed' | 'min';
  /** null: the query length. */
  length: number | null;
  attend: boolean;
  /** null: the mask token. */
  token: string | null;
};

/** string.punctuation of Python, PyLate's and Stanford's skiplist. */
export const PUNCTUATION: readonly string[] = [...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'];

export const BLANK: Omit<Settings, 'layout' | 'notes'> = {
  queryPrefix: null,
  documentPrefix: null,
  queryPrompt: '',
  documentPrompt: '',
  queryLength: null,
  documentLength: null,
  expansion: null,
  skiplist: null,
  skiplistTasks: ['document'],
  keepOnlyIds: null,
  lowerCase: false,
  dense: [],
  normalise: true,
  pooling: null,
  dim: null,
};

/**
 * The projection of a Stanford checkpoint: `linear.weight` beside the weights of the model. Null where
 * there is none; throws INVALID_MODEL for a file that is damaged.
 */
export async function readLinear(directory: string): Promise<DenseSpec | null> {
  const file = join(directory, 'model.safetensors');
  if (!existsSync(file)) return null;
  const weight = (await readWeights(file, ['linear.weight'])).get('linear.weight');
  if (weight === undefined || weight.shape.length !== 2) return null;
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  return { file, inFeatures, outFeatures, bias: false, activation: 'Identity', residual: false };
}
