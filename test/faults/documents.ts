/**
 * Documents that follow from their id and version alone, the states that an index of them may be in,
 * and the check that an index is in one of those.
 */
import type { Index, IndexDocument } from '../../dist/index/store.js';
import type { CodecName } from '../../dist/types.js';

export const DIM = 16;

/** A 32-bit generator; the same numbers in every run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export function unitVectors(random: () => number, tokens: number): Float32Array {
  const vectors = new Float32Array(tokens * DIM);
  for (let at = 0; at < vectors.length; at += DIM) {
    const row = vectors.subarray(at, at + DIM);
    for (let d = 0; d < DIM; d++) row[d] = random() * 2 - 1;
    const length = Math.hypot(...row);
    for (let d = 0; d < DIM; d++) row[d] = row[d] / length;
  }
  return vectors;
}

export const QUERY = unitVectors(seeded(1), 3);

/** Ids that begin with `long` have 700 tokens, so that few of them are enough to train a codebook. */
export function documentOf(id: string, version: number): IndexDocument & { vectors: Float32Array } {
  const random = seeded(hash(`${id}@${version}`));
  const tokens = id.startsWith('long') ? 700 : 1 + Math.floor(random() * 4);
  return {
    id,
    vectors: unitVectors(random, tokens),
    text: `${id} in version ${version}`,
    payload: { version, group: id.slice(0, 1), odd: version % 2 === 1 },
  };
}

/** Of the payload, for indexes that are to have a column of every type. */
export const FIELDS = { version: 'number', group: 'keyword', odd: 'boolean' } as const;

/** Id to version. */
export type Documents = ReadonlyMap<string, number>;
export type State = { codec: CodecName; documents: Documents };

/** What an index answers for one document; null vectors are not compared. */
export type Answer = { score: number; vectors: Float32Array | null };
export type Answers = (codec: CodecName, id: string, version: number) => Answer;

export async function answersOf(
  index: Index,
): Promise<Map<string, Answer & { vectors: Float32Array }>> {
  const answers = new Map<string, Answer & { vectors: Float32Array }>();
  for (const [id, version] of await versionsOf(index)) {
    const score = index.score(QUERY, [id]).scores[0] as number;
    answers.set(keyOf(index.codec.name, id, version), { score, vectors: index.vectors(id) });
  }
  return answers;
}

export function keyOf(codec: CodecName, id: string, version: number): string {
  return `${codec}/${id}@${version}`;
}

/** Every document of an index; throws when one is not of `documentOf`. */
export async function versionsOf(index: Index): Promise<Map<string, number>> {
  const versions = new Map<string, number>();
  for await (const { id, text, payload, tokenCount } of index.documents()) {
    const version = (payload as { version?: number } | null)?.version ?? -1;
    const expected = documentOf(id, version);
    if (text !== expected.text || tokenCount * DIM !== expected.vectors.length) {
      throw new Error(`${id} has the text ${JSON.stringify(text)} and ${tokenCount} tokens`);
    }
    if (versions.has(id)) throw new Error(`${id} is there twice`);
    versions.set(id, version);
  }
  return versions;
}

export function sameDocuments(a: Documents, b: Documents): boolean {
  return a.size === b.size && [...a].every(([id, version]) => b.get(id) === version);
}

/**
 * The right answers where what is stored was made from the vectors of `documentOf` in the codec that the
 * index has now: those that it gives for the same vectors unstored.
 */
export async function unstoredAnswers(index: Index, documents: Documents): Promise<Answers> {
  const entries = [...documents];
  const scores = await index.scoreVectors(
    QUERY,
    entries.map(([id, version]) => documentOf(id, version).vectors),
  );
  const answers = new Map(entries.map(([id], i) => [id, scores[i] as number]));
  return (_, id) => ({ score: answers.get(id) as number, vectors: null });
}

/** Where the answers of an index differ from the right ones; null when nowhere. */
export async function wrongAnswer(
  index: Index,
  documents: Documents,
  answers: Answers,
): Promise<string | null> {
  const ids = [...documents.keys()];
  const codec = index.codec.name;
  const { scores } = index.score(QUERY, ids);
  const { hits: found } = await index.search(QUERY, { topK: ids.length + 1 });
  const searched = new Map(found.map(({ id, score }) => [id, score]));
  if (index.fields['version'] !== undefined) {
    for (const version of new Set(documents.values())) {
      const right = [...documents.values()].filter((v) => v === version).length;
      const counted = await index.count({ version });
      if (counted !== right) return `${counted} documents in version ${version}, not ${right}`;
    }
  }
  if (found.length !== ids.length) return `search finds ${found.length} of ${ids.length} documents`;
  for (const [i, id] of ids.entries()) {
    const expected = answers(codec, id, documents.get(id) as number);
    if (scores[i] !== expected.score) {
      return `${id} scores ${scores[i]}, not ${expected.score}`;
    }
    if (searched.get(id) !== expected.score) {
      return `search gives ${id} ${searched.get(id)}, not ${expected.score}`;
    }
    if (expected.vectors && !sameVectors(index.vectors(id), expected.vectors))
      return `${id} has other vectors`;
  }
  return null;
}

export function sameVectors(a: Float32Array, b: Float32Array): boolean {
  return bytesOf(a).equals(bytesOf(b));
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
