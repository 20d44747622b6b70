/**
 * What decides the vectors of a text: markers, lengths, expansion, skiplist, layers, the model itself.
 * An index remembers the recipe it was made with; a wrong value costs points of nDCG without any error.
 */
import { createHash } from 'node:crypto';
import type { Activation } from '../runtime/head-graph.js';
import type { TokenizerOptions } from '../runtime/tokenizer.js';

export type Layout = 'stanford' | 'pylate' | 'sentence-transformers' | 'onnx-config' | 'by-hand';

/** Filling queries up with vectors of a token of their own, [MASK], which are scored like any other. */
export type Expansion = {
  /** fixed: every query has exactly so many tokens. min: at least so many, at most `queryLength`. */
  strategy: 'fixed' | 'min';
  length: number;
  tokenId: number;
};

/** Vectors of a document that are close together, replaced by their mean. */
export type Pooling = {
  /** About so many tokens become one. */
  factor: number;
  /** So many tokens at the start stay as they are. */
  protectedTokens: number;
  /** Whether means are brought back to unit length. */
  normalise: boolean;
};

export type Projection = {
  inFeatures: number;
  outFeatures: number;
  bias: boolean;
  activation: Activation;
  residual: boolean;
  sha256: string;
};

export type Recipe = {
  /** For people, as are `layout`, `file`, `options` and `notes`: no part of the fingerprint. */
  model: string;
  layout: Layout;
  /** The graph within the folder. */
  file: string;
  /** What was asked for by hand. */
  options: Readonly<Record<string, unknown>>;
  /** What was resolved in a way that may surprise, in words. */
  notes: readonly string[];

  /** Put before every text, as text. */
  queryPrompt: string;
  documentPrompt: string;
  /** Token ids of the markers put right after [CLS]; null for models without. */
  queryMarkerId: number | null;
  documentMarkerId: number | null;
  /** Longest sequence in token ids, [CLS], marker and [SEP] included. */
  queryLength: number;
  documentLength: number;
  queryExpansion: boolean;
  /** Whether the model may look at the expansion while it encodes the others. */
  attendToExpansion: boolean;
  /** Null without expansion. */
  expansion: Expansion | null;
  /** Document tokens whose vectors are not stored (punctuation), and query tokens not scored. */
  skiplistIds: readonly number[];
  querySkiplistIds: readonly number[];
  /** The only document tokens whose vectors are stored; null: all. */
  keepOnlyIds: readonly number[] | null;
  /** How texts are lower-cased by us, where the tokenizer does not do it. */
  lowerCase: false | 'text' | 'normaliser';
  /** Whether white space at the ends of a text is dropped, where the tokenizer makes tokens of it. */
  trim: boolean;
  /** What "[MASK]" within a text is: text, or that token. */
  specialTokens: 'plain' | 'as-written';
  /** Dense layers that the graph does not have. */
  projection: readonly Projection[];
  /** Whether vectors are brought to unit length where they are not. */
  normalise: boolean;
  dim: number;
  pooling: Pooling | null;
  /** truncate: what is beyond documentLength is not encoded. Else windows that share so many tokens. */
  longDocuments: 'truncate' | { windowOverlap: number };
  modelSha256: string;
  tokenizerSha256: string;
};

/** What queries were filled with when recipes did not name it. */
const BERT_MASK = 103;

/**
 * Equal exactly when two recipes give the same vectors for every text. Whatever was not part of recipes
 * once is left out at the value that it had by then, so that their fingerprints stay what they were.
 */
export function fingerprintOf(recipe: Recipe): string {
  const { expansion, queryLength } = recipe;
  const parts: Record<string, unknown> = {
    queryMarkerId: recipe.queryMarkerId,
    documentMarkerId: recipe.documentMarkerId,
    queryLength,
    documentLength: recipe.documentLength,
    queryExpansion: recipe.queryExpansion,
    attendToExpansion: recipe.attendToExpansion,
    skiplistIds: recipe.skiplistIds,
    dim: recipe.dim,
    modelSha256: recipe.modelSha256,
    tokenizerSha256: recipe.tokenizerSha256,
  };
  const later: [name: string, value: unknown, isAsBefore: boolean][] = [
    ['queryPrompt', recipe.queryPrompt, recipe.queryPrompt === ''],
    ['documentPrompt', recipe.documentPrompt, recipe.documentPrompt === ''],
    [
      'expansion',
      expansion,
      expansion === null ||
        (expansion.strategy === 'fixed' &&
          expansion.length === queryLength &&
          expansion.tokenId === BERT_MASK),
    ],
    ['querySkiplistIds', recipe.querySkiplistIds, recipe.querySkiplistIds.length === 0],
    ['keepOnlyIds', recipe.keepOnlyIds, recipe.keepOnlyIds === null],
    ['lowerCase', recipe.lowerCase, recipe.lowerCase === false],
    ['trim', true, !recipe.trim],
    ['specialTokens', recipe.specialTokens, recipe.specialTokens === 'as-written'],
    ['projection', recipe.projection, recipe.projection.length === 0],
    ['normalise', false, recipe.normalise],
    ['pooling', recipe.pooling, recipe.pooling === null],
    ['longDocuments', recipe.longDocuments, recipe.longDocuments === 'truncate'],
  ];
  for (const [name, value, isAsBefore] of later) if (!isAsBefore) parts[name] = value;
  const canonical = JSON.stringify(Object.entries(parts).sort(([a], [b]) => (a < b ? -1 : 1)));
  return createHash('sha256').update(canonical).digest('hex').slice(0, 32);
}

/** How a recipe wants its texts tokenised. */
export function tokenizerOptions(recipe: Recipe): TokenizerOptions {
  const { specialTokens, lowerCase, trim, queryMarkerId, documentMarkerId } = recipe;
  const markerIds = [queryMarkerId, documentMarkerId].filter((id) => id !== null);
  return { specialTokens, lowerCase, trim, markerIds };
}
