/**
 * Documents to index, one after the other, from a BEIR folder, a jsonl file, or a folder of .txt and
 * .md files. Nothing but one document is held; what cannot be used is named by file and line.
 */
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { checkId } from '../check.js';
import { MaxSimError } from '../errors.js';
import { type CorpusDocument, passageText, readCorpus } from '../evaluate/collection.js';
import type { Payload } from '../types.js';

export type SourceDocument = { id: string; text: string; payload?: Payload };

/** A document and where it stands, or why there is none. `line` is null where a file is a document. */
export type SourceItem =
  | { kind: 'document'; file: string; line: number | null; document: SourceDocument }
  | { kind: 'bad'; file: string; line: number | null; reason: string }
  | { kind: 'empty'; file: string };

export interface Source {
  read(): AsyncGenerator<SourceItem>;
  /** How many items `read` will give. */
  count(): Promise<number>;
}

/** Looks at what a path is. Throws INVALID_SOURCE where it is nothing that can be indexed. */
export async function openSource(path: string): Promise<Source> {
  const stats = await stat(path).catch((cause: Error) => {
    throw new MaxSimError('INVALID_SOURCE', `${path} cannot be read: ${cause.message}`, {
      cause,
      details: { file: path },
    });
  });
  if (stats.isFile()) {
    if (/\.(jsonl|ndjson)$/i.test(path)) return jsonLines(path);
    if (isTextFile(path)) {
      return { read: () => textFile(path, basename(path)), count: async () => 1 };
    }
    throw notASource(path, 'is neither a .jsonl, a .txt nor a .md file');
  }
  const corpus = join(path, 'corpus.jsonl');
  if (await isFile(corpus)) return jsonLines(corpus);
  for await (const _ of walk(path)) return textFolder(path);
  throw notASource(path, 'holds neither corpus.jsonl nor any .txt or .md file');
}

function notASource(path: string, problem: string): MaxSimError {
  return new MaxSimError('INVALID_SOURCE', `${path} ${problem}.`, { details: { file: path } });
}

function jsonLines(file: string): Source {
  return {
    async *read() {
      for await (const line of readCorpus(file)) {
        if (!line.ok) {
          yield { kind: 'bad', file, line: line.line, reason: reasonOf(line.error, file) };
        } else if (passageText(line.value).trim() === '') {
          yield { kind: 'bad', file, line: line.line, reason: 'has no text' };
        } else {
          yield { kind: 'document', file, line: line.line, document: toDocument(line.value) };
        }
      }
    },
    count: () => countLines(file),
  };
}

/** What a line's error says beyond its place, which is printed in front of it. */
function reasonOf(error: MaxSimError, file: string): string {
  return error.message.replace(/^Line \d+ of /, '').replace(`${file} `, '');
}

function toDocument({ id, title, text, metadata }: CorpusDocument): SourceDocument {
  const passage = passageText({ title, text });
  const isObject = typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata);
  let payload = metadata;
  if (isObject) payload = { ...(title === '' ? {} : { title }), ...metadata };
  else if (title !== '') payload = metadata === null ? { title } : { title, metadata };
  const empty = payload === null || (isObject && Object.keys(payload as object).length === 0);
  return empty ? { id, text: passage } : { id, text: passage, payload };
}

function textFolder(root: string): Source {
  return {
    async *read() {
      for await (const id of walk(root)) yield* textFile(join(root, id), id);
    },
    async count() {
      let count = 0;
      for await (const _ of walk(root)) count += 1;
      return count;
    },
  };
}

async function* textFile(file: string, id: string): AsyncGenerator<SourceItem> {
  const bad = (reason: string): SourceItem => ({ kind: 'bad', file, line: null, reason });
  let text: string;
  try {
    checkId('its path as an id', id);
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (cause) {
    const { message, code } = cause as NodeJS.ErrnoException;
    yield bad(code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8 text.' : message);
    return;
  }
  if (text.trim() === '') yield { kind: 'empty', file };
  else yield { kind: 'document', file, line: null, document: { id, text } };
}

/**
 * Paths of text files below a folder, with forward slashes, in the order of their names. Entries that
 * begin with a dot are left out, and links to folders are not followed, as they may lead in circles.
 */
async function* walk(root: string, below = ''): AsyncGenerator<string> {
  const entries = await readdir(join(root, below), { withFileTypes: true }).catch((cause) => {
    throw notASource(join(root, below), `cannot be listed: ${(cause as Error).message}`);
  });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(root, path);
    else if (isTextFile(path) && (entry.isFile() || (await isFile(join(root, path))))) yield path;
  }
}

function isTextFile(path: string): boolean {
  return ['.txt', '.md'].includes(extname(path).toLowerCase());
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}

/** Lines with more than white space in them. */
async function countLines(file: string): Promise<number> {
  let count = 0;
  let blank = true;
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 20 })) {
    for (const byte of piece as Buffer) {
      if (byte === 0x0a) {
        if (!blank) count += 1;
        blank = true;
      } else if (byte > 0x20) blank = false;
    }
  }
  return count + (blank ? 0 : 1);
}
