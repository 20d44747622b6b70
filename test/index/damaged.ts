/** Indexes to be damaged, and what they answer. */
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CodecName, Index } from '../../dist/maxsim.js';
import { seeded, unitVectors } from './fixtures.js';

export const DIM = 16;
const QUERY = unitVectors(seeded(99), 5, DIM);

export type Answers = {
  documents: { id: string; text: string | null; payload: unknown; contentHash: string | null }[];
  scores: number[];
  vectors: number[][];
};

/** Two segments, some of the first one's documents dead, 120 live documents. */
export async function makeIndex(directory: string, codec: CodecName): Promise<void> {
  const random = seeded(1);
  await using index = await Index.open(directory, { dim: DIM, codec });
  const batch = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      id: `document-${from + i}`,
      // 4,096 tokens or more, for the residual codecs to learn from.
      vectors: unitVectors(random, 45 + ((from + i) % 11), DIM),
      text: `The text of document ${from + i}, which is not the shortest.`,
      payload: { number: from + i, tags: ['a', 'b'] },
      contentHash: `hash ${from + i}`,
    }));
  await index.add(batch(0, 100));
  // Replaces 10 documents and adds 30.
  await index.commit({ add: batch(90, 40), delete: ['document-3', 'document-40', ...SPARED] });
}

const SPARED = Array.from({ length: 8 }, (_, i) => `document-${50 + i}`);

export async function answersOf(directory: string): Promise<Answers> {
  await using index = await Index.open(directory, { mode: 'read', verify: 'at-open' });
  const documents = [];
  for await (const { id, text, payload, contentHash } of index.documents()) {
    documents.push({ id, text, payload, contentHash });
  }
  documents.sort((a, b) => (a.id < b.id ? -1 : 1));
  const ids = documents.map(({ id }) => id);
  return {
    documents,
    scores: [...index.score(QUERY, ids).scores],
    vectors: ids.map((id) => [...index.vectors(id)]),
  };
}

/** What is left of the answers without some documents. */
export function without(answers: Answers, ids: ReadonlySet<string>): Answers {
  const kept = answers.documents.map(({ id }) => !ids.has(id));
  return {
    documents: answers.documents.filter((_, i) => kept[i]),
    scores: answers.scores.filter((_, i) => kept[i]),
    vectors: answers.vectors.filter((_, i) => kept[i]),
  };
}

/** Files that count, but for the lock. */
export function filesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => name !== 'writer.lock');
}

/** Every file but the lock, and its bytes. */
export function contentsOf(directory: string): Map<string, string> {
  return new Map(
    filesIn(directory).map((name) => [
      name,
      readFileSync(join(directory, name)).toString('latin1'),
    ]),
  );
}

export function copyIndex(from: string, to: string): void {
  cpSync(from, to, { recursive: true });
}

export function change(path: string, edit: (bytes: Buffer) => Buffer | undefined): void {
  const bytes = readFileSync(path);
  writeFileSync(path, edit(bytes) ?? bytes);
}

export function flip(path: string, bit: number): void {
  change(path, (bytes) => {
    const at = Math.floor(bit / 8);
    bytes[at] = (bytes[at] as number) ^ (1 << (bit % 8));
    return bytes;
  });
}

/** A bit of any of the files, all equally likely. */
export function anyBit(directory: string, random: () => number): { file: string; bit: number } {
  const files = filesIn(directory);
  const sizes = files.map((file) => statSync(join(directory, file)).size * 8);
  let bit = Math.floor(random() * sizes.reduce((sum, size) => sum + size, 0));
  for (const [i, size] of sizes.entries()) {
    if (bit < size) return { file: files[i] as string, bit };
    bit -= size;
  }
  throw new Error('beyond the last bit');
}
