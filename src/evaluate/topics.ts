/**
 * Queries in TREC's and MS MARCO's files: topics (`<top> <num> … <title> … </top>`) and `id<tab>text`
 * lines.
 */
import { checkId } from '../check.js';
import { MaxSimError, show } from '../errors.js';
import { type CollectionQuery, Distinct } from './collection.js';
import { badLine, readLines } from './lines.js';

/** `id<tab>text` a line. */
export async function readTsvQueries(file: string): Promise<CollectionQuery[]> {
  const ids = new Distinct(file, 'query');
  const queries: CollectionQuery[] = [];
  for await (const { line, text } of readLines(file)) {
    const tab = text.indexOf('\t');
    const id = text.slice(0, Math.max(0, tab)).trim();
    const query = text.slice(tab + 1).trim();
    if (tab < 0 || id === '' || query === '') {
      throw badLine(file, line, `must be a query id, a tab and a text, but is ${show(text)}`);
    }
    ids.take(checkId('the query id', id), line);
    queries.push({ id, text: query, metadata: null });
  }
  return queries;
}

type Topic = { line: number; id: string | null; title: string[]; inTitle: boolean };

/**
 * TREC topics; the title is the query, as in TREC's title-only runs. A field ends where the next tag
 * begins, since topics do not close their fields. "Number:" and "Topic:" are labels, not text.
 */
export async function readTrecTopics(file: string): Promise<CollectionQuery[]> {
  const ids = new Distinct(file, 'query');
  const queries: CollectionQuery[] = [];
  let topic: Topic | null = null;
  for await (const { line, text } of readLines(file)) {
    if (/<top>/i.test(text)) {
      if (topic !== null)
        throw badLine(file, line, `begins a topic within the one of line ${topic.line}`);
      topic = { line, id: null, title: [], inTitle: false };
    }
    if (topic === null) continue;
    const number = /<num>\s*(?:Number:)?\s*([^\s<]+)/i.exec(text);
    if (number?.[1] !== undefined) topic.id = number[1];
    const title = /<title>\s*(?:Topic:)?([^<]*)/i.exec(text);
    if (title !== null) {
      topic.inTitle = true;
      topic.title.push(title[1] ?? '');
    } else if (topic.inTitle) {
      const tag = text.indexOf('<');
      topic.title.push(tag < 0 ? text : text.slice(0, tag));
      if (tag >= 0) topic.inTitle = false;
    }
    if (/<\/top>/i.test(text)) {
      const query = topic.title.join(' ').replace(/\s+/g, ' ').trim();
      if (topic.id === null || query === '') {
        const missing = topic.id === null ? '<num>' : '<title>';
        throw badLine(file, topic.line, `begins a topic without a ${missing}`);
      }
      ids.take(topic.id, topic.line);
      queries.push({ id: topic.id, text: query, metadata: null });
      topic = null;
    }
  }
  if (topic !== null) throw badLine(file, topic.line, 'begins a topic that has no </top>');
  if (queries.length === 0) {
    throw new MaxSimError('INVALID_SOURCE', `${file} holds no topics.`, { details: { file } });
  }
  return queries;
}

/** Topics or lines, told apart by how the file begins. */
export async function readTopics(file: string): Promise<CollectionQuery[]> {
  for await (const { text } of readLines(file)) {
    return text.trimStart().startsWith('<')
      ? await readTrecTopics(file)
      : await readTsvQueries(file);
  }
  throw new MaxSimError('INVALID_SOURCE', `${file} holds no queries.`, { details: { file } });
}
