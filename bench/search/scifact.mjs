// SciFact as token states (states.mjs): documents, the queries of its test split, and queries of its
// train split to measure depths with.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { passageText, readCollection } from '../../dist/evaluate/collection.js';
import { DIM, tokenStates } from './states.mjs';

const TRAIN = 128;
export const MODEL = 'all-MiniLM-L6-v2';

/**
 * @param {{ data: string, models: string, say: (text: string) => void }} options
 * @returns {Promise<{ documents: Float32Array[], queries: Float32Array[], train: Float32Array[], tokens: number, file: string }>}
 */
export async function scifact({ data, models, say }) {
  const [collection, model] = [join(data, 'scifact'), join(models, MODEL)];
  for (const [folder, option] of [
    [collection, '--data'],
    [model, '--models'],
  ]) {
    if (folder !== undefined && !existsSync(folder)) {
      throw new Error(`There is no folder ${folder}; say where its parent is with ${option}.`);
    }
  }
  const { corpus, queries } = await readCollection(collection);
  const train = (await readCollection(collection, 'train')).queries.slice(0, TRAIN);
  const states = await tokenStates({
    model,
    name: 'scifact',
    documents: corpus.map(passageText),
    queries: [...queries, ...train].map((query) => query.text),
    say,
  });
  const documents = split(states.documents);
  const asked = split(states.queries);
  return {
    documents,
    queries: asked.slice(0, queries.length),
    train: asked.slice(queries.length),
    tokens: states.documents.vectors.length / DIM,
    file: states.directory,
  };
}

/** @param {{ counts: Uint32Array, vectors: Float32Array }} states */
function split({ counts, vectors }) {
  let at = 0;
  return Array.from(counts, (count) => {
    const own = vectors.subarray(at * DIM, (at + count) * DIM);
    at += count;
    return own;
  });
}
