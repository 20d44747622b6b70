/** `maxsim doctor`: what this machine gives maxsim to work with, and how to mend what is missing. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { arch, availableParallelism, cpus, freemem, platform, tmpdir, totalmem } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { Engine, MaxSimError, type PoolStats } from '../maxsim.js';
import { loadAddon } from '../runtime/addon.js';
import {
  type CatalogEntry,
  catalogEntries,
  type LocatedModel,
  locateModel,
  modelsHere,
  sha256,
} from '../runtime/catalog.js';
import { formatBytes, formatMs, paint, printJson, printLine, renderFacts } from './output.js';

/** Something that does not work, and what to do about it. */
type Problem = { what: string; fix: string };

type Kernels = {
  chosen: string;
  candidates: { name: string; supported: boolean; verdict: string }[];
};

type ModelReport = {
  name: string;
  kind: string;
  license: string;
  /** Null when it was found nowhere. */
  directory: string | null;
  sizeBytes: number;
  verified: boolean;
};

type SelfTest = {
  /** Loading the model and storing two passages. */
  indexMs: number;
  queryMs: number;
  /** Loading the cross-encoder and reading two pairs. */
  crossEncoderMs: number;
  /** What ran the models. */
  models: PoolStats['models'];
};

type Report = {
  ok: boolean;
  node: { version: string; abi: string; napi: string; platform: string };
  cpu: { brand: string; features: string[]; cores: number };
  memory: { totalBytes: number; freeBytes: number };
  addon: { path: string | null };
  kernels: Kernels | null;
  /** Of the native encoder. */
  encoderKernels: string | null;
  isa: string | null;
  modelThreads: number;
  models: ModelReport[];
  /** Those in the cache and in folders of MAXSIM_MODELS. */
  otherModels: LocatedModel[];
  selfTest: SelfTest | null;
  problems: Problem[];
};

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check this machine: CPU, kernels, models, memory, and a trial run')
    .option('--json', 'print JSON', false)
    .action(async ({ json }: { json: boolean }) => {
      const report = await examine();
      if (json) printJson(report);
      else print(report);
      if (!report.ok) process.exitCode = 1;
    });
}

async function examine(): Promise<Report> {
  const problems: Problem[] = [];
  checkNode(problems);
  const native = examineAddon(problems);
  const models: ModelReport[] = [];
  for (const entry of catalogEntries().filter(({ id }) => id === null))
    models.push(await examineModel(entry, problems));
  const selfTest = problems.length === 0 ? await runSelfTest(problems) : null;
  const { version, versions } = process;
  return {
    ok: problems.length === 0,
    node: {
      version,
      abi: versions.modules,
      napi: versions['napi'] ?? '',
      platform: `${platform()} ${arch()}`,
    },
    cpu: {
      brand: native?.brand ?? cpus()[0]?.model ?? 'unknown',
      features: native?.features ?? [],
      cores: availableParallelism(),
    },
    // What the container may use, where it is less than what the machine has.
    memory: {
      totalBytes: Math.min(totalmem(), process.constrainedMemory() || totalmem()),
      freeBytes: Math.min(freemem(), process.availableMemory()),
    },
    addon: { path: native === null ? null : addonPath() },
    kernels: native?.kernels ?? null,
    encoderKernels: native?.encoderKernels ?? null,
    isa: process.env['MAXSIM_ISA'] ?? null,
    modelThreads: Math.min(8, availableParallelism()),
    models,
    otherModels: modelsHere().filter(({ name }) => !models.some((model) => model.name === name)),
    selfTest,
    problems,
  };
}

function checkNode(problems: Problem[]): void {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 17)) return;
  problems.push({
    what: `Node ${process.version} is older than 20.17.`,
    fix: 'Install Node 20.17 or newer.',
  });
}

function examineAddon(
  problems: Problem[],
): { brand: string; features: string[]; kernels: Kernels; encoderKernels: string } | null {
  try {
    const addon = loadAddon();
    const { chosen, candidates } = addon.kernels();
    const encoderKernels = addon.encoderKernels();
    return { ...addon.cpu(), kernels: { chosen, candidates }, encoderKernels };
  } catch (error) {
    if (!(error instanceof MaxSimError)) throw error;
    // The solutions that the message ends with are what `fix` is for.
    const [what = ''] = error.message.split('\nPossible solutions:');
    problems.push({ what, fix: fixOf(error) });
    return null;
  }
}

function fixOf(error: MaxSimError): string {
  if (error.code === 'UNSUPPORTED_ISA')
    return 'Unset MAXSIM_ISA, or set it to kernels that this CPU can run.';
  if (process.env['MAXSIM_ADDON'])
    return 'Unset MAXSIM_ADDON, or set it to the path of a maxsim.node built for this machine.';
  return 'apt-get install -y g++ cmake make && npm run build';
}

/** Of the addon that is loaded, from the list of this process's shared objects. */
function addonPath(): string | null {
  const report = process.report.getReport() as unknown as { sharedObjects?: string[] };
  const forced = process.env['MAXSIM_ADDON'];
  const isAddon = (path: string): boolean =>
    path.endsWith('maxsim.node') || (forced !== undefined && path.endsWith(forced));
  return report.sharedObjects?.find(isAddon) ?? forced ?? null;
}

async function examineModel(entry: CatalogEntry, problems: Problem[]): Promise<ModelReport> {
  const { name, kind, license } = entry;
  const sizeBytes = Object.values(entry.files).reduce((sum, file) => sum + file.sizeBytes, 0);
  const report: ModelReport = { name, kind, license, directory: null, sizeBytes, verified: false };
  try {
    report.directory = locateModel(name, kind).directory;
  } catch (error) {
    problems.push({
      what: error instanceof Error ? error.message : String(error),
      fix: `Restore models/${name} (git checkout models), or name its folder's parent in MAXSIM_MODELS.`,
    });
    return report;
  }
  const faults: string[] = [];
  for (const [file, expected] of Object.entries(entry.files)) {
    const fault = await faultOf(join(report.directory, file), expected);
    if (fault !== null) faults.push(`${file} ${fault}`);
  }
  report.verified = faults.length === 0;
  if (!report.verified) {
    problems.push({
      what: `The model ${name} in ${report.directory} is not the one of the catalog: ${faults.join('; ')}.`,
      fix: `Restore it: git checkout models/${name}.`,
    });
  }
  return report;
}

async function faultOf(
  file: string,
  expected: { sizeBytes: number; sha256: string },
): Promise<string | null> {
  const size = await stat(file).then(
    (stats) => stats.size,
    () => null,
  );
  if (size === null) return 'is missing';
  if (size !== expected.sizeBytes) return `has ${size} bytes, not ${expected.sizeBytes}`;
  return (await sha256(file)) === expected.sha256 ? null : 'has another SHA-256';
}

/** Everything once, for real: two passages indexed on disk, searched and reranked. */
async function runSelfTest(problems: Problem[]): Promise<SelfTest | null> {
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-doctor-'));
  try {
    const started = performance.now();
    await using engine = await Engine.open(join(directory, 'index'), { threads: 1 });
    await engine.add([
      { id: 'right', text: 'Report a stolen laptop to the security desk within two hours.' },
      { id: 'wrong', text: 'The canteen opens at noon and closes at three.' },
    ]);
    const indexMs = performance.now() - started;
    const question = 'my computer was taken, what now?';
    const { timings } = await engine.search(question);
    const { hits, timings: reranked } = await engine.search(question, { crossEncoder: true });
    const late = hits.find((hit) => hit.scores[0]?.rank === 1);
    if (hits[0]?.id !== 'right' || late?.id !== 'right') {
      problems.push({
        what: 'The trial run ranked the wrong passage first.',
        fix: 'Run npm test, and report what fails.',
      });
    }
    return {
      indexMs,
      queryMs: timings.totalMs,
      crossEncoderMs: reranked.crossEncoderMs,
      models: engine.stats().pool.models,
    };
  } catch (error) {
    problems.push({
      what: `The trial run failed: ${error instanceof Error ? error.message : String(error)}`,
      fix: 'docs/errors.md explains the codes; npm run build builds everything anew.',
    });
    return null;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function mark(ok: boolean): string {
  return ok ? paint.green('✔') : paint.red('✗');
}

function print(report: Report): void {
  const { node, cpu, memory, addon, kernels, isa, models, otherModels, selfTest, problems } =
    report;
  printLine(
    renderFacts([
      ['node', `${node.version}, ABI ${node.abi}, Node-API ${node.napi}, ${node.platform}`],
      ['cpu', `${cpu.brand}, ${cpu.cores} cores`],
      ['features', cpu.features.join(' ') || '(unknown)'],
      ['memory', `${formatBytes(memory.freeBytes)} free of ${formatBytes(memory.totalBytes)}`],
      ['addon', addon.path ?? paint.red('not loaded')],
      ['kernels', kernels === null ? paint.red('none') : paint.bold(kernels.chosen)],
      ...(kernels?.candidates ?? []).map(
        ({ name, verdict }) => ['', `${name}: ${verdict}`] as const,
      ),
      ['encoder kernels', report.encoderKernels ?? paint.red('none')],
      ['MAXSIM_ISA', isa ?? '(not set)'],
      ['model threads', String(report.modelThreads)],
    ]),
  );
  printLine();
  for (const model of models) {
    printLine(
      `${mark(model.verified)} ${paint.bold(model.name)} (${model.kind}, ${model.license})`,
    );
    printLine(
      `  ${model.directory ?? 'not found'}, ${formatBytes(model.sizeBytes)}${model.verified ? ', size and SHA-256 verified' : ''}`,
    );
  }
  for (const { name, directory } of otherModels) printLine(`  ${name}, ${directory}`);
  if (selfTest !== null) {
    printLine(
      `${mark(problems.length === 0)} trial run: model loaded and two passages stored in ${formatMs(selfTest.indexMs)}, searched in ${formatMs(selfTest.queryMs)}, read by the cross-encoder (with its load) in ${formatMs(selfTest.crossEncoderMs)}`,
    );
  }
  for (const { file, runtime, why } of selfTest?.models ?? []) {
    const name = basename(dirname(file));
    printLine(
      runtime === 'native'
        ? `  ${name} ran in the native encoder`
        : `  ${name} ran in onnxruntime${why === null ? '' : `: ${why}`}`,
    );
  }
  for (const { what, fix } of problems) {
    printLine();
    printLine(`${paint.red('problem')}  ${what}`);
    printLine(`${paint.green('fix')}      ${fix}`);
  }
}
