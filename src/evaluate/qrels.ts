/**
 * Judgements: which document answers which query, and how well. BEIR's tsv (`query-id corpus-id score`,
 * with a header line) and TREC's qrels (`query 0 document grade`, white space between).
 */
import { MaxSimError, show } from '../errors.js';
import { badLine, readLines } from './lines.js';

/** Query id -> document id -> grade (1 or more is relevant). */
export type Judgements = Map<string, Map<string, number>>;

/** Judgements of a BEIR tsv: a header line, then query id, document id, grade. */
export async function readJudgements(file: string): Promise<Judgements> {
  const judgements = new JudgementList(file);
  for await (const { line, text } of readLines(file)) {
    if (line === 1) {
      // A file without a header would lose its first judgement and nobody would know.
      if (Number.isInteger(Number(text.trimEnd().split('\t')[2] ?? Number.NaN))) {
        throw badLine(
          file,
          1,
          `must be a header such as "query-id<tab>corpus-id<tab>score", but is the judgement ${show(text)}`,
        );
      }
      continue;
    }
    const [query, document, grade, ...rest] = text.trimEnd().split('\t');
    if (!query || !document || rest.length > 0 || !isGrade(grade)) {
      throw badLine(
        file,
        line,
        `must be query id, document id and a whole-number grade, tab-separated, but is ${show(text)}`,
      );
    }
    judgements.add(query, document, Number(grade), line);
  }
  return judgements.byQuery;
}

/** TREC's qrels: four fields a line, of which the second means nothing. */
export async function readTrecQrels(file: string): Promise<Judgements> {
  const judgements = new JudgementList(file);
  for await (const { line, text } of readLines(file)) {
    const [query, , document, grade, ...rest] = text.trim().split(/\s+/);
    if (!query || !document || rest.length > 0 || !isGrade(grade)) {
      throw badLine(file, line, `must be "query 0 document grade", but is ${show(text)}`);
    }
    judgements.add(query, document, Number(grade), line);
  }
  return judgements.byQuery;
}

/** Either of the two, told apart by the fields of the first line. */
export async function readAnyQrels(file: string): Promise<Judgements> {
  for await (const { text } of readLines(file)) {
    const trec = text.trim().split(/\s+/).length === 4;
    return trec ? await readTrecQrels(file) : await readJudgements(file);
  }
  throw new MaxSimError('INVALID_SOURCE', `${file} holds no judgements.`, { details: { file } });
}

/** Judgements of one file as they are read; two grades for one pair are an error. */
export class JudgementList {
  readonly byQuery: Judgements = new Map();

  constructor(private readonly file: string) {}

  add(query: string, document: string, grade: number, line: number): void {
    let graded = this.byQuery.get(query);
    if (graded === undefined) {
      graded = new Map();
      this.byQuery.set(query, graded);
    }
    const before = graded.get(document);
    if (before !== undefined && before !== grade) {
      throw badLine(
        this.file,
        line,
        `grades document ${show(document)} for query ${show(query)} with ${grade}, which an earlier line grades with ${before}`,
      );
    }
    graded.set(document, grade);
  }
}

function isGrade(text: string | undefined): boolean {
  return text !== undefined && text.trim() !== '' && Number.isInteger(Number(text));
}
