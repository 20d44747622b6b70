/**
 * Test collections in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv. Every line is
 * checked; a bad one is named by file and line, and the caller decides whether the good ones go on.
 */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkId } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import type { Payload } from '../types.js';

export type CorpusDocument = { id: string; title: string; text: string; metadata: Payload };
export type CollectionQuery = { id: string; text: string; metadata: Payload };

/** Judgements: query id -> document id -> grade (1 or more is relevant). */
export type Judgements = Map<string, Map<string, number>>;

/** A line of a jsonl file: what it holds, or what is wrong with it. */
export type Line<T> =
  | { ok: true; line: number; value: T }
  | { ok: false; line: number; error: MaxSimError };

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
  for await (const line of lines) {
    if (!line.ok) throw line.error;
    queries.push(line.value);
  }
  return queries;
}

/** Judgements of a BEIR tsv: a header line, then query id, document id, grade. */
export async function readJudgements(file: string): Promise<Judgements> {
  const judgements: Judgements = new Map();
  const lines = (await readText(file)).split('\n');
  lines.forEach((line, i) => {
    if (i === 0 || line.trim() === '') return;
    const [query, document, grade] = line.trimEnd().split('\t');
    const value = Number(grade);
    if (!query || !document || grade === undefined || !Number.isInteger(value)) {
      throw badLine(
        file,
        i + 1,
        `must be query id, document id and a whole-number grade, tab-separated, but is ${show(line)}`,
      );
    }
    let graded = judgements.get(query);
    if (graded === undefined) {
      graded = new Map();
      judgements.set(query, graded);
    }
    graded.set(document, value);
  });
  return judgements;
}

export type Collection = {
  corpus: CorpusDocument[];
  /** The queries that the split judges, in file order. */
  queries: CollectionQuery[];
  judgements: Judgements;
};

/** A whole collection in memory. Throws INVALID_SOURCE at the first bad line. */
export async function readCollection(directory: string, split = 'test'): Promise<Collection> {
  const corpus: CorpusDocument[] = [];
  for await (const line of readCorpus(join(directory, 'corpus.jsonl'))) {
    if (!line.ok) throw line.error;
    corpus.push(line.value);
  }
  const judgements = await readJudgements(join(directory, 'qrels', `${split}.tsv`));
  const queries = await readQueries(join(directory, 'queries.jsonl'));
  return { corpus, queries: queries.filter((query) => judgements.has(query.id)), judgements };
}

/** Lines of a jsonl file that hold something, one by one; `parse` throws for a record it cannot use. */
export async function* readJsonLines<T>(
  file: string,
  parse: (record: Record<string, unknown>) => T,
): AsyncGenerator<Line<T>> {
  let number = 0;
  try {
    for await (const line of readLines(file)) {
      number += 1;
      const text = number === 1 ? line.replace(/^\uFEFF/, '') : line;
      if (text.trim() !== '') yield parseLine(file, number, text, parse);
    }
  } catch (cause) {
    throw cause instanceof MaxSimError ? cause : unreadable(file, cause);
  }
}

/** Splits at line feeds only: readline also breaks at U+2028 (Node 24), which JSON strings may hold. */
async function* readLines(file: string): AsyncGenerator<string> {
  let pending: string[] = [];
  for await (const piece of createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 18 })) {
    const [end = '', ...rest] = (piece as string).split('\n');
    pending.push(end);
    for (const start of rest) {
      yield pending.join('');
      pending = [start];
    }
  }
  yield pending.join('');
}

function parseLine<T>(
  file: string,
  line: number,
  text: string,
  parse: (record: Record<string, unknown>) => T,
): Line<T> {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return { ok: false, line, error: badLine(file, line, `is not valid JSON (${reason})`) };
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    return {
      ok: false,
      line,
      error: badLine(file, line, `must hold a JSON object, but holds ${show(record)}`),
    };
  }
  try {
    return { ok: true, line, value: parse(record as Record<string, unknown>) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return { ok: false, line, error: badLine(file, line, `is not usable: ${reason}`) };
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

function badLine(file: string, line: number, problem: string): MaxSimError {
  return new MaxSimError('INVALID_SOURCE', `Line ${line} of ${file} ${problem}.`, {
    details: { file, line },
  });
}

function unreadable(file: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('INVALID_SOURCE', `${file} cannot be read: ${reason}`, {
    cause,
    details: { file },
  });
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
}
