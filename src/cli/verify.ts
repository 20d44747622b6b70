/** `maxsim verify`: is every byte of an index what was written? */
import type { Command } from 'commander';
import { MaxSimError, type Problem, type VerifyReport, verifyIndex } from '../maxsim.js';
import { Interrupt } from './interrupt.js';
import {
  formatBytes,
  formatCount,
  printable,
  printJson,
  printLine,
  renderFacts,
  renderTable,
} from './output.js';
import { Progress } from './progress.js';

export function addVerifyCommand(program: Command): void {
  program
    .command('verify')
    .description('compare every byte of an index with its checksum')
    .argument('<dir>', 'directory of the index')
    .option('--json', 'print the report as JSON', false)
    .action(async (directory: string, { json }: { json: boolean }) => {
      const report = await examine(json, (options) => verifyIndex(directory, options));
      if (json) printJson(report);
      else printReport(report);
      const [first] = report.problems;
      if (first === undefined) return;
      const others = report.problems.length - 1;
      throw new MaxSimError(
        'CORRUPT_INDEX',
        `${first.file}: corrupt ${first.section} at byte ${first.offset}: ${first.message}${
          others === 0 ? '' : `; and ${formatCount(others)} more`
        }. \`maxsim repair --dry-run\` says what can be kept.`,
        { details: { file: first.file, problems: report.problems.length } },
      );
    });
}

type Examining = {
  signal: AbortSignal;
  onProgress: (progress: { done: number; total: number }) => void;
};

/** Runs what reads a whole index, with a bar, and until ^C. */
export async function examine<T>(
  json: boolean,
  run: (options: Examining) => Promise<T>,
): Promise<T> {
  const interrupt = new Interrupt();
  const bar = new Progress({ unit: 'MiB', json });
  try {
    return await run({
      signal: interrupt.signal,
      onProgress: ({ done, total }) => {
        bar.setTotal(Math.ceil(total / 2 ** 20));
        bar.update(Math.floor(done / 2 ** 20));
      },
    });
  } finally {
    bar.end();
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

function printReport(report: VerifyReport): void {
  const { generation, documents, deadDocuments, files, problems, unlisted } = report;
  const sum = (list: readonly { sizeBytes: number }[]): string =>
    `${formatCount(list.length)}, ${formatBytes(list.reduce((all, { sizeBytes }) => all + sizeBytes, 0))}`;
  printLine(
    renderFacts([
      ['generation', generation === null ? '(unknown)' : formatCount(generation)],
      ['documents', `${formatCount(documents)} (${formatCount(deadDocuments)} dead)`],
      ['files', `${sum(files)}, ${formatCount(files.filter(({ whole }) => whole).length)} whole`],
      ...(unlisted.length === 0 ? [] : [['unlisted', sum(unlisted)] as const]),
      ['problems', problems.length === 0 ? 'none' : formatCount(problems.length)],
    ]),
  );
  if (problems.length > 0) printProblems(problems);
}

const REMEDIES: Readonly<Record<Problem['remedy'], string>> = {
  'flipped-bit': 'corrected',
  rewritten: 'made anew',
  'left-out': 'left out',
  none: 'lost',
};
const SHOWN = 40;

export function printProblems(problems: readonly Problem[]): void {
  printLine();
  printLine(
    renderTable(
      [
        { title: 'file' },
        { title: 'section' },
        { title: 'byte', align: 'right' },
        { title: 'bytes', align: 'right' },
        { title: 'documents', align: 'right' },
        { title: 'in repair' },
        { title: 'what is wrong', wrap: true },
      ],
      problems
        .slice(0, SHOWN)
        .map(({ file, section, offset, size, documents, ids, remedy, message }) => [
          file,
          section,
          String(offset),
          String(size),
          documents === 0 ? '' : formatCount(documents),
          REMEDIES[remedy],
          printable(`${message}${ids.length === 0 ? '' : ` (${shortList(ids, documents)})`}`),
        ]),
    ),
  );
  if (problems.length > SHOWN) {
    printLine(`… and ${formatCount(problems.length - SHOWN)} more, which --json lists`);
  }
}

/** The first few of some ids. */
export function shortList(ids: readonly string[], count: number = ids.length): string {
  const shown = ids.slice(0, 3);
  return `${shown.join(', ')}${count > shown.length ? ', …' : ''}`;
}
