/**
 * One comparison from data to files: stages, report, `report.json`, `report.html` and a TREC run per row.
 * Everything appears under its name when it is complete.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MaxSimError } from '../../errors.js';
import { catalogEntry } from '../../runtime/catalog.js';
import type { TestCollection } from '../open-collection.js';
import { trecRunLines } from '../trec-run.js';
import { environment } from './environment.js';
import { renderPage } from './page.js';
import { buildReport, type ComparisonReport } from './report.js';
import type { Row } from './rows.js';
import { runStages, type Staged, type StageOptions } from './stages.js';

export type CompareOptions = StageOptions & {
  /** Folder for the report and the runs. */
  out: string;
  margin: number;
  seed: number;
  /** Field of the queries' metadata by which they are sliced, or null. */
  slice: string | null;
  /** Takes the error of report.html where what draws its charts is not installed. */
  onNoPage(error: MaxSimError): void;
};

const ROUNDS = 100_000;
const RESAMPLES = 2_000;
const CONFIDENCE = 0.95;
const TAG = 'maxsim';

/** Throws INVALID_SOURCE, IO_ERROR, ABORTED and what engines throw. */
export async function compareSystems(
  collection: TestCollection,
  options: CompareOptions,
): Promise<ComparisonReport> {
  await mkdir(join(options.out, 'runs'), { recursive: true }).catch((cause: unknown) => {
    throw unwritable(options.out, cause);
  });
  const staged = await runStages(collection, options);
  const runs = runsCanBeWritten(collection);
  const report = buildReport(collection, staged.rows, {
    environment: environment(),
    models: staged.models.map((model) => ({
      ...model,
      license: catalogEntry(model.name)?.license ?? null,
    })),
    settings: {
      depths: [...options.depths],
      keep: options.keep,
      margin: options.margin,
      confidence: CONFIDENCE,
      resamples: RESAMPLES,
      rounds: ROUNDS,
      seed: options.seed,
      slice: options.slice,
    },
    indexing: staged.indexed === null ? null : sizes(staged.indexed),
    notes: notesOn(collection, staged, runs),
  });
  if (runs) for (const row of staged.rows) await writeRun(options.out, collection, row);
  await write(join(options.out, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writePage(report, options);
  return report;
}

async function writePage(
  report: ComparisonReport,
  { out, onNoPage }: CompareOptions,
): Promise<void> {
  try {
    await write(join(out, 'report.html'), await renderPage(report));
  } catch (error) {
    if (!(error instanceof MaxSimError) || error.code !== 'MISSING_DEPENDENCY') throw error;
    onNoPage(error);
  }
}

function sizes({ documents, tokens, sizeBytes }: NonNullable<Staged['indexed']>) {
  return { documents, tokens, sizeBytes };
}

/** The name of a row's run file: colons cannot be in names on Windows. */
export function runFile(row: string): string {
  return `${row.replaceAll(':', '.')}.trec`;
}

async function writeRun(out: string, collection: TestCollection, row: Row): Promise<void> {
  const lines = collection.queries.map(({ id }, query) =>
    trecRunLines(id, row.ranking(query), TAG),
  );
  await write(join(out, 'runs', runFile(row.name)), lines.join(''));
}

/** A run has white space between its fields, and none within. */
function runsCanBeWritten({ corpus, queries }: TestCollection): boolean {
  return [...corpus, ...queries].every(({ id }) => !/\s/.test(id));
}

function notesOn(collection: TestCollection, staged: Staged, runs: boolean): string[] {
  const { withoutRelevant, withoutText, missingRelevant, badDocuments } = collection;
  const notes: string[] = [];
  if (badDocuments > 0) notes.push(`${badDocuments} bad lines of the corpus are left out.`);
  if (withoutRelevant > 0) {
    notes.push(`${withoutRelevant} judged queries have no relevant document and are left out.`);
  }
  if (withoutText > 0) notes.push(`${withoutText} judged queries have no text and are left out.`);
  if (missingRelevant > 0) {
    notes.push(
      `${missingRelevant} relevant documents are not in the corpus; measures count them as not found.`,
    );
  }
  for (const [run, missing] of Object.entries(staged.missingQueries)) {
    notes.push(`The run ${run} has no ranking for ${missing} queries; they count with 0.`);
  }
  if (staged.unknownCandidates > 0) {
    notes.push(
      `${staged.unknownCandidates} documents of imported runs are not in the corpus, or have no text; they are ranked last.`,
    );
  }
  if (!runs) notes.push('No TREC runs are written: ids hold white space, which runs cannot.');
  return notes;
}

async function write(file: string, text: string): Promise<void> {
  const aside = `${file}.tmp-${process.pid}`;
  try {
    await writeFile(aside, text);
    await rename(aside, file);
  } catch (cause) {
    throw unwritable(file, cause);
  }
}

function unwritable(file: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('IO_ERROR', `${file} cannot be written: ${reason}`, { cause });
}
