/**
 * Every operation of a short workload fails, with every error, once or from then on, or takes half of
 * its bytes. The call that meets it must reject in words; what other calls have acknowledged must be
 * there, also after a power loss that takes all that was not flushed.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { MaxSimError } from '../../dist/errors.js';
import { Index } from '../../dist/index/store.js';
import { Control } from './control.js';
import {
  DIM,
  documentOf,
  FIELDS,
  type State,
  sameDocuments,
  unstoredAnswers,
  versionsOf,
  wrongAnswer,
} from './documents.js';
import { parseLog } from './operation-log.js';
import { Disk } from './power-loss.js';
import { after, MERGING, run, type Script, SHORT, type Step } from './script.js';
import type { Tally } from './tally.js';

/** By number, as the shim takes them. */
const ERRORS = { ENOSPC: 28, EIO: 5, EACCES: 13 } as const;
const EMPTY: State = { codec: 'f32', documents: new Map() };

type Plan = {
  script: Script;
  /** How many groups of it run before the fault is set. */
  calm: number;
  /** What a merge beside the commits gets of the time, where one is expected. */
  pauseMs: number;
};

const PLANS: readonly Plan[] = [
  { script: SHORT, calm: 0, pauseMs: 0 },
  { script: MERGING, calm: 7, pauseMs: 15 },
];

const WAYS = [
  'short',
  ...Object.values(ERRORS).flatMap((error) => [`fail ${error} once`, `fail ${error} always`]),
];

/** `from`: the trial to begin with. */
export async function ioErrors(tally: Tally, from: number): Promise<void> {
  const control = new Control();
  let trial = 0;
  for (const plan of PLANS) {
    // How many operations there are is known when none from there on has failed.
    let last = Number.POSITIVE_INFINITY;
    for (let at = 1; at <= last; at++) {
      let always = false;
      for (const way of WAYS) {
        trial += 1;
        if (trial <= from) continue;
        tally.next = trial;
        tally.send();
        const fired = await new Trial(tally, control, plan, way, at).run();
        always ||= fired && way.endsWith('always');
      }
      if (!always && trial > from + WAYS.length) last = at;
    }
  }
}

class Trial {
  private readonly directory: string;
  private readonly log: string;
  /** The states that the outcomes so far allow; null: not even created. */
  private allowed: (State | null)[] = [null];
  private index: Index | null = null;

  constructor(
    private readonly tally: Tally,
    private readonly control: Control,
    private readonly plan: Plan,
    private readonly way: string,
    private readonly at: number,
  ) {
    this.directory = `${control.root}/index`;
    this.log = `${control.root}.log`;
  }

  async run(): Promise<boolean> {
    rmSync(this.directory, { recursive: true, force: true });
    this.control.send(`log ${this.log}`);
    const { script, calm, pauseMs } = this.plan;
    for (const [number, group] of script.groups.entries()) {
      if (number === calm) this.arm();
      await this.open();
      const outcomes = group.map((step) => this.step(step));
      for (const [i, outcome] of outcomes.entries()) this.allow(group[i], await outcome);
      await this.look();
      if (number >= calm) await setTimeout(pauseMs);
    }
    await this.follow();
    const { fired } = this.control.status();
    this.control.send('disarm');
    // It goes on, at once or when it has been opened again.
    for (const id of ['y', 'z']) {
      await this.open();
      const step = { add: [`${id}@1`] };
      const outcome = await this.step(step);
      this.allow(step, outcome);
      if (outcome === 'refused' || (outcome === 'uncertain' && id === 'z')) {
        this.harm('lostWrites', 'no commit is taken after the fault');
      }
    }
    await this.index?.close();
    await this.checkDurable();
    await this.compare(this.directory, 'after all');
    if (fired > 0) this.tally.count('ioErrors');
    return fired > 0;
  }

  /** The operation after `at` - 1 others from now on is the one to be disturbed. */
  private arm(): void {
    const at = this.control.status().operations + this.at;
    const [what, ...rest] = this.way.split(' ');
    this.control.send([what, at, ...rest].join(' '));
  }

  /** Opens where nothing is open; a failure leaves all as it was. */
  private async open(): Promise<void> {
    if (this.index !== null) return;
    try {
      this.index = await Index.open(this.directory, {
        dim: DIM,
        ...(this.allowed.includes(null) && { codec: this.plan.script.codec, fields: FIELDS }),
      });
    } catch (error) {
      this.judge(error);
      // The manifest may be there, or not.
      if (this.allowed.length === 1 && this.allowed[0] === null) this.allowed.push(EMPTY);
      return;
    }
    const found = await this.stateOf(this.index);
    if (found !== null) this.match(found, 'opened');
  }

  private async step(step: Step): Promise<'done' | 'refused' | 'uncertain'> {
    if (this.index === null) return 'refused';
    try {
      await run(this.index, step);
      return 'done';
    } catch (error) {
      return this.judge(error);
    }
  }

  private allow(step: Step, outcome: 'done' | 'refused' | 'uncertain'): void {
    if (outcome === 'refused') return;
    const next = this.allowed.map((state) => after(state ?? EMPTY, step));
    this.allowed = outcome === 'done' ? next : [...this.allowed, ...next];
    if (outcome === 'uncertain') this.reopen = true;
  }

  private reopen = false;

  /** What an index holds in memory is one of the states that it may have. */
  private async look(): Promise<void> {
    if (this.index === null) return;
    const found = await this.stateOf(this.index);
    if (found !== null && !this.reopen) this.match(found, 'in memory');
    if (!this.reopen) return;
    this.reopen = false;
    // Until then nothing is taken, and what the disk may hold is left alone.
    if ((await this.step({ compact: true })) !== 'uncertain') {
      this.harm('lostWrites', 'an index that has to be opened again compacts');
    }
    await this.index.close();
    this.index = null;
  }

  /** A reader meets the fault as well. */
  private async follow(): Promise<void> {
    try {
      const reader = await Index.open(this.directory, { mode: 'read' });
      const found = await this.stateOf(reader);
      if (found !== null) this.match(found, 'read', false);
      await reader.refresh();
      await reader.close();
    } catch (error) {
      this.judge(error);
    }
  }

  private async stateOf(index: Index): Promise<State | null> {
    try {
      const documents = await versionsOf(index);
      const wrong = await wrongAnswer(index, documents, await unstoredAnswers(index, documents));
      if (wrong !== null) this.harm('wrongScores', wrong);
      return { codec: index.codec.name, documents };
    } catch (error) {
      this.judge(error);
      return null;
    }
  }

  private match(found: State, where: string, settle = true): void {
    const fits = this.allowed.some(
      (state) =>
        (state ?? EMPTY).codec === found.codec &&
        sameDocuments((state ?? EMPTY).documents, found.documents),
    );
    if (!fits) {
      const ids = [...found.documents].map(([id, version]) => `${id}@${version}`).join(' ');
      this.harm('lostWrites', `${where}: ${found.codec} ${ids}`);
    }
    if (settle) this.allowed = [found];
  }

  /** An error in words that names a file; `uncertain` when it asks for the index to be opened again. */
  private judge(error: unknown): 'refused' | 'uncertain' {
    const known = error instanceof MaxSimError && ['IO_ERROR', 'DISK_FULL'].includes(error.code);
    if (!known || !error.message.includes(this.control.root)) {
      this.harm(
        'wrongScores',
        `no error of the disk that names its file: ${(error as Error).stack}`,
      );
    }
    return /open it again/.test((error as Error).message) ? 'uncertain' : 'refused';
  }

  /** Replays the log and takes away all that was not flushed, or whose flush failed. */
  private async checkDurable(): Promise<void> {
    const disk = new Disk(this.control.root);
    for (const operation of parseLog(readFileSync(this.log))) disk.apply(operation);
    const target = `${this.control.root}-state`;
    rmSync(target, { recursive: true, force: true });
    for (const [path, data] of disk.leastAfterPowerLoss().files) {
      const name = `${target}${path.slice(this.control.root.length)}`;
      if (data === null) mkdirSync(name, { recursive: true });
      else writeFileSync(name, data);
    }
    await this.compare(`${target}/index`, 'after a power loss');
  }

  private async compare(directory: string, when: string): Promise<void> {
    try {
      await using index = await Index.open(directory, { create: false });
      const found = await this.stateOf(index);
      if (found !== null) this.match(found, when, false);
      await index.add([documentOf('after', 1)]);
    } catch (error) {
      this.harm('lostWrites', `${when}: ${(error as Error).message}`);
    }
  }

  private harm(kind: 'lostWrites' | 'wrongScores', what: string): void {
    this.tally.harm(kind, `${this.way}, operation ${this.at}: ${what}`);
  }
}
