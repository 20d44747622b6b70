/** Ids of documents whose vectors come without: from a file beside them, or 0 to n - 1. */
import { checkId } from '../check.js';
import { show } from '../errors.js';
import type { IndexDocument } from '../index/store.js';
import type { Payload } from '../types.js';
import { readLines } from './lines.js';
import { isObject, readJson, refused } from './source-file.js';

export type IdRecord = Omit<IndexDocument, 'vectors'>;

/**
 * Ids in the order of the documents: an array, or a file: `.json` an array of strings or whole numbers,
 * `.jsonl` a string or {id | _id, text?, payload?} a line, anything else an id a line.
 */
export async function* readIds(ids: string | readonly string[]): AsyncGenerator<IdRecord> {
  if (typeof ids !== 'string') {
    for (const [i, id] of ids.entries()) yield { id: checkId(`ids[${i}]`, id) };
  } else if (/\.json$/i.test(ids)) {
    const list = await readJson(ids);
    if (!Array.isArray(list))
      throw refused(ids, `must hold an array of ids, but holds ${show(list)}`);
    for (const [i, id] of list.entries()) yield { id: toId(id, `Id ${i} of ${ids}`) };
  } else if (/\.(jsonl|ndjson)$/i.test(ids)) {
    for await (const { number, text } of readLines(ids))
      yield toRecord(text, `Line ${number} of ${ids}`);
  } else {
    for await (const { number, text } of readLines(ids)) {
      yield { id: toId(text.trim(), `Line ${number} of ${ids}`) };
    }
  }
}

export function toId(value: unknown, place: string): string {
  const id = Number.isSafeInteger(value) ? String(value) : value;
  try {
    return checkId('id', id);
  } catch (cause) {
    throw refused(place, `holds no id: ${(cause as Error).message.replace(/\.$/, '')}`);
  }
}

/** A line of jsonl about a document, without its vectors. */
export function toRecord(line: string, place: string): IdRecord {
  return pickRecord(parseLine(line, place), place);
}

export function parseLine(line: string, place: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw refused(place, `is not valid JSON (${(cause as Error).message})`);
  }
  if (typeof value === 'string' || typeof value === 'number') return { id: value };
  if (!isObject(value)) throw refused(place, `must hold a JSON object, but holds ${show(value)}`);
  return value;
}

export function pickRecord(value: Record<string, unknown>, place: string): IdRecord {
  const { text, contentHash } = value;
  const payload = value['payload'] ?? value['metadata'];
  if (text !== undefined && text !== null && typeof text !== 'string') {
    throw refused(place, `has a text that is no string but ${show(text)}`);
  }
  if (contentHash !== undefined && contentHash !== null && typeof contentHash !== 'string') {
    throw refused(place, `has a contentHash that is no string but ${show(contentHash)}`);
  }
  return {
    id: toId(value['id'] ?? value['_id'], place),
    ...(typeof text === 'string' ? { text } : {}),
    ...(payload === undefined || payload === null ? {} : { payload: payload as Payload }),
    ...(typeof contentHash === 'string' ? { contentHash } : {}),
  };
}

/** Hands out one id per document, and notices when there are more or fewer of them. */
export class Ids {
  private readonly records: AsyncGenerator<IdRecord> | null;
  private count = 0;

  constructor(private readonly ids: string | readonly string[] | null) {
    this.records = ids === null ? null : readIds(ids);
  }

  async next(): Promise<IdRecord> {
    if (this.records === null) return { id: String(this.count++) };
    const { value, done } = await this.records.next();
    if (done)
      throw refused(this.name, `ends after ${this.count} ids, but there are more documents`);
    this.count += 1;
    return value;
  }

  /** After the last document. */
  async end(): Promise<void> {
    if (this.records === null) return;
    const { done } = await this.records.next();
    if (!done)
      throw refused(this.name, `holds more ids than the ${this.count} documents there are`);
  }

  private get name(): string {
    return typeof this.ids === 'string' ? this.ids : 'The list of ids';
  }
}
