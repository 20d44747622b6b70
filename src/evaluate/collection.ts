/**
 * Test collections in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv. Every line is
 * checked; a bad one is named by file and line, and the caller decides whether the good ones go on.
 */
import { join } from 'node:path';
import { checkId } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import type { Payload } from '../types.js';
import { badLine, type Line, readJsonLines } from './lines.js';
import { type Judgements, readJudgements } from './qrels.js';

export type CorpusDocument = { id: string; title: string; text: string; metadata: Payload };
export type CollectionQuery = { id: string; text: string; metadata: Payload };

/** What an encoder reads of a document, as BEIR's models do: title and text with a space between. */
export function passageText(document: { title: string; text: string }): string {
  return document.title === '' ? document.text : `${document.title} ${document.text}`;
}

/** Documents of a jsonl file, `{_id | id, text, title?, metadata?}` a line. */
export function readCorpus(file: string): AsyncGenerator<Line<CorpusDocument>> {
  return readJsonLines(file, (record) => ({
    id: idOf(record),
    title: optionalString(record, 'title'),
    text: requiredString(record, 'text'),
    metadata: (record['metadata'] ?? null) as Payload,
  }));
}

/** Queries of a jsonl file, `{_id | id, text, metadata?}` a line; a bad line is an error. */
export async function readQueries(file: string): Promise<CollectionQuery[]> {
  const queries: CollectionQuery[] = [];
  const lines = readJsonLines(file, (record) => ({
    id: idOf(record),
    text: requiredString(record, 'text'),
    metadata: (record['metadata'] ?? null) as Payload,
  }));
  const ids = new Distinct(file, 'query');
  for await (const line of lines) {
    if (!line.ok) throw line.error;
    ids.take(line.value.id, line.line);
    queries.push(line.value);
  }
  return queries;
}

export type Collection = {
  corpus: CorpusDocument[];
  /** The queries that the split judges, in file order. */
  queries: CollectionQuery[];
  judgements: Judgements;
};

/** A whole collection in memory. Throws INVALID_SOURCE at the first bad line. */
export async function readCollection(directory: string, split = 'test'): Promise<Collection> {
  const corpus = await readWholeCorpus(join(directory, 'corpus.jsonl'));
  const judgements = await readJudgements(join(directory, 'qrels', `${split}.tsv`));
  const queries = await readQueries(join(directory, 'queries.jsonl'));
  return { corpus, queries: queries.filter((query) => judgements.has(query.id)), judgements };
}

/**
 * All documents of a jsonl file. An id that comes twice is an error, and so is a bad line, unless somebody
 * takes it.
 */
export async function readWholeCorpus(
  file: string,
  onBad?: (error: MaxSimError) => void,
): Promise<CorpusDocument[]> {
  const corpus: CorpusDocument[] = [];
  const ids = new Distinct(file, 'document');
  for await (const line of readCorpus(file)) {
    if (!line.ok) {
      if (onBad === undefined) throw line.error;
      onBad(line.error);
      continue;
    }
    ids.take(line.value.id, line.line);
    corpus.push(line.value);
  }
  return corpus;
}

/** Ids that must not come twice in a file. */
export class Distinct {
  private readonly lines = new Map<string, number>();

  constructor(
    private readonly file: string,
    private readonly what: string,
  ) {}

  take(id: string, line: number): void {
    const before = this.lines.get(id);
    if (before !== undefined) {
      throw badLine(
        this.file,
        line,
        `has the ${this.what} id ${show(id)}, which line ${before} has already`,
      );
    }
    this.lines.set(id, line);
  }
}

function idOf(record: Record<string, unknown>): string {
  return checkId('_id', record['_id'] ?? record['id']);
}

function requiredString(record: Record<string, unknown>, key: string): string {
  const value = record[key];
  if (typeof value !== 'string') {
    throw new MaxSimError('INVALID_SOURCE', `${key} must be a string, but is ${show(value)}`);
  }
  return value;
}

function optionalString(record: Record<string, unknown>, key: string): string {
  return record[key] === undefined || record[key] === null ? '' : requiredString(record, key);
}
