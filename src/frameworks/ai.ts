/**
 * `maxsim/ai`: an engine as a reranking model of the AI SDK, for `rerank({ model, query, documents })`.
 * Its shape only: nothing of the AI SDK is loaded.
 */
import { checkOneOf, checkOptions } from '../check.js';
import type { Engine } from '../maxsim.js';
import { type Reranking, rerankTexts } from './rerank-texts.js';

export type RerankingModelOptions<V extends 'v3' | 'v4'> = Reranking & {
  /** 'v3' (default) for version 6 of `ai`, 'v4' for 7. */
  version?: V;
};

type JsonObject = { [key: string]: unknown };

/** RerankingModelV3 and V4 of @ai-sdk/provider, which differ in the version they state. */
export type RerankingModel<V extends 'v3' | 'v4'> = {
  readonly specificationVersion: V;
  readonly provider: string;
  readonly modelId: string;
  doRerank(options: {
    documents: { type: 'text'; values: string[] } | { type: 'object'; values: JsonObject[] };
    query: string;
    topN?: number;
    abortSignal?: AbortSignal;
  }): Promise<{
    ranking: { index: number; relevanceScore: number }[];
    providerMetadata: { maxsim: ProviderMetadata };
    warnings?: { type: 'compatibility'; feature: string; details: string }[];
  }>;
};

type ProviderMetadata = {
  /** What relevance scores are: probability, score of one stage, or place (1 / rank). */
  scores: string;
  verdict: string | null;
  degraded: { stage: string; cause: string; message: string } | null;
};

/**
 * Scores are probabilities where the pipeline has a calibrator, else those of its last stage. Throws
 * INVALID_ARGUMENT.
 *
 * @example
 * const { ranking } = await rerank({ model: rerankingModel(engine), query, documents, topN: 5 })
 */
export function rerankingModel<V extends 'v3' | 'v4' = 'v3'>(
  engine: Engine,
  options?: RerankingModelOptions<V>,
): RerankingModel<V> {
  const { version = 'v3' as V, ...reranking } = checkOptions<RerankingModelOptions<V>>(
    'options',
    options,
    ['version', 'pipeline', 'deadlineMs'],
  );
  checkOneOf('version', version, ['v3', 'v4']);
  const { recipe, fingerprint } = engine.encoder;
  const model = recipe['model'];
  return {
    specificationVersion: version,
    provider: 'maxsim',
    modelId: typeof model === 'string' ? model : fingerprint,
    async doRerank({ documents, query, topN, abortSignal }) {
      const texts =
        documents.type === 'text'
          ? documents.values
          : documents.values.map((value) => JSON.stringify(value));
      const { ranking, kind, verdict, degraded } = await rerankTexts(engine, query, texts, {
        ...reranking,
        ...(topN === undefined ? {} : { topK: topN }),
        ...(abortSignal === undefined ? {} : { signal: abortSignal }),
      });
      return {
        ranking: ranking.map(({ index, score }) => ({ index, relevanceScore: score })),
        providerMetadata: { maxsim: { scores: kind, verdict, degraded } },
        ...(documents.type === 'text'
          ? {}
          : {
              warnings: [
                {
                  type: 'compatibility' as const,
                  feature: 'object documents',
                  details: 'Objects are read as their JSON.',
                },
              ],
            }),
      };
    },
  };
}
