/** A comparison on a terminal: the table, the tests, the slices, and what they say. */
import type { ComparisonReport, SystemReport } from '../evaluate/comparison/report.js';
import { interval, percent, pText, signed } from '../evaluate/comparison/verdict.js';
import {
  formatCount,
  formatMs,
  paint,
  printLine,
  renderFacts,
  renderTable,
  wrap,
} from './output.js';

type Column = { title: string; align?: 'right' };

const right = (title: string): Column => ({ title, align: 'right' });

export function printComparison(report: ComparisonReport, out: string): void {
  const { data, models, environment, settings } = report;
  printLine(
    renderFacts([
      [
        'data',
        `${data.name}${data.split === null ? '' : ` (${data.split})`}: ${formatCount(data.queries)} queries, ${formatCount(data.documents)} documents`,
      ],
      ...models.map(
        ({ role, name, license, codec }) =>
          [
            role,
            `${name}${codec === null ? '' : `, ${codec}`}, ${license ?? 'licence unknown'}`,
          ] as const,
      ),
      [
        'machine',
        `${environment['cpu']}, ${environment['cores']} cores, Node ${environment['node']}`,
      ],
    ]),
  );
  printLine();
  printSystems(report);
  printLine();
  printDifferences(report);
  if (settings.slice !== null) printSlices(report, settings.slice);
  printAgreement(report);
  printLine();
  const width = Math.max(40, process.stdout.columns ?? 100);
  for (const sentence of report.verdict) {
    const [first = '', ...others] = wrap(sentence, width - 2);
    printLine([`- ${first}`, ...others.map((line) => `  ${line}`)].join('\n'));
  }
  for (const note of report.notes) printLine(`${paint.dim('note')} ${note}`);
  printLine();
  printLine(paint.dim(`report.html, report.json and runs in ${out}`));
}

function printSystems({ systems }: ComparisonReport): void {
  const best = Math.max(...systems.map(({ interval: { mean } }) => mean));
  const row = (system: SystemReport): string[] => {
    const { name, measures, headroom, effect, ms } = system;
    const mean = interval(system.interval);
    const value = (measure: string): string => (measures[measure] ?? 0).toFixed(3);
    return [
      name,
      system.interval.mean === best ? paint.bold(mean) : mean,
      value('RR@10'),
      value('P@5'),
      value('R@100'),
      headroom === null ? '' : headroom.oracle.toFixed(3),
      effect === null ? '' : percent(effect.better / effect.queries),
      effect === null ? '' : percent(effect.harmRate),
      value('Judged@10'),
      ms === null ? '' : formatMs(ms.p50),
      ms === null ? '' : formatMs(ms.p99),
    ];
  };
  printLine(
    renderTable(
      [
        { title: 'system' },
        right('nDCG@10'),
        ...['RR@10', 'P@5', 'R@100', 'oracle', 'better', 'worse', 'judged', 'p50', 'p99'].map(
          right,
        ),
      ],
      systems.map(row),
    ),
  );
}

function printDifferences({ comparisons, settings }: ComparisonReport): void {
  if (comparisons.length === 0) return;
  printLine(
    renderTable(
      [
        { title: 'nDCG@10 of' },
        { title: 'minus that of' },
        right('difference'),
        right('p'),
        right('p (Holm)'),
        right('detectable'),
        { title: `margin ${settings.margin}` },
      ],
      comparisons.map(({ system, against, difference, p, pHolm, minimumDetectable, outcome }) => [
        system,
        against,
        `${signed(difference.mean)} [${signed(difference.low)} to ${signed(difference.high)}]`,
        pText(p).replace('= ', ''),
        pText(pHolm).replace('= ', ''),
        minimumDetectable?.toFixed(3) ?? '',
        outcome,
      ]),
    ),
  );
}

/** Systems at their deepest, by slice. */
function printSlices({ systems }: ComparisonReport, field: string): void {
  const shown = deepest(systems);
  const slices = shown[0]?.slices ?? [];
  if (slices.length === 0) return;
  printLine();
  printLine(
    renderTable(
      [{ title: `nDCG@10 by ${field}` }, right('queries'), ...shown.map(({ name }) => right(name))],
      slices.map(({ name, queries }, i) => [
        name,
        String(queries),
        ...shown.map((system) => (system.slices[i]?.value ?? 0).toFixed(3)),
      ]),
    ),
  );
}

function printAgreement({ agreement }: ComparisonReport): void {
  if (agreement.length === 0) return;
  printLine();
  printLine(
    renderTable(
      [
        { title: 'agreement of' },
        { title: 'and' },
        right('tau'),
        right('RBO'),
        right('top 5 shared'),
      ],
      agreement.map(({ systems: [a, b], tau, rbo, top5 }) => [
        a,
        b,
        tau === null ? '' : tau.mean.toFixed(3),
        rbo.mean.toFixed(3),
        percent(top5.mean),
      ]),
    ),
  );
}

function deepest(systems: readonly SystemReport[]): SystemReport[] {
  return [...new Map(systems.map((system) => [system.system, system])).values()];
}
