/**
 * One run of an open loop: requests go out when they are due, however slow the answers are, and each is
 * timed from when it was due. A closed loop would wait with the next request while the last one is
 * slow, and so not see what it is there to see (Gil Tene's "coordinated omission").
 */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks';
import { MaxSimError } from '../errors.js';
import { type ArrivalKind, arrivals } from './arrivals.js';
import { Latencies } from './latencies.js';
import { type LoadRequest, type LoadTarget, OUTCOMES, type Outcome } from './target.js';

export type RunOptions = {
  target: LoadTarget;
  /** The i-th request. */
  request(i: number): LoadRequest;
  ratePerSecond: number;
  arrivals: ArrivalKind;
  /** That count, after those that warm up. */
  seconds: number;
  warmUpSeconds: number;
  seed: number;
  /** So many requests may be under way; beyond, the run ends: the target does not keep up. */
  mostUnderWay?: number;
  signal?: AbortSignal | undefined;
};

/** Of this process: the engine's where it is in it, else the driver's. */
export type ProcessReport = {
  /** Of one core: 1 is one core all the time. */
  cpu: number;
  rssBytes: number;
  eventLoopDelayMs: { p50: number; p99: number; max: number };
  gcMs: number;
};

export type RunReport = {
  /** Requests a second that were to be sent, and that were answered or degraded. */
  offeredPerSecond: number;
  answeredPerSecond: number;
  sent: number;
  outcomes: Record<Outcome, number>;
  /** How late requests went out, at p99: what the driver itself adds. */
  lateMs: number;
  /** Requests that were due and not finished when what counts began and ended; most: sent, and not finished. */
  waiting: { atStart: number; atEnd: number; most: number };
  /** Null where the queue was stable; else why no percentile of it means anything. */
  unstable: string | null;
  process: ProcessReport;
};

export type Run = { report: RunReport; latencies: Latencies };

const MOST_UNDER_WAY = 10_000;
/** A timer is up to a millisecond late; the rest is waited for in turns of the event loop. */
const TIMER_MS = 2;

/** Throws ABORTED. */
export async function openLoop(options: RunOptions): Promise<Run> {
  const { target, ratePerSecond, seconds, warmUpSeconds, seed, signal } = options;
  const most = options.mostUnderWay ?? MOST_UNDER_WAY;
  const latencies = new Latencies();
  const late = new Latencies();
  const outcomes = Object.fromEntries(
    OUTCOMES.map((outcome) => [outcome, 0]),
  ) as RunReport['outcomes'];
  const watch = new ProcessWatch();
  const pending: Promise<void>[] = [];
  const start = performance.now();
  const from = start + 1000 * warmUpSeconds;
  const end = from + 1000 * seconds;
  let under = 0;
  let mostUnder = 0;
  let sent = 0;
  // Of all requests, those that warm up included.
  const due = { byFrom: 0, byEnd: 0 };
  const finished = { byFrom: 0, byEnd: 0 };
  let answered = 0;
  const send = async (i: number, at: number): Promise<void> => {
    const counts = at >= from;
    if (counts) {
      sent += 1;
      late.record(performance.now() - at);
    }
    under += 1;
    mostUnder = Math.max(mostUnder, under);
    const outcome = await target.send(options.request(i));
    const now = performance.now();
    under -= 1;
    if (now <= from) finished.byFrom += 1;
    if (now <= end) finished.byEnd += 1;
    const isAnswer = outcome === 'ok' || outcome === 'degraded';
    if (isAnswer && now > from && now <= end) answered += 1;
    if (!counts) return;
    outcomes[outcome] += 1;
    // What was refused at once took no time that anybody would want to know.
    if (isAnswer) latencies.record(now - at);
  };
  let isMeasuring = false;
  let isOver = false;
  let index = 0;
  for (const after of arrivals(options.arrivals, ratePerSecond, warmUpSeconds + seconds, seed)) {
    const at = start + after;
    await until(at);
    if (signal?.aborted) throw new MaxSimError('ABORTED', 'The load run was aborted.');
    if (!isMeasuring && at >= from) {
      isMeasuring = true;
      watch.start();
    }
    if (under >= most) {
      isOver = true;
      break;
    }
    if (at < from) due.byFrom += 1;
    due.byEnd += 1;
    pending.push(send(index++, at));
  }
  const process = watch.end();
  await Promise.all(pending);
  const waiting = {
    atStart: due.byFrom - finished.byFrom,
    atEnd: due.byEnd - finished.byEnd,
    most: mostUnder,
  };
  return {
    report: {
      offeredPerSecond: ratePerSecond,
      answeredPerSecond: answered / seconds,
      sent,
      outcomes,
      lateMs: late.percentileMs(99) ?? late.maxMs,
      waiting,
      unstable: isOver
        ? `${most} requests were under way at once: the target does not keep up.`
        : growth(waiting, sent),
      process,
    },
    latencies,
  };
}

/**
 * A queue that grows has no percentiles: they depend on how long one watches. More than a twentieth of the
 * requests, and more than chance has waiting, left over at the end is growth.
 */
function growth(
  { atStart, atEnd }: { atStart: number; atEnd: number },
  sent: number,
): string | null {
  const grown = atEnd - atStart;
  if (grown <= Math.max(0.05 * sent, 3 * Math.sqrt(sent) + 5)) return null;
  return `${atStart} requests waited at the beginning and ${atEnd} at the end, of ${sent}: the queue grew, and its latencies with it.`;
}

async function until(due: number): Promise<void> {
  const left = due - performance.now();
  if (left > TIMER_MS) await new Promise((resolve) => setTimeout(resolve, left - TIMER_MS));
  // At least one turn, so that answers are seen between requests that are due at once.
  do await new Promise((resolve) => setImmediate(resolve));
  while (performance.now() < due);
}

/** CPU, memory, event loop and garbage collections of this process between two times. */
class ProcessWatch {
  private readonly delay = monitorEventLoopDelay({ resolution: 1 });
  private readonly collections = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) this.gcMs += duration;
  });
  private gcMs = 0;
  private cpu = process.cpuUsage();
  private started = performance.now();

  start(): void {
    this.delay.enable();
    this.collections.observe({ entryTypes: ['gc'] });
    this.cpu = process.cpuUsage();
    this.started = performance.now();
  }

  end(): ProcessReport {
    const { user, system } = process.cpuUsage(this.cpu);
    const elapsedMs = Math.max(1, performance.now() - this.started);
    this.delay.disable();
    this.collections.disconnect();
    const ms = (nanoseconds: number): number =>
      Number.isFinite(nanoseconds) ? nanoseconds / 1e6 : 0;
    return {
      cpu: (user + system) / 1000 / elapsedMs,
      rssBytes: process.memoryUsage.rss(),
      eventLoopDelayMs: {
        p50: ms(this.delay.percentile(50)),
        p99: ms(this.delay.percentile(99)),
        max: ms(this.delay.max),
      },
      gcMs: this.gcMs,
    };
  }
}
