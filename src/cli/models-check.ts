/** `maxsim models check`: is the model right, and what of it is fastest on this machine? */
import type { Command } from 'commander';
import type { GraphSpeed } from '../evaluate/graph-speed.js';
import { checkModel, type ModelCheck } from '../evaluate/model-check.js';
import { figure, LONG_TOKENS, SHORT_TOKENS } from '../evaluate/model-trial.js';
import { choiceFile } from '../runtime/choice.js';
import { positiveNumber, zeroOrMore } from './arguments.js';
import { Interrupt } from './interrupt.js';
import {
  formatBytes,
  formatMs,
  paint,
  printJson,
  printLine,
  renderFacts,
  renderTable,
} from './output.js';

type CheckOptions = {
  parity?: string;
  tolerance?: number;
  seconds: number;
  record: boolean;
  allowNonCommercial: boolean;
  json: boolean;
};

/** `models` is the command of `maxsim models`. */
export function addModelsCheckCommand(models: Command): void {
  models
    .command('check')
    .description('compare a model with another implementation, and find its fastest form here')
    .argument('<name>', 'catalog name, hub id or folder')
    .option(
      '--parity <file>',
      "what another implementation gave (default: the model's parity.json)",
    )
    .option(
      '--tolerance <x>',
      'largest difference of smaller forms: of a score per query vector (default: 0.01), of a logit on average (default: 0.1)',
      positiveNumber,
    )
    .option('--seconds <n>', 'for measuring speed, about; 0: parity only', zeroOrMore, 20)
    .option('--no-record', 'do not keep the choice for later')
    .option('--allow-non-commercial', 'take weights whose licence forbids commercial use', false)
    .option('--json', 'print JSON', false)
    .action(async (name: string, { json, ...options }: CheckOptions) => {
      const interrupt = new Interrupt();
      try {
        const check = await checkModel(name, { ...options, signal: interrupt.signal });
        if (json) printJson({ ...check, verdict: verdictOf(check) });
        else print(check);
        if (!check.ok) process.exitCode = 1;
      } finally {
        interrupt.release();
        if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
      }
    });
}

function print(check: ModelCheck): void {
  const { name, kind, directory, fixture } = check;
  printLine(
    renderFacts([
      ['model', `${paint.bold(name)} (${kind}) in ${directory}`],
      [
        'parity',
        fixture === null
          ? `no fixture: nothing tells whether it is right; forms are compared with ${check.against}`
          : `with ${fixture.peer}, from ${fixture.file}`,
      ],
    ]),
  );
  if (check.tokens.length > 0) {
    printLine();
    printLine(tokenTable(check));
  }
  printLine();
  printLine(formTable(check));
  // Those of the first are failures of the model, and come last.
  for (const { file, failures } of check.forms.slice(1)) {
    for (const failure of failures) printLine(`${paint.dim('note')} ${file}: ${failure}`);
  }
  if (check.optimisations.length > 0) {
    printLine();
    printLine(speedTable(check));
  }
  printLine();
  for (const failure of check.failures) printLine(`${paint.red('✗')} ${failure}`);
  printLine(`${check.ok ? paint.green('✔') : paint.red('✗')} ${verdictOf(check)}`);
}

function tokenTable({ tokens }: ModelCheck): string {
  return renderTable(
    [
      { title: 'tokens of' },
      { title: 'texts', align: 'right' },
      { title: 'ids equal', align: 'right' },
      { title: 'kept equal', align: 'right' },
    ],
    tokens.map(({ kind, config, texts, equalIds, equalKept }) => [
      kind === 'pair' ? 'pairs' : `${kind === 'query' ? 'queries' : 'documents'} ${config}`,
      String(texts),
      String(equalIds),
      String(equalKept),
    ]),
  );
}

function formTable({ forms }: ModelCheck): string {
  const rows: string[][] = [];
  for (const form of forms) {
    const kind = form.runtime === 'native' ? `${form.kind}, native` : form.kind;
    const about = [form.file, kind, formatBytes(form.sizeBytes)];
    const verdict = form.keepsParity ? paint.green('yes') : paint.red('no');
    if (form.comparisons === null || form.comparisons.length === 0) {
      const nothing =
        form.comparisons === null ? 'cannot be used' : 'the others are compared with it';
      rows.push([...about, nothing, '', '', '', '', verdict]);
    }
    for (const [i, { config, scores, cosines, tolerance }] of (form.comparisons ?? []).entries()) {
      const { maxPerQueryVector, maxDifference, meanDifference, sameBest, queries } = scores;
      rows.push([
        ...(i === 0 ? about : ['', '', '']),
        config,
        maxPerQueryVector === null
          ? figure(maxDifference)
          : `${figure(maxDifference)} (${figure(maxPerQueryVector)})`,
        figure(meanDifference),
        figure(tolerance),
        [
          sameBest === null ? [] : `${sameBest} of ${queries}`,
          cosines === null
            ? []
            : `cosine ${cosines.mean.toFixed(4)}, least ${cosines.min.toFixed(4)}`,
        ]
          .flat()
          .join('; '),
        i === 0 ? verdict : '',
      ]);
    }
  }
  return renderTable(
    [
      { title: 'form' },
      { title: 'kind' },
      { title: 'size', align: 'right' },
      { title: 'compared' },
      { title: 'largest (per vector)', align: 'right' },
      { title: 'mean', align: 'right' },
      { title: 'allowed', align: 'right' },
      { title: 'same best' },
      { title: 'parity' },
    ],
    rows,
  );
}

function speedTable({ forms, optimisations, threads, chosen }: ModelCheck): string {
  const rows: string[][] = [];
  const add = (what: string, speed: GraphSpeed | null, isChosen: boolean): void => {
    if (speed === null) return;
    rows.push([
      isChosen ? paint.bold(what) : what,
      formatMs(speed.shortMedianMs),
      formatMs(speed.shortP99Ms),
      speed.longPerSecond.toFixed(1),
      String(speed.runs),
    ]);
  };
  // A form alone is the one whose optimisations come next.
  if (forms.length > 1) {
    for (const { file, speed } of forms) add(file, speed, file === chosen?.file);
  }
  const native = forms.find(({ file }) => file === chosen?.file)?.runtime === 'native';
  for (const { optimisation, speed } of optimisations) {
    const what = native ? 'native encoder' : `optimisation ${optimisation}`;
    add(what, speed, optimisation === chosen?.optimisation);
  }
  for (const { workers, intraThreads, speed } of threads) {
    add(threadText(workers, intraThreads), speed, intraThreads === chosen?.intraThreads);
  }
  return renderTable(
    [
      { title: 'speed' },
      { title: `${SHORT_TOKENS} tokens, median`, align: 'right' },
      { title: 'p99', align: 'right' },
      { title: `${LONG_TOKENS} tokens, per second`, align: 'right' },
      { title: 'runs', align: 'right' },
    ],
    rows,
  );
}

function threadText(workers: number, intraThreads: number): string {
  const plural = (count: number, what: string): string =>
    `${count} ${what}${count === 1 ? '' : 's'}`;
  return `${plural(workers, 'model thread')} of ${plural(intraThreads, 'core')}${workers > 1 ? ' each' : ''}`;
}

export function verdictOf(check: ModelCheck): string {
  const { name, fixture, chosen, threads, recorded, failures } = check;
  if (!check.ok) {
    return `${name} does not give what ${check.against} gives: ${failures.length} ${failures.length === 1 ? 'difference' : 'differences'}, and nothing was chosen.`;
  }
  const parity =
    fixture === null
      ? `${name} was compared with nothing but itself`
      : `${name} agrees with ${fixture.peer}`;
  if (chosen === null) return `${parity}; its speed was not measured.`;
  const { file, optimisation, workers, intraThreads } = chosen;
  const speed = threads.find((row) => row.intraThreads === intraThreads)?.speed;
  const kept = recorded ? `recorded in ${choiceFile()}` : 'not recorded';
  const how =
    check.forms.find((form) => form.file === file)?.runtime === 'native'
      ? 'in the native encoder'
      : `with optimisation ${optimisation}`;
  return `${parity}; ${file} ${how} on ${threadText(workers, intraThreads)} is the fastest that keeps parity (${SHORT_TOKENS} tokens in ${formatMs(speed?.shortMedianMs ?? Number.NaN)}, ${speed?.longPerSecond.toFixed(1)} texts of ${LONG_TOKENS} tokens a second), ${kept}.`;
}
