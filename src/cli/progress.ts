/**
 * Progress of a long command on standard error: a bar with rate and time left on a terminal, else one
 * JSON line at most every second.
 */
import { SingleBar } from 'cli-progress';
import { formatCount, formatDuration } from './output.js';

export type ProgressOptions = {
  /** What is counted: 'documents', 'queries'. */
  unit: string;
  json: boolean;
};

/** The rate is measured over this long, so that skipped documents do not promise an early end. */
const WINDOW_MS = 30_000;
const LINE_EVERY_MS = 1000;

export class Progress {
  private readonly bar: SingleBar | null;
  private readonly unit: string;
  private readonly samples: { at: number; done: number }[] = [{ at: performance.now(), done: 0 }];
  private readonly ticker: NodeJS.Timeout | undefined;
  private readonly started = performance.now();
  private done = 0;
  private counts: Readonly<Record<string, number>> = {};
  private total: number | null = null;
  private lastLine = Number.NEGATIVE_INFINITY;

  constructor({ unit, json }: ProgressOptions) {
    this.unit = unit;
    if (json || process.stderr.isTTY !== true) {
      this.bar = null;
      return;
    }
    this.bar = new SingleBar({
      format: `{bar} {percentage}%  {shown} ${unit}  {rate}/s  {left}`,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      barsize: 28,
      stream: process.stderr,
      hideCursor: false,
      clearOnComplete: true,
      linewrap: false,
      // The command has its own answer to signals.
      gracefulExit: false,
    });
    this.bar.start(1, 0, this.figures());
    this.ticker = setInterval(() => this.show(), LINE_EVERY_MS);
    this.ticker.unref();
  }

  setTotal(total: number): void {
    this.total = total;
  }

  /** `done` units so far, with whatever other counts a program may want to see. */
  update(done: number, counts: Readonly<Record<string, number>> = {}): void {
    const now = performance.now();
    this.done = done;
    this.counts = counts;
    this.samples.push({ at: now, done });
    while (this.samples.length > 2 && now - (this.samples[0]?.at ?? now) > WINDOW_MS) {
      this.samples.shift();
    }
    this.show();
  }

  /** Writes a line to standard error without tearing the bar. */
  write(line: string): void {
    if (this.bar !== null) process.stderr.write('\r\u001b[K');
    process.stderr.write(`${line}\n`);
    this.show();
  }

  end(): void {
    clearInterval(this.ticker);
    this.bar?.stop();
  }

  private show(): void {
    const now = performance.now();
    if (this.bar !== null) {
      this.bar.setTotal(Math.max(1, this.total ?? this.done, this.done));
      // Without a total, a full bar would say that it is over.
      this.bar.update(this.total === null ? 0 : this.done, this.figures());
      return;
    }
    if (this.done === 0 || now - this.lastLine < LINE_EVERY_MS) return;
    this.lastLine = now;
    const { perSecond, leftMs } = this.estimate();
    const line = {
      event: 'progress',
      [this.unit]: this.done,
      total: this.total,
      perSecond: Math.round(perSecond * 10) / 10,
      elapsedMs: Math.round(now - this.started),
      leftMs: leftMs === null ? null : Math.round(leftMs),
      ...this.counts,
    };
    process.stderr.write(`${JSON.stringify(line)}\n`);
  }

  private figures(): { shown: string; rate: string; left: string } {
    const { perSecond, leftMs } = this.estimate();
    const total = this.total === null ? '' : ` of ${formatCount(this.total)}`;
    return {
      shown: `${formatCount(this.done)}${total}`,
      rate: perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond)),
      left: leftMs === null ? '' : `${formatDuration(leftMs)} left`,
    };
  }

  private estimate(): { perSecond: number; leftMs: number | null } {
    const first = this.samples[0] ?? { at: this.started, done: 0 };
    const last = this.samples.at(-1) ?? first;
    const perMs = last.at > first.at ? (last.done - first.done) / (last.at - first.at) : 0;
    if (this.total === null || perMs === 0) return { perSecond: perMs * 1000, leftMs: null };
    const since = performance.now() - last.at;
    return {
      perSecond: perMs * 1000,
      leftMs: Math.max(0, (this.total - this.done) / perMs - since),
    };
  }
}
