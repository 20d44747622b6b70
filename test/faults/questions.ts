/** Everything that can be asked of a small index, and the right answers, taken while it was whole. */
import type { DocumentView } from '../../dist/index/document-view.js';
import { Index } from '../../dist/index/store.js';
import type { StoredDocument } from '../../dist/types.js';
import { QUERY, sameVectors } from './documents.js';

export type Known = {
  documents: ReadonlyMap<string, { stored: StoredDocument; vectors: Float32Array; score: number }>;
  found: readonly { id: string; score: number }[];
  /** Whether documents can be searched by codes. */
  isCoded: boolean;
};

/** Of every document, whatever its estimate. */
const BY_CODES = { method: 'scan', depth: 1_000_000 } as const;

export async function knownOf(index: DocumentView): Promise<Known> {
  const documents = new Map();
  for await (const stored of index.documents()) {
    const { id } = stored;
    const score = index.score(QUERY, [id]).scores[0] as number;
    documents.set(id, { stored, vectors: index.vectors(id), score });
  }
  const { hits } = await index.search(QUERY, { topK: documents.size });
  const isCoded = index instanceof Index && index.stats().search !== null;
  return { documents, found: hits, isCoded };
}

/** Holds for the documents of which the id begins with `e`: all have version 1. */
const FILTER = { group: 'e', version: { lte: 1 }, odd: true };

export type Question = {
  question: string;
  ask: (index: DocumentView) => unknown;
  same: (answer: unknown) => boolean;
};

/** Each asks for one thing, so that damage to one document does not hide another. */
export function* questions({ documents, found, isCoded }: Known): Generator<Question> {
  const ids = [...documents.keys()];
  yield {
    question: 'the number of documents',
    ask: (index) => index.documentCount,
    // `new` is what a writer has added meanwhile.
    same: (count) => count === ids.length || count === ids.length + 1,
  };
  for (const [id, { stored, vectors, score }] of documents) {
    yield {
      question: `get ${id}`,
      ask: (index) => index.get(id),
      same: (answer) => JSON.stringify(answer) === JSON.stringify(stored),
    };
    yield {
      question: `vectors of ${id}`,
      ask: (index) => index.vectors(id),
      same: (answer) => sameVectors(answer as Float32Array, vectors),
    };
    yield {
      question: `score of ${id}`,
      ask: (index) => index.score(QUERY, [id]).scores[0],
      same: (answer) => answer === score,
    };
    yield {
      question: `content hash of ${id}`,
      ask: (index) => index.contentHashes([id])[0],
      same: (answer) => answer === stored.contentHash,
    };
  }
  const scores = [...documents.values()].map(({ score }) => score);
  yield {
    question: 'score of all',
    ask: (index) => [...index.score(QUERY, ids).scores],
    same: (answer) => JSON.stringify(answer) === JSON.stringify(scores),
  };
  yield {
    question: 'search',
    ask: async (index) => (await index.search(QUERY, { topK: ids.length + 1 })).hits,
    same: (answer) =>
      JSON.stringify((answer as typeof found).filter(({ id }) => id !== 'new')) ===
      JSON.stringify(found),
  };
  if (isCoded) {
    yield {
      question: 'search by codes',
      ask: async (index) => (await index.search(QUERY, { topK: ids.length + 1, ...BY_CODES })).hits,
      same: (answer) =>
        JSON.stringify((answer as typeof found).filter(({ id }) => id !== 'new')) ===
        JSON.stringify(found),
    };
  }
  yield {
    question: 'documents',
    ask: async (index) => {
      const all: string[] = [];
      for await (const stored of index.documents()) {
        if (stored.id !== 'new') all.push(JSON.stringify(stored));
      }
      return all.sort().join();
    },
    same: (answer) =>
      answer ===
      [...documents.values()]
        .map(({ stored }) => JSON.stringify(stored))
        .sort()
        .join(),
  };
  const inGroup = found.filter(({ id }) => id.startsWith('e'));
  yield {
    question: 'search with a filter',
    ask: async (index) => (await index.search(QUERY, { topK: ids.length, filter: FILTER })).hits,
    same: (answer) => JSON.stringify(answer) === JSON.stringify(inGroup),
  };
  yield {
    question: 'count with a filter',
    ask: async (index) => await index.count(FILTER),
    same: (answer) => answer === inGroup.length,
  };
  yield {
    question: 'an unknown id',
    ask: (index) => index.has('nothing'),
    same: (answer) => answer === false,
  };
}
