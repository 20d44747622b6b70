/**
 * MS MARCO's training triples as a test collection: a query, a passage that answers it and one that does
 * not. Of ids (`query<tab>positive<tab>negative`, texts in other files) or of texts.
 */
import { show } from '../errors.js';
import { type Collection, type CorpusDocument, Distinct } from './collection.js';
import { badLine, readLines } from './lines.js';
import { JudgementList, type Judgements } from './qrels.js';

/** `id<tab>text` a line, as in collection.tsv. */
export async function readTsvCorpus(file: string): Promise<CorpusDocument[]> {
  const ids = new Distinct(file, 'document');
  const corpus: CorpusDocument[] = [];
  for await (const { line, text } of readLines(file)) {
    const tab = text.indexOf('\t');
    const id = text.slice(0, Math.max(0, tab)).trim();
    if (tab < 0 || id === '') {
      throw badLine(file, line, `must be a document id, a tab and a text, but is ${show(text)}`);
    }
    ids.take(id, line);
    corpus.push({ id, title: '', text: text.slice(tab + 1), metadata: null });
  }
  return corpus;
}

/** Judgements of a file of id triples. */
export async function readIdTriples(file: string): Promise<Judgements> {
  const triples = new TripleList(file);
  for await (const { line, text } of readLines(file)) {
    const [query, positive, negative] = fields(file, line, text);
    triples.add(query, positive, negative, line);
  }
  return triples.judgements();
}

/**
 * A file of text triples. Ids are q1, q2 … and p1, p2 …, by where a text comes first; the same text is
 * the same query or passage.
 */
export async function readTextTriples(file: string): Promise<Collection> {
  const queries = new Map<string, string>();
  const passages = new Map<string, string>();
  const idIn = (known: Map<string, string>, letter: string, text: string): string => {
    let id = known.get(text);
    if (id === undefined) {
      id = `${letter}${known.size + 1}`;
      known.set(text, id);
    }
    return id;
  };
  const triples = new TripleList(file);
  for await (const { line, text } of readLines(file)) {
    const [query, positive, negative] = fields(file, line, text);
    triples.add(
      idIn(queries, 'q', query),
      idIn(passages, 'p', positive),
      idIn(passages, 'p', negative),
      line,
    );
  }
  return {
    corpus: [...passages].map(([text, id]) => ({ id, title: '', text, metadata: null })),
    queries: [...queries].map(([text, id]) => ({ id, text, metadata: null })),
    judgements: triples.judgements(),
  };
}

function fields(file: string, line: number, text: string): [string, string, string] {
  const [query = '', positive = '', negative = '', ...rest] = text
    .split('\t')
    .map((field) => field.trim());
  if (query === '' || positive === '' || negative === '' || rest.length > 0) {
    throw badLine(
      file,
      line,
      `must be a query, a passage that answers it and one that does not, tab-separated, but is ${show(text)}`,
    );
  }
  if (positive === negative) {
    throw badLine(file, line, `has the same passage as answer and as none: ${show(positive)}`);
  }
  return [query, positive, negative];
}

/** Passages drawn as negatives may be positives of the same query elsewhere; a positive stays one. */
class TripleList {
  private readonly positives: JudgementList;
  private readonly negatives = new Map<string, Set<string>>();

  constructor(file: string) {
    this.positives = new JudgementList(file);
  }

  add(query: string, positive: string, negative: string, line: number): void {
    this.positives.add(query, positive, 1, line);
    const negatives = this.negatives.get(query);
    if (negatives === undefined) this.negatives.set(query, new Set([negative]));
    else negatives.add(negative);
  }

  judgements(): Judgements {
    for (const [query, grades] of this.positives.byQuery) {
      for (const id of this.negatives.get(query) ?? []) if (!grades.has(id)) grades.set(id, 0);
    }
    return this.positives.byQuery;
  }
}
