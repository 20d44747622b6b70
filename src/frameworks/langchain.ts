/**
 * `maxsim/langchain`: an engine as a document compressor, which reranks what another retriever has
 * found, and as a retriever of its own. Needs `@langchain/core`.
 */
import type { CallbackManagerForRetrieverRun } from '@langchain/core/callbacks/manager';
import { Document, type DocumentInterface } from '@langchain/core/documents';
import { BaseRetriever, type BaseRetrieverInput } from '@langchain/core/retrievers';
import { BaseDocumentCompressor } from '@langchain/core/retrievers/document_compressors';
import { checkInteger, checkOptions } from '../check.js';
import type { Engine, Filter, Hit, Pipeline } from '../maxsim.js';
import { type Reranking, relevanceOf, rerankTexts } from './rerank-texts.js';

export type MaxSimRerankOptions = Reranking & {
  engine: Engine;
  /** How many documents are kept. Default: 3, as LangChain's other compressors have it. */
  topN?: number;
};

/** For ContextualCompressionRetriever's `baseCompressor`. Documents get `metadata.relevanceScore`. */
export class MaxSimRerank extends BaseDocumentCompressor {
  private readonly engine: Engine;
  private readonly topN: number;
  private readonly reranking: Reranking;

  /** Throws INVALID_ARGUMENT. */
  constructor(options: MaxSimRerankOptions) {
    super();
    const {
      engine,
      topN = 3,
      ...reranking
    } = checkOptions<MaxSimRerankOptions>('options', options, [
      'engine',
      'topN',
      'pipeline',
      'deadlineMs',
    ]);
    this.engine = engine;
    this.topN = checkInteger('topN', topN, 1, 100_000);
    this.reranking = reranking;
  }

  override async compressDocuments(
    documents: DocumentInterface[],
    query: string,
  ): Promise<DocumentInterface[]> {
    const ranking = await this.rerank(documents, query);
    return ranking.map(({ index, relevanceScore }) => {
      const { pageContent, metadata, id } = documents[index] as DocumentInterface;
      return new Document({
        pageContent,
        metadata: { ...metadata, relevanceScore },
        ...(id === undefined ? {} : { id }),
      });
    });
  }

  /** Places in the list and scores, best first. */
  async rerank(
    documents: readonly (DocumentInterface | string)[],
    query: string,
    { topN = this.topN }: { topN?: number } = {},
  ): Promise<{ index: number; relevanceScore: number }[]> {
    const texts = documents.map((one) => (typeof one === 'string' ? one : one.pageContent));
    const options = { ...this.reranking, topK: topN };
    const { ranking } = await rerankTexts(this.engine, query, texts, options);
    return ranking.map(({ index, score }) => ({ index, relevanceScore: score }));
  }
}

export type MaxSimRetrieverOptions = BaseRetrieverInput & {
  engine: Engine;
  /** Default: as the pipeline says, else 10. */
  topK?: number;
  pipeline?: Pipeline;
  filter?: Filter;
  tenant?: string;
};

/** The best documents of the index; their payloads, where they are objects, are the metadata. */
export class MaxSimRetriever extends BaseRetriever {
  static override lc_name(): string {
    return 'MaxSimRetriever';
  }

  lc_namespace = ['maxsim', 'retrievers'];
  private readonly engine: Engine;
  private readonly search: Omit<MaxSimRetrieverOptions, keyof BaseRetrieverInput | 'engine'>;

  constructor({ engine, topK, pipeline, filter, tenant, ...input }: MaxSimRetrieverOptions) {
    super(input);
    this.engine = engine;
    this.search = {
      ...(topK === undefined ? {} : { topK }),
      ...(pipeline === undefined ? {} : { pipeline }),
      ...(filter === undefined ? {} : { filter }),
      ...(tenant === undefined ? {} : { tenant }),
    };
  }

  override async _getRelevantDocuments(
    query: string,
    _runManager?: CallbackManagerForRetrieverRun,
  ): Promise<DocumentInterface[]> {
    const { hits } = await this.engine.search(query, this.search);
    const { scores } = relevanceOf(hits);
    return hits.map(
      (hit, i) =>
        new Document({
          id: hit.id,
          pageContent: hit.text ?? '',
          metadata: { ...metadataOf(hit), relevanceScore: scores[i] },
        }),
    );
  }
}

function metadataOf({ payload }: Hit): Record<string, unknown> {
  if (payload === null) return {};
  return typeof payload === 'object' && !Array.isArray(payload) ? payload : { payload };
}
