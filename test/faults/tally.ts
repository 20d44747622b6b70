/** What a run has tried and what went wrong, as it travels from the process of a part to the runner. */
import { writeSync } from 'node:fs';

/** Trials of each kind. */
export type Counts = {
  /** States of the disk that a kill or a power loss may leave. */
  crashes: number;
  /** Writers ended by a real SIGKILL. */
  kills: number;
  flips: number;
  truncations: number;
  /** Flips and truncations that an error has named; the others did no harm. */
  named: number;
  /** Operations that were made to fail, and disks that refuse by themselves. */
  ioErrors: number;
  /** Contests of two writers for one lock. */
  races: number;
  /** Readers that outlived their files. */
  readers: number;
};

/**
 * What must not happen. An acknowledged commit that is not there or there by half is a lost write; an
 * answer that differs from the right one, or an error that is no MaxSimError or does not name the file,
 * a wrong score.
 */
export type Harm = 'lostWrites' | 'wrongScores' | 'processCrashes';

export type Report = {
  counts: Counts;
  harms: Record<Harm, number>;
  /** The first harms in words. */
  examples: string[];
  /** Where to go on after the process of a part has died. */
  next: number;
};

const SHOWN = 20;

export class Tally {
  readonly counts: Counts = {
    crashes: 0,
    kills: 0,
    flips: 0,
    truncations: 0,
    named: 0,
    ioErrors: 0,
    races: 0,
    readers: 0,
  };
  readonly harms: Record<Harm, number> = { lostWrites: 0, wrongScores: 0, processCrashes: 0 };
  readonly examples: string[] = [];
  next = 0;

  count(kind: keyof Counts, n = 1): void {
    this.counts[kind] += n;
  }

  harm(kind: Harm, what: string): void {
    this.harms[kind] += 1;
    if (this.examples.length < SHOWN) this.examples.push(`${kind}: ${what}`);
  }

  /** Adds what a part reported. */
  take(report: Omit<Report, 'next'>): void {
    for (const kind of Object.keys(this.counts) as (keyof Counts)[]) {
      this.counts[kind] += report.counts[kind];
    }
    for (const kind of Object.keys(this.harms) as Harm[]) this.harms[kind] += report.harms[kind];
    this.examples.push(...report.examples.slice(0, SHOWN - this.examples.length));
  }

  /** One line for the runner, written at once: the next trial may be the last of this process. */
  send(): void {
    const { counts, harms, examples, next } = this;
    writeSync(1, `${JSON.stringify({ counts, harms, examples, next } satisfies Report)}\n`);
  }
}
