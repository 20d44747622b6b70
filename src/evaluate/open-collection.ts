/**
 * A test collection in whatever layout it comes: corpus, queries and judgements are looked for each for
 * itself, so that BEIR's, TREC's and MS MARCO's folders, and mixtures of them, are read alike.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { MaxSimError, show } from '../errors.js';
import {
  type Collection,
  type CollectionQuery,
  type CorpusDocument,
  readQueries,
  readWholeCorpus,
} from './collection.js';
import { hasRelevant } from './measures.js';
import { readPairs } from './pair-csv.js';
import { type Judgements, readAnyQrels, readJudgements } from './qrels.js';
import { readTopics } from './topics.js';
import { readIdTriples, readTextTriples, readTsvCorpus } from './triples.js';

export type CollectionOptions = {
  /** Which judgements, where there are several. Default: test, where there is one. */
  split?: string | undefined;
  /** corpus.jsonl or collection.tsv, for data without documents. Default: the one beside the data. */
  corpus?: string | undefined;
  /** Takes the error of a bad line of corpus.jsonl, which is left out. Default: it is thrown. */
  onBadDocument?: ((error: MaxSimError) => void) | undefined;
};

/** Queries with at least one relevant document, and what was noticed about the others. */
export type TestCollection = Collection & {
  /** Of the folder or file. */
  name: string;
  split: string | null;
  /** Judged queries that no document is relevant for: no ranking measure means anything there. */
  withoutRelevant: number;
  /** Judged queries whose text is nowhere. */
  withoutText: number;
  /** Relevant documents that the corpus has not: nothing can find them, and measures count them. */
  missingRelevant: number;
  /** Bad lines of the corpus that were left out. */
  badDocuments: number;
};

/**
 * Reads a folder (corpus.jsonl or collection.tsv; queries.jsonl, topics* or queries*.tsv; qrels/*.tsv,
 * qrels* or *triples*), a .csv of (query, relevant id), or a .tsv of text triples. Throws INVALID_SOURCE
 * that names the bad line, or what is missing.
 */
export async function openCollection(
  path: string,
  options: CollectionOptions = {},
): Promise<TestCollection> {
  const { onBadDocument } = options;
  let badDocuments = 0;
  const collection = await openAny(path, {
    ...options,
    onBadDocument:
      onBadDocument === undefined
        ? undefined
        : (error) => {
            badDocuments += 1;
            onBadDocument(error);
          },
  });
  return { ...collection, badDocuments };
}

type Checked = Omit<TestCollection, 'badDocuments'>;

async function openAny(path: string, options: CollectionOptions): Promise<Checked> {
  const stats = await stat(path).catch((cause: Error) => {
    throw refused(path, `cannot be read: ${cause.message}`);
  });
  const name = basename(resolve(path));
  if (stats.isDirectory()) {
    const { split, ...collection } = await readFolder(path, options);
    return checked(path, name, split, collection);
  }
  if (options.split !== undefined) {
    throw refused(path, `is one file and has no split ${show(options.split)}`);
  }
  if (/\.csv$/i.test(path)) {
    const corpus = await readCorpusFile(
      options.corpus ?? (await corpusIn(dirname(path))),
      options.onBadDocument,
    );
    const pairs = await readPairs(path, new Set(corpus.map(({ id }) => id)));
    return checked(path, name, null, { corpus, ...pairs });
  }
  if (/\.tsv$/i.test(path)) return checked(path, name, null, await readTextTriples(path));
  throw refused(path, 'must be a folder, a .csv of queries and relevant ids, or a .tsv of triples');
}

async function readFolder(
  directory: string,
  { split, corpus, onBadDocument }: CollectionOptions,
): Promise<Collection & { split: string | null }> {
  const names = (await readdir(directory)).sort();
  const judged = await findJudgements(directory, names, split);
  const queryFile = names.includes('queries.jsonl')
    ? 'queries.jsonl'
    : choose(directory, 'queries', names.filter(isQueryFile), judged.split ?? split);
  const queries = join(directory, queryFile);
  return {
    corpus: await readCorpusFile(corpus ?? (await corpusIn(directory)), onBadDocument),
    queries: queryFile === 'queries.jsonl' ? await readQueries(queries) : await readTopics(queries),
    judgements: await judged.read(),
    split: judged.split,
  };
}

function isQueryFile(name: string): boolean {
  return /^topics/i.test(name) || /^queries.*\.(tsv|txt)$/i.test(name);
}

type Judged = { split: string | null; read(): Promise<Judgements> };

async function findJudgements(
  directory: string,
  names: readonly string[],
  split: string | undefined,
): Promise<Judged> {
  const folder = join(directory, 'qrels');
  if (await isFolder(folder)) {
    const splits = (await readdir(folder))
      .filter((name) => name.endsWith('.tsv'))
      .map((name) => name.slice(0, -4))
      .sort();
    const wanted = split ?? 'test';
    if (!splits.includes(wanted)) {
      throw refused(
        folder,
        `has no ${wanted}.tsv; ${splits.length === 0 ? 'it holds no .tsv file at all' : `its splits are ${splits.join(', ')}`}`,
      );
    }
    return { split: wanted, read: () => readJudgements(join(folder, `${wanted}.tsv`)) };
  }
  const qrels = names.filter((name) => /^qrels/i.test(name));
  const found = qrels.length > 0 ? qrels : names.filter((name) => /triples.*\.tsv$/i.test(name));
  const name = choose(
    directory,
    'judgements (qrels/<split>.tsv, qrels* or *triples*.tsv)',
    found,
    split,
  );
  const file = join(directory, name);
  const read = (): Promise<Judgements> =>
    qrels.length > 0 ? readAnyQrels(file) : readIdTriples(file);
  return { split: split ?? null, read };
}

/** The one file, or the one that has the split as a part of its name (`qrels.dev.tsv`). */
function choose(
  directory: string,
  what: string,
  names: readonly string[],
  split: string | undefined,
): string {
  const named = names.filter((name) => split !== undefined && name.split(/[.\-_]/).includes(split));
  const [only, ...others] = named.length > 0 ? named : names;
  if (only === undefined) throw refused(directory, `holds no ${what}`);
  if (others.length > 0) {
    throw refused(
      directory,
      `holds several ${what}: ${[only, ...others].join(', ')}; name the split of one of them`,
    );
  }
  if (split !== undefined && named.length === 0 && /qrels|triples/.test(only)) {
    throw refused(directory, `has no split ${show(split)}: it holds only ${only}`);
  }
  return only;
}

async function corpusIn(directory: string): Promise<string> {
  for (const name of ['corpus.jsonl', 'collection.tsv']) {
    const file = join(directory, name);
    if (
      await stat(file).then(
        (stats) => stats.isFile(),
        () => false,
      )
    )
      return file;
  }
  throw refused(directory, 'holds no documents: neither corpus.jsonl nor collection.tsv');
}

async function readCorpusFile(
  file: string,
  onBad: CollectionOptions['onBadDocument'],
): Promise<CorpusDocument[]> {
  return file.endsWith('.tsv') ? await readTsvCorpus(file) : await readWholeCorpus(file, onBad);
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/** Leaves the queries that can be measured, and counts the others. */
function checked(
  path: string,
  name: string,
  split: string | null,
  { corpus, queries, judgements }: Collection,
): Checked {
  if (corpus.length === 0) throw refused(path, 'holds no documents');
  const texts = new Set(queries.map(({ id }) => id));
  const documents = new Set(corpus.map(({ id }) => id));
  let withoutRelevant = 0;
  let withoutText = 0;
  let missingRelevant = 0;
  const kept: Judgements = new Map();
  for (const [query, grades] of judgements) {
    if (!texts.has(query)) withoutText += 1;
    else if (!hasRelevant(grades)) withoutRelevant += 1;
    else {
      kept.set(query, grades);
      for (const [id, grade] of grades) if (grade > 0 && !documents.has(id)) missingRelevant += 1;
    }
  }
  const measured: CollectionQuery[] = queries.filter(({ id }) => kept.has(id));
  for (const { id, text } of measured) {
    if (text.trim() === '') throw refused(path, `has a query without text: ${show(id)}`);
  }
  if (measured.length === 0) {
    throw refused(
      path,
      `has no query with a text and a relevant document (${judgements.size} are judged, ${withoutText} of them without text)`,
    );
  }
  return {
    name,
    split,
    corpus,
    queries: measured,
    judgements: kept,
    withoutRelevant,
    withoutText,
    missingRelevant,
  };
}

function refused(path: string, problem: string): MaxSimError {
  return new MaxSimError('INVALID_SOURCE', `${path} ${problem}.`, { details: { file: path } });
}
