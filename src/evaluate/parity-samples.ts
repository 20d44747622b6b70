/** Texts to compare forms of a model by, where no other implementation left any: those of the challenge set. */
import { fileURLToPath } from 'node:url';
import { passageText, readCollection } from './collection.js';

const CHALLENGE = fileURLToPath(new URL('../../challenge/', import.meta.url));

export type ParitySamples = { queries: string[]; documents: string[] };

/** Spread over the set, so that every kind of question and passage is among them. */
export async function paritySamples(
  queryCount: number,
  documentCount: number,
): Promise<ParitySamples> {
  const { queries, corpus } = await readCollection(CHALLENGE);
  return {
    queries: spread(queries, queryCount).map(({ text }) => text),
    documents: spread(corpus, documentCount).map(passageText),
  };
}

function spread<T>(items: readonly T[], count: number): T[] {
  const step = Math.max(1, items.length / count);
  return Array.from(
    { length: Math.min(count, items.length) },
    (_, i) => items[Math.floor(i * step)] as T,
  );
}
