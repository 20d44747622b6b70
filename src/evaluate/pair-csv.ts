/**
 * CSV of (query, relevant id), the smallest set of judgements there is: what people have in a
 * spreadsheet. RFC 4180: quotes around fields with commas, quotes doubled within, records over several
 * lines. The header names the columns.
 */
import { readFile } from 'node:fs/promises';
import { MaxSimError, show } from '../errors.js';
import type { CollectionQuery } from './collection.js';
import { badLine, unreadable } from './lines.js';
import { JudgementList, type Judgements } from './qrels.js';

const QUERY = ['query', 'question', 'text'];
const DOCUMENT = ['relevant_id', 'id', 'document_id', 'doc_id', 'document', 'corpus-id'];
const GRADE = ['grade', 'relevance', 'score'];

/**
 * Queries get the ids q1, q2 … by where their text comes first. `documents`: the ids there are; another
 * one is a bad line, since a typing error would count as an answer that nothing finds.
 */
export async function readPairs(
  file: string,
  documents: ReadonlySet<string>,
): Promise<{ queries: CollectionQuery[]; judgements: Judgements }> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  const [header, ...records] = parseCsv(file, text.replace(/^\uFEFF/, ''));
  const names = header?.fields.map((name) => name.trim().toLowerCase()) ?? [];
  const column = (known: readonly string[]): number =>
    names.findIndex((name) => known.includes(name));
  const [queryAt, documentAt, gradeAt] = [column(QUERY), column(DOCUMENT), column(GRADE)];
  if (queryAt < 0 || documentAt < 0) {
    throw badLine(
      file,
      1,
      `must be a header with the columns "query" and "relevant_id", and "grade" if there are grades, but is ${show(names.join(','))}`,
    );
  }
  const ids = new Map<string, string>();
  const judgements = new JudgementList(file);
  for (const { line, fields } of records) {
    if (fields.length !== names.length) {
      throw badLine(file, line, `has ${fields.length} fields, but the header has ${names.length}`);
    }
    const query = (fields[queryAt] ?? '').trim();
    const document = (fields[documentAt] ?? '').trim();
    const grade = gradeAt < 0 ? '1' : (fields[gradeAt] ?? '').trim();
    if (query === '') throw badLine(file, line, 'has no query');
    if (!documents.has(document)) {
      throw badLine(file, line, `names the document ${show(document)}, which the corpus has not`);
    }
    if (grade === '' || !Number.isInteger(Number(grade))) {
      throw badLine(file, line, `must have a whole-number grade, but has ${show(grade)}`);
    }
    let id = ids.get(query);
    if (id === undefined) {
      id = `q${ids.size + 1}`;
      ids.set(query, id);
    }
    judgements.add(id, document, Number(grade), line);
  }
  if (ids.size === 0) {
    throw new MaxSimError('INVALID_SOURCE', `${file} holds no queries.`, { details: { file } });
  }
  return {
    queries: [...ids].map(([query, id]) => ({ id, text: query, metadata: null })),
    judgements: judgements.byQuery,
  };
}

type CsvRecord = { line: number; fields: string[] };

/** Records with the line that each begins on; empty lines are none. */
function parseCsv(file: string, text: string): CsvRecord[] {
  const records: CsvRecord[] = [];
  // A field: quoted, or free of quotes, commas and line ends; then what ends it.
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  let line = 1;
  let current: CsvRecord = { line, fields: [] };
  while (field.lastIndex < text.length || current.fields.length > 0) {
    const match = field.exec(text);
    if (match === null) throw badLine(file, line, 'has a quote where none can be');
    const [whole, quoted, plain = '', end = ''] = match;
    current.fields.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    line += whole.split('\n').length - 1;
    if (end === ',') continue;
    const empty = current.fields.length === 1 && current.fields[0]?.trim() === '';
    if (!empty) records.push(current);
    current = { line, fields: [] };
    if (end === '') break;
  }
  return records;
}
