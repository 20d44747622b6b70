/**
 * A BM25 first stage in memory, for demos, tests and collections of up to some hundred thousand
 * passages: lower-cased words, Porter stems, Lucene's stop words and defaults (k1 1.2, b 0.75).
 */
import MiniSearch from 'minisearch';
import { stemmer } from 'stemmer';

export type FirstStageHit = {
  id: string;
  /** Higher is better; comparable within one query only. */
  score: { value: number; kind: 'similarity' };
};

export class Bm25 {
  private readonly engine = new MiniSearch<{ id: string; text: string }>({
    fields: ['text'],
    tokenize: (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [],
    processTerm: (term) => (STOP_WORDS.has(term) ? null : stemmer(term)),
    searchOptions: {
      combineWith: 'OR',
      prefix: false,
      fuzzy: false,
      bm25: { k: 1.2, b: 0.75, d: 0 },
    },
  });

  constructor(documents: Iterable<{ id: string; text: string }>) {
    this.engine.addAll([...documents]);
  }

  /** The best `topK` documents that share a word with the query; ties by id. */
  search(query: string, topK: number): FirstStageHit[] {
    return (
      this.engine
        .search(query)
        // minisearch multiplies BM25 by the number of query words that matched, which is no longer BM25
        // and costs up to ten points of nDCG on long queries.
        .map((hit) => ({
          id: hit.id as string,
          score: { value: hit.score / hit.queryTerms.length, kind: 'similarity' as const },
        }))
        .sort((a, b) => b.score.value - a.score.value || (a.id < b.id ? -1 : 1))
        .slice(0, topK)
    );
  }
}

/** Lucene's English stop words. */
const STOP_WORDS = new Set(
  'a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with'.split(
    ' ',
  ),
);
