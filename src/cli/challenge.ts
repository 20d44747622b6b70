/** The challenge set: passages, and questions with the way in which each misleads retrieval. */
import { join } from 'node:path';
import { type CorpusDocument, readQueries, readWholeCorpus } from '../evaluate/collection.js';
import { hasRelevant } from '../evaluate/measures.js';
import { readJudgements } from '../evaluate/qrels.js';

export type Question = {
  id: string;
  text: string;
  /** The failure mode: negation, time, conjunction … */
  mode: string;
  /** Null when nothing in the corpus answers it. */
  answer: string | null;
  /** What leads astray. */
  trap: string | null;
  demo: boolean;
  /** By passage id: 2 answers, 1 helps, 0 is a known near-miss. */
  grades: ReadonlyMap<string, number>;
};

export type Challenge = { corpus: CorpusDocument[]; questions: Question[] };

/** Throws INVALID_SOURCE. */
export async function readChallenge(directory: string): Promise<Challenge> {
  const corpus = await readWholeCorpus(join(directory, 'corpus.jsonl'));
  const judgements = await readJudgements(join(directory, 'qrels', 'test.tsv'));
  const queries = await readQueries(join(directory, 'queries.jsonl'));
  const questions = queries.map(({ id, text, metadata }) => {
    const fields = (metadata ?? {}) as Record<string, unknown>;
    const { mode, answer, trap, demo } = fields;
    return {
      id,
      text,
      mode: typeof mode === 'string' ? mode : 'other',
      answer: typeof answer === 'string' ? answer : null,
      trap: typeof trap === 'string' ? trap : null,
      demo: demo === true,
      grades: judgements.get(id) ?? new Map<string, number>(),
    };
  });
  return { corpus, questions };
}

/** Whether any passage is judged relevant; without one, no ranking measure means anything. */
export function isAnswerable(question: Question): boolean {
  return hasRelevant(question.grades);
}
