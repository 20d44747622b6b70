/** What may be said by hand of a model, and the checks of it. */
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkText,
  LIMITS,
} from '../check.js';
import { invalid, MaxSimError } from '../errors.js';

export type ModelOptions = {
  /** Catalog name, hub id or folder. Default: that of the index, or the catalog's default. */
  model?: string;
  /** Which graph of the folder: 'onnx/model_int8.onnx'. Default: the one measured best, or model.onnx. */
  file?: string;
  /** Cut vectors to so many values: for models trained for it (Matryoshka). */
  dim?: number;
  queryLength?: number;
  documentLength?: number;
  /** One token put after [CLS], or text put before the text; '' for none. */
  queryPrefix?: string;
  documentPrefix?: string;
  /** Fill queries up to `queryLength` with [MASK]. */
  queryExpansion?: boolean;
  attendToExpansion?: boolean;
  /** Tokens of documents that are not stored. */
  skiplist?: readonly string[];
  lowerCase?: boolean;
  /** Bring vectors to unit length. */
  normalise?: boolean;
  /**
   * What "[MASK]" or "[unused0]" within a text is. 'plain' (default): text, so that a document cannot
   * forge markers. 'as-written': that token, as the reference libraries have it.
   */
  specialTokens?: 'plain' | 'as-written';
  /** Keep about one of so many document vectors: means of those that are close together. Default: 1. */
  poolFactor?: number;
  /** 'split': documents longer than documentLength become windows, all of which are stored. */
  longDocuments?: 'truncate' | 'split';
  /** Tokens that a window shares with the one before. Default: a quarter of documentLength. */
  windowOverlap?: number;
  /** Load weights whose licence forbids commercial use. */
  allowNonCommercial?: boolean;
};

export type GivenOptions = Omit<ModelOptions, 'model' | 'allowNonCommercial'>;

const NAMES = [
  'model',
  'file',
  'dim',
  'queryLength',
  'documentLength',
  'queryPrefix',
  'documentPrefix',
  'queryExpansion',
  'attendToExpansion',
  'skiplist',
  'lowerCase',
  'normalise',
  'specialTokens',
  'poolFactor',
  'longDocuments',
  'windowOverlap',
  'allowNonCommercial',
] as const;

export type CheckedModel = { model: string; allowNonCommercial: boolean; given: GivenOptions };

/** Throws INVALID_ARGUMENT. */
export function checkModelOptions(value: string | ModelOptions): CheckedModel {
  if (typeof value === 'string') {
    return { model: checkText('model', value), allowNonCommercial: false, given: {} };
  }
  const options = checkOptions<ModelOptions>('model', value, NAMES);
  const { model = 'default', allowNonCommercial = false, ...rest } = options;
  checkText('model.model', model);
  const given = Object.fromEntries(
    Object.entries(rest).filter(([, entry]) => entry !== undefined),
  ) as GivenOptions;
  if (given.file !== undefined) checkText('model.file', given.file);
  if (given.dim !== undefined) checkInteger('model.dim', given.dim, LIMITS.minDim, LIMITS.maxDim);
  // 4: [CLS], marker, one token, [SEP].
  for (const key of ['queryLength', 'documentLength'] as const)
    if (given[key] !== undefined) checkInteger(`model.${key}`, given[key], 4, 8192);
  for (const key of ['queryPrefix', 'documentPrefix'] as const) {
    if (given[key] !== undefined && typeof given[key] !== 'string')
      throw invalid(`model.${key}`, 'a string', given[key]);
  }
  for (const key of ['queryExpansion', 'attendToExpansion', 'lowerCase', 'normalise'] as const)
    if (given[key] !== undefined) checkBoolean(`model.${key}`, given[key]);
  const { skiplist, specialTokens, longDocuments, poolFactor, windowOverlap } = given;
  if (
    skiplist !== undefined &&
    !(Array.isArray(skiplist) && skiplist.every((word) => typeof word === 'string'))
  ) {
    throw invalid('model.skiplist', 'an array of strings', skiplist);
  }
  if (specialTokens !== undefined)
    checkOneOf('model.specialTokens', specialTokens, ['plain', 'as-written']);
  if (longDocuments !== undefined)
    checkOneOf('model.longDocuments', longDocuments, ['truncate', 'split']);
  if (poolFactor !== undefined && !(poolFactor >= 1 && poolFactor <= 100))
    throw invalid('model.poolFactor', 'from 1 to 100', poolFactor);
  if (windowOverlap !== undefined) checkInteger('model.windowOverlap', windowOverlap, 0, 8192);
  if (windowOverlap !== undefined && longDocuments !== 'split') {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      "model.windowOverlap is for model.longDocuments: 'split', which was not given.",
    );
  }
  return {
    model,
    allowNonCommercial: checkBoolean('model.allowNonCommercial', allowNonCommercial),
    given,
  };
}
