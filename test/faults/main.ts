/**
 * Faults as tests: npm run test:faults. Crashes, kills, failing disks and damaged files against a real
 * index, each part in a process of its own. Exits with 1 when anything was lost, wrong or crashed, or
 * when less was tried than asked for.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { shimmed } from './control.js';
import { SAMPLE_CODECS } from './sample.js';
import { scratch } from './scratch.js';
import { type Counts, type Report, Tally } from './tally.js';

const PART = fileURLToPath(new URL('part.js', import.meta.url));

const DEFAULTS = { crashes: 2000, kills: 200, flips: 12_000, truncations: 1000, ioErrors: 500 };

type Sizes = typeof DEFAULTS;

/** `resume`: it takes the trial to go on with as its last argument. `shim`: it runs under shim.c. */
type Part = { args: string[]; resume?: boolean; shim?: boolean };

const USAGE = `usage: npm run test:faults -- [--json] [--only PART] ${Object.entries(DEFAULTS)
  .map(([name, size]) => `[--${name} ${size}]`)
  .join(' ')}`;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    only: { type: 'string' },
    crashes: { type: 'string' },
    kills: { type: 'string' },
    flips: { type: 'string' },
    truncations: { type: 'string' },
    ioErrors: { type: 'string' },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
if (process.platform !== 'linux') {
  console.error('The faults need Linux: LD_PRELOAD, /proc and signals as it has them.');
  process.exit(1);
}

const sizes = { ...DEFAULTS };
for (const name of Object.keys(DEFAULTS) as (keyof Sizes)[]) {
  const given = values[name];
  if (given === undefined) continue;
  if (!/^\d+$/.test(given)) {
    console.error(`--${name} takes a number, not ${JSON.stringify(given)}.\n${USAGE}`);
    process.exit(1);
  }
  sizes[name] = Number(given);
}

const parts = partsOf(sizes).filter(
  ({ args }) => values.only === undefined || args[0] === values.only,
);
const total = new Tally();
const started = Date.now();
// Two at a time: half of the work is waiting for processes and disks.
const lanes = Math.max(2, Math.floor(availableParallelism() / 2));
await Promise.all(
  Array.from({ length: lanes }, async () => {
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) await runPart(part);
  }),
);

const harmless = Object.values(total.harms).every((n) => n === 0);
const missing =
  values.only === undefined
    ? (Object.keys(DEFAULTS) as (keyof Sizes)[]).filter((name) => total.counts[name] < sizes[name])
    : [];
for (const example of total.examples) console.error(example);
for (const name of missing) {
  console.error(`${total.counts[name]} ${name} of ${sizes[name]} were tried.`);
}
if (values.json) {
  const { crashes, kills, flips, truncations, ioErrors } = total.counts;
  console.log(JSON.stringify({ crashes, kills, flips, truncations, ioErrors, ...total.harms }));
} else {
  printTable(total);
}
process.exitCode = harmless && missing.length === 0 ? 0 : 1;

function partsOf(size: Sizes): Part[] {
  const lives = Math.min(4, Math.ceil(size.kills / 50));
  return [
    { args: ['crashes', String(size.crashes), '30'] },
    ...Array.from({ length: lives }, (_, i) => ({
      args: ['kills', String(Math.ceil(size.kills / lives)), String(i)],
    })),
    { args: ['ioErrors'], resume: true, shim: true },
    { args: ['readOnly'] },
    { args: ['fullDisk'] },
    { args: ['races', '100'] },
    { args: ['survivors'] },
    ...SAMPLE_CODECS.flatMap((codec) => [
      {
        args: ['flips', codec, String(Math.ceil(size.flips / SAMPLE_CODECS.length))],
        resume: true,
      },
      { args: ['truncations', codec], resume: true },
    ]),
  ];
}

/** Runs a part to its end, in a new process after each that dies. */
async function runPart({ args, resume = false, shim = false }: Part): Promise<void> {
  const env = shim ? shimmed(join(scratch('memory'), 'root')) : process.env;
  for (let from = 0; ; ) {
    const all = resume ? [...args, String(from)] : args;
    const { report, status, signal } = await runProcess(all, env);
    if (report !== null) total.take(report);
    if (status === 0) return;
    total.harm('processCrashes', `${args.join(' ')} ended with ${signal ?? status}`);
    if (!resume || report === null) return;
    from = report.next;
  }
}

async function runProcess(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ report: Report | null; status: number | null; signal: string | null }> {
  const stdio = ['ignore', 'pipe', 'inherit'] as const;
  const child = spawn(process.execPath, [PART, ...args], { stdio: [...stdio], env });
  let last = '';
  let rest = '';
  child.stdout.on('data', (data) => {
    const lines = (rest + String(data)).split('\n');
    rest = lines.pop() as string;
    last = lines.at(-1) ?? last;
  });
  return await new Promise((resolve) => {
    child.on('close', (status, signal) => {
      resolve({ report: last === '' ? null : (JSON.parse(last) as Report), status, signal });
    });
  });
}

function printTable({ counts, harms }: Tally): void {
  const names: Record<keyof Counts, string> = {
    crashes: 'crashes: states of the disk after a kill or a power loss',
    kills: 'kills: writers ended by SIGKILL',
    flips: 'flips: single bits changed',
    truncations: 'truncations: files cut short',
    named: 'flips and truncations named by an error; the others did no harm',
    ioErrors: 'errors of the disk',
    races: 'races of two writers for the lock',
    readers: 'readers that outlived their files or their writer',
  };
  const table = new Table({
    head: ['tried', ''],
    colAligns: ['right', 'left'],
    style: { head: [], border: [] },
  });
  for (const [kind, name] of Object.entries(names)) {
    table.push([counts[kind as keyof Counts].toLocaleString('en'), name]);
  }
  console.log(table.toString());
  const { lostWrites, wrongScores, processCrashes } = harms;
  console.log(
    `${lostWrites} lost writes, ${wrongScores} wrong scores, ${processCrashes} crashed processes (${Math.round((Date.now() - started) / 1000)} s).`,
  );
}
