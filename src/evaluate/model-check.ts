/**
 * Does a model give what it should, and which of its forms, optimisations and thread counts is fastest
 * here? Parity first, then speed of what has it: forms, then optimisations of the best form, then threads.
 * One after the other, since all combinations of them would take as many sessions in memory at once.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { shippedFolder } from '../runtime/catalog.js';
import { type Choice, recordChoice } from '../runtime/choice.js';
import { coreCount } from '../runtime/cores.js';
import { type GraphForm, graphForms } from '../runtime/graph-forms.js';
import type { GraphSpec, Optimisation } from '../runtime/session.js';
import { CrossEncoderTrial } from './cross-encoder-trial.js';
import { fastestOf, type GraphSpeed, measureSpeed } from './graph-speed.js';
import { LateInteractionTrial } from './late-interaction-trial.js';
import { type CheckedModel, findModel, graphOf, ModelRunner } from './model-runner.js';
import type { FormComparison, TokenReport, Trial } from './model-trial.js';
import { type ParityFixture, readParityFixture } from './parity-fixture.js';

/** In a model's folder: what another implementation made of it. */
export const FIXTURE_FILE = 'parity.json';

export type ModelCheckOptions = {
  /** A fixture; default: parity.json of the folder, where there is one. */
  parity?: string | undefined;
  /** Largest difference that still is parity, of forms that are not float32; see docs/models.md. */
  tolerance?: number | undefined;
  /** For measuring speed; 0: not at all, and nothing is chosen. */
  seconds: number;
  /** Keep the choice for later. */
  record: boolean;
  allowNonCommercial?: boolean | undefined;
  signal?: AbortSignal | undefined;
};

export type FormReport = GraphForm & {
  /** Null for a form that cannot be used. */
  comparisons: FormComparison[] | null;
  keepsParity: boolean;
  failures: string[];
  /** What ran it; null for a form that was not run. */
  runtime: 'native' | 'onnx' | null;
  /** On one thread; null where parity is not kept. */
  speed: GraphSpeed | null;
};

export type OptimisationReport = { optimisation: Optimisation; speed: GraphSpeed };
export type ThreadReport = { workers: number; intraThreads: number; speed: GraphSpeed };

export type ModelCheck = CheckedModel & {
  ok: boolean;
  fixture: { file: string; peer: string } | null;
  /** What forms are compared with: the peer of the fixture, or a form of the folder. */
  against: string;
  tokens: TokenReport[];
  forms: FormReport[];
  /** Of the fastest form. */
  optimisations: OptimisationReport[];
  threads: ThreadReport[];
  /** Null where parity is not kept, or speed was not measured. */
  chosen: Choice | null;
  recorded: boolean;
  /** One sentence each: what makes `ok` false. */
  failures: string[];
};

/** Shares of the time: forms, optimisations, threads. */
const SHARES = [0.45, 0.25, 0.3] as const;
const DEFAULT_OPTIMISATION: Optimisation = 'all';

/** Throws MODEL_NOT_FOUND, LICENSE_REFUSED, INVALID_MODEL, INVALID_SOURCE, ABORTED; a model that fails is a result. */
export async function checkModel(name: string, options: ModelCheckOptions): Promise<ModelCheck> {
  const model = await findModel(name, { allowNonCommercial: options.allowNonCommercial ?? false });
  const file = fixtureFile(model, options.parity);
  const fixture = file === null ? null : await readParityFixture(file);
  if (file !== null && fixture !== null && fixture.kind !== model.kind) {
    throw new MaxSimError(
      'INVALID_SOURCE',
      `${file} is of a ${fixture.kind} model, but ${model.name} is a ${model.kind} model.`,
    );
  }
  const forms = await graphForms(model.directory);
  const [usual] = forms;
  if (usual === undefined) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${model.directory} must hold an ONNX graph, but has none.`,
    );
  }
  // Float32 is what the others were made of.
  const reference = forms.find(({ kind }) => kind === 'float32') ?? usual;
  const trial = await openTrial(model, reference.file, fixture, options.tolerance);
  const tokens = await trial.tokens();
  const check = new Check(model, trial, options);
  const reports = await check.compareForms(forms, fixture === null ? reference.file : null);
  const failures = tokens.flatMap((report) => report.failures);
  const first = reports[0] as FormReport;
  if (!first.keepsParity)
    failures.push(...first.failures.map((failure) => `${first.file}: ${failure}`));
  const chosen = failures.length === 0 && options.seconds > 0 ? await check.choose(reports) : null;
  const recorded = chosen !== null && options.record;
  if (recorded) await recordChoice(model.directory, chosen);
  return {
    ...model,
    ok: failures.length === 0,
    fixture: file === null || fixture === null ? null : { file, peer: fixture.peer },
    against: trial.against,
    tokens,
    forms: reports,
    optimisations: check.optimisations,
    threads: check.threads,
    chosen,
    recorded,
    failures,
  };
}

/** Beside the model, or of the package, where the model is one of its own in another folder. */
function fixtureFile({ name, directory }: CheckedModel, given: string | undefined): string | null {
  if (given !== undefined) return given;
  const places = [directory, shippedFolder(name)].map((folder) => join(folder, FIXTURE_FILE));
  return places.find((file) => existsSync(file)) ?? null;
}

function openTrial(
  model: CheckedModel,
  reference: string,
  fixture: ParityFixture | null,
  tolerance: number | undefined,
): Promise<Trial> {
  return model.kind === 'cross-encoder'
    ? CrossEncoderTrial.open(
        model,
        reference,
        fixture?.kind === 'cross-encoder' ? fixture : null,
        tolerance,
      )
    : LateInteractionTrial.open(
        model,
        reference,
        fixture?.kind === 'late-interaction' ? fixture : null,
        tolerance,
      );
}

class Check {
  readonly optimisations: OptimisationReport[] = [];
  readonly threads: ThreadReport[] = [];
  private readonly graphs = new Map<string, GraphSpec>();

  constructor(
    private readonly model: CheckedModel,
    private readonly trial: Trial,
    private readonly options: ModelCheckOptions,
  ) {}

  /** `reference` is compared with itself by nobody: without a fixture, it is right. */
  async compareForms(forms: readonly GraphForm[], reference: string | null): Promise<FormReport[]> {
    const reports: FormReport[] = [];
    for (const form of forms) {
      const report: FormReport = {
        ...form,
        comparisons: null,
        keepsParity: false,
        failures: [],
        runtime: null,
        speed: null,
      };
      reports.push(report);
      try {
        const graph = await graphOf(this.model, form.file);
        this.graphs.set(form.file, graph);
        report.comparisons = form.file === reference ? [] : await this.compare(graph, form, report);
        report.failures = report.comparisons.flatMap(({ failures }) => failures);
        report.keepsParity = report.failures.length === 0;
      } catch (error) {
        // A folder may hold graphs for other programs; the one that is loaded by default must work.
        if (!(error instanceof MaxSimError) || error.code !== 'INVALID_MODEL') throw error;
        report.failures = [error.message];
      }
    }
    return reports;
  }

  /** Sets the speeds of the reports that keep parity. */
  async choose(reports: readonly FormReport[]): Promise<Choice> {
    const kept = reports.filter(({ keepsParity }) => keepsParity);
    const form = await this.fastestForm(kept);
    const graph = this.graphs.get(form.file) as GraphSpec;
    const optimisation = await this.fastestOptimisation(form, graph);
    const { workers, intraThreads } = await this.fastestThreads({ ...graph, optimisation });
    return { file: form.file, optimisation, intraThreads, workers };
  }

  private async compare(
    graph: GraphSpec,
    { kind }: GraphForm,
    report?: FormReport,
  ): Promise<FormComparison[]> {
    await using runner = new ModelRunner(1, this.options.signal);
    const comparisons = await this.trial.compare(runner, graph, kind);
    if (report !== undefined) report.runtime = runner.runtimeOf(graph);
    return comparisons;
  }

  private async fastestForm(kept: readonly FormReport[]): Promise<FormReport> {
    if (kept.length === 1) return kept[0] as FormReport;
    await using runner = new ModelRunner(1, this.options.signal);
    const candidates = kept.map(({ file }) => ({
      runner,
      graph: this.graphs.get(file) as GraphSpec,
    }));
    const speeds = await measureSpeed(this.trial, candidates, this.milliseconds(0));
    const measured = kept.map((report, i) => {
      report.speed = speeds[i] as GraphSpeed;
      return { report, speed: report.speed };
    });
    return (fastestOf(measured) as (typeof measured)[number]).report;
  }

  private async fastestOptimisation(form: FormReport, graph: GraphSpec): Promise<Optimisation> {
    await using runner = new ModelRunner(1, this.options.signal);
    // They are onnxruntime's.
    const levels: Optimisation[] =
      form.runtime === 'native'
        ? [DEFAULT_OPTIMISATION]
        : [DEFAULT_OPTIMISATION, 'extended', 'basic'];
    const candidates = levels.map((optimisation) => ({
      runner,
      graph: { ...graph, optimisation },
    }));
    const speeds = await measureSpeed(this.trial, candidates, this.milliseconds(1));
    speeds.forEach((speed, i) => {
      this.optimisations.push({ optimisation: levels[i] as Optimisation, speed });
    });
    form.speed ??= speeds[0] as GraphSpeed;
    const { optimisation } = fastestOf(this.optimisations) as OptimisationReport;
    if (optimisation === DEFAULT_OPTIMISATION) return optimisation;
    // Another optimisation may put other kernels in, with other roundings.
    const comparisons = await this.compare({ ...graph, optimisation }, form);
    return comparisons.every(({ failures }) => failures.length === 0)
      ? optimisation
      : DEFAULT_OPTIMISATION;
  }

  private async fastestThreads(graph: GraphSpec): Promise<ThreadReport> {
    const counts = threadCounts(coreCount());
    const runners = counts.map(
      ({ workers, intraThreads }) => new ModelRunner(workers, this.options.signal, intraThreads),
    );
    try {
      const candidates = counts.map(({ intraThreads }, i) => ({
        runner: runners[i] as ModelRunner,
        graph: { ...graph, threads: intraThreads },
      }));
      const speeds = await measureSpeed(this.trial, candidates, this.milliseconds(2));
      counts.forEach((count, i) => {
        this.threads.push({ ...count, speed: speeds[i] as GraphSpeed });
      });
    } finally {
      await Promise.all(runners.map((runner) => runner.close()));
    }
    return fastestOf(this.threads) as ThreadReport;
  }

  private milliseconds(stage: 0 | 1 | 2): number {
    return this.options.seconds * 1000 * SHARES[stage];
  }
}

/** A pool has so many threads unless told otherwise; each holds the model once. */
const MOST_WORKERS = 8;

/** Threads within a run, doubled step by step, and as many model threads as there are cores for. */
export function threadCounts(cores: number): { workers: number; intraThreads: number }[] {
  const counts: { workers: number; intraThreads: number }[] = [];
  for (let intraThreads = 1; ; intraThreads = Math.min(cores, 2 * intraThreads)) {
    const workers = Math.min(MOST_WORKERS, Math.floor(cores / intraThreads));
    counts.push({ workers, intraThreads });
    if (intraThreads === cores) return counts;
  }
}
