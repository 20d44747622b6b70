/** `maxsim repair`: keeps what is whole of a damaged index. */
import type { Command } from 'commander';
import { type RepairReport, repairIndex } from '../maxsim.js';
import { formatCount, printable, printJson, printLine, renderFacts, warn } from './output.js';
import { examine, printProblems, shortList } from './verify.js';

export function addRepairCommand(program: Command): void {
  program
    .command('repair')
    .description('put a damaged index right, and say what is lost')
    .argument('<dir>', 'directory of the index')
    .option('--dry-run', 'say what would be done, and do nothing', false)
    .option('--json', 'print the report as JSON', false)
    .action(async (directory: string, { dryRun, json }: { dryRun: boolean; json: boolean }) => {
      const report = await examine(json, (options) =>
        repairIndex(directory, { ...options, dryRun }),
      );
      if (json) printJson(report);
      else printReport(report);
    });
}

function printReport(report: RepairReport): void {
  const { outcome, generation, documents, problems, lost, lostUnknown, undeleted } = report;
  const unknown = lostUnknown.reduce((sum, entry) => sum + entry.documents, 0);
  const bits = problems.filter(({ remedy }) => remedy === 'flipped-bit').length;
  printLine(
    renderFacts([
      ['outcome', OUTCOMES[outcome]],
      ['generation', formatCount(generation)],
      ...(outcome === 'whole' ? [] : [['bits', `${formatCount(bits)} corrected`] as const]),
      ['documents', `${formatCount(documents)} kept`],
      ['lost', `${formatCount(lost.length + unknown)}, ${formatCount(unknown)} of unknown id`],
      ...report.setAside.map((name) => ['set aside', name] as const),
    ]),
  );
  if (problems.length > 0) printProblems(problems);
  if (lost.length + unknown > 0) printLine();
  for (const { file, id } of lost) printLine(`lost  ${file}  ${printable(id)}`);
  for (const entry of lostUnknown) {
    printLine(`lost  ${entry.file}  ${formatCount(entry.documents)} documents of unknown id`);
  }
  for (const { file, dead, known, ids } of undeleted) {
    const back = dead - known;
    if (back === 0) continue;
    warn(
      `${file}: its tombstones are lost: ${formatCount(back)} deleted documents may be back among ${formatCount(ids.length)} (${printable(shortList(ids))}), which --json lists`,
    );
  }
}

const OUTCOMES: Readonly<Record<RepairReport['outcome'], string>> = {
  whole: 'nothing is wrong, nothing was done',
  planned: 'a dry run: nothing was done',
  repaired: 'repaired',
};
