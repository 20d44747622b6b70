/**
 * What a writer that is killed again and again does: step k adds two documents, replaces `hot` and
 * deletes what step k - 3 added. So the version of `hot` says what must be there.
 */
import type { Index } from '../../dist/index/store.js';
import {
  type Answer,
  type Documents,
  documentOf,
  keyOf,
  unstoredAnswers,
  versionsOf,
  wrongAnswer,
} from './documents.js';

const KEPT_STEPS = 3;

/** `base`: documents that no step touches. */
export function documentsAfter(step: number, base: Documents): Documents {
  const documents = new Map(base);
  if (step > 0) documents.set('hot', step);
  for (let k = Math.max(1, step - KEPT_STEPS + 1); k <= step; k++) {
    for (const id of idsOf(k)) documents.set(id, 1);
  }
  return documents;
}

export async function live(index: Index, step: number): Promise<void> {
  await index.commit({
    add: [documentOf('hot', step), ...idsOf(step).map((id) => documentOf(id, 1))],
    delete: idsOf(step - KEPT_STEPS),
  });
}

function idsOf(step: number): string[] {
  return [`${step}-a`, `${step}-b`];
}

export function isBase(id: string): boolean {
  return id.startsWith('long');
}

/**
 * The step that an index is at, and where it differs from it. `known` holds the answers of documents
 * that were not stored from the vectors of `documentOf`; the others must score like those.
 */
export async function inspect(
  index: Index,
  known: ReadonlyMap<string, Answer>,
): Promise<{ step: number; lost: string | null; wrong: string | null }> {
  const documents = await versionsOf(index);
  const step = documents.get('hot') ?? 0;
  const base = new Map([...documents].filter(([id]) => isBase(id)));
  const expected = documentsAfter(step, base);
  const difference = [...expected, ...documents].find(
    ([id]) => expected.get(id) !== documents.get(id),
  );
  if (difference !== undefined) {
    const [id] = difference;
    const [is, was] = [documents.get(id), expected.get(id)];
    return { step, lost: `after step ${step} ${id} is in version ${is}, not ${was}`, wrong: null };
  }
  const unstored = await unstoredAnswers(index, documents);
  const wrong = await wrongAnswer(
    index,
    documents,
    (codec, id, version) => known.get(keyOf(codec, id, version)) ?? unstored(codec, id, version),
  );
  return { step, lost: null, wrong };
}
