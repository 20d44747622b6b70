/**
 * Worker threads that hold the models. Jobs wait in one queue (queue.ts) and go to a thread when it
 * can begin: an idle one, or one whose work is of a less urgent class, which gives way between
 * batches. So a query waits for at most one batch of documents, no job sits behind a slow thread
 * while another idles, and what has not begun can be dropped. A thread that dies is replaced and its
 * jobs are tried once more.
 */
import { Worker } from 'node:worker_threads';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import { coreCount } from './cores.js';
import { Gate } from './gate.js';
import { JobQueue, type Queued } from './queue.js';
import { RUNTIMES, type Runtime } from './session.js';

export { PRIORITY } from './queue.js';

export type JobOptions = {
  /** Class of the job (PRIORITY). */
  priority: number;
  /** How much work this is, in tokens or an estimate of them. */
  tokens: number;
  /** When it is too late to begin, by `performance.now()`. */
  deadline?: number | undefined;
  /** Whether it is part of a call that `admit` has let in. */
  admitted?: boolean | undefined;
  /** Drops the job; the batch it is at may still be finished, and nobody waits for it. */
  signal?: AbortSignal | undefined;
};

export type WorkerRequest =
  | { type: 'job'; id: number; kind: string; payload: unknown; priority: number }
  | { type: 'cancel'; id: number }
  | { type: 'close' };

/** What a thread holds, as far as it can tell. */
export type WorkerMemory = {
  /** Its JavaScript heap, array buffers included. */
  heapBytes: number;
  /**
   * By how much the process grew while it loaded its models, and at least the size of their files:
   * weights and what onnxruntime packs of them. Threads that load at the same time share their growth
   * evenly. What a run needs on top is not in it.
   */
  modelBytes: number;
};

/** A model that a thread has loaded. */
export type LoadedModel = {
  /** Its graph. */
  file: string;
  runtime: 'native' | 'onnx';
  /** Why not the native encoder; null where it is that, or nobody wanted it. */
  why: string | null;
  /** Whether that is for something in the graph or on the disk, and so is worth a warning. */
  surprising: boolean;
};

/** Every job is answered once, a cancelled one with ABORTED. */
export type WorkerReply = { id: number; memory?: WorkerMemory; loaded?: LoadedModel[] } & (
  | { ok: true; result: unknown }
  | {
      ok: false;
      error: { code: MaxSimErrorCode; message: string; details: Record<string, unknown> };
    }
);

type Job = Queued & {
  kind: string;
  payload: unknown;
  tries: number;
  /** Settled for its caller: nobody waits for what the thread will say. */
  dropped: boolean;
  timer: NodeJS.Timeout | undefined;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  stopListening(): void;
};

type Thread = {
  worker: Worker;
  /** One each: a thread that died inside its own keeps nobody waiting. */
  gate: Gate;
  /** Begun, and not answered: the most urgent one runs, the others have given way to it. */
  jobs: Map<number, Job>;
  exited: Promise<void>;
  startedAt: number;
  busySince: number;
  busyMs: number;
  jobsDone: number;
  memory: WorkerMemory;
};

export type PoolOptions = {
  /** How many threads, each with models of its own. Default: one per `threadsPerRun` cores, at most 8. */
  threads?: number | undefined;
  /** How many cores one run of a model uses. Default: as measured (`models check`), else 1. */
  threadsPerRun?: number | undefined;
  /**
   * How many tokens may wait (texts are estimated at four characters a token) before calls are refused
   * with OVERLOADED. Default: 1,000,000, some minutes of work for one core.
   */
  maxQueuedTokens?: number | undefined;
  /** What runs the models. Default: MAXSIM_RUNTIME, else 'auto'. */
  runtime?: Runtime | undefined;
};

/** What the threads of a pool get as workerData. */
export type PoolData = {
  gate: SharedArrayBuffer;
  /** Null: as each graph says. */
  threadsPerRun: number | null;
  runtime: Runtime;
  /** One Int32: how many threads of the pool are loading a model. */
  loading: SharedArrayBuffer;
};

export type ThreadStats = WorkerMemory & {
  jobsDone: number;
  /** Share of its life in which it had a job: 0 to 1. */
  busyShare: number;
};

export type PoolStats = {
  /** At most so many threads; they start when there is work for them, or by `warmUp`. */
  threads: number;
  workers: ThreadStats[];
  /** Graphs that were loaded so far, and what runs them. */
  models: Omit<LoadedModel, 'surprising'>[];
  /** Threads that died and were replaced. */
  deaths: number;
  runningJobs: number;
  queuedJobs: number;
  queuedTokens: number;
  /** Of the whole process: the models of all threads, the index, everything. */
  rssBytes: number;
};

/** How long a closing pool waits for a batch to end before it stops the thread under it. */
const GRACE_MS = 10_000;

/** Longer waits overflow a timer; who waits for three weeks may wait on. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Graphs that a warning was given of: one for the process. */
const warned = new Set<string>();

const openPools = new Set<WorkerPool>();

process.on('exit', () => {
  for (const pool of openPools) pool.quiesce();
});

export class WorkerPool {
  private most: number;
  private threadsPerRun: number | null;
  private readonly maxQueuedTokens: number;
  private readonly threads: Thread[] = [];
  private readonly queue = new JobQueue<Job>();
  private readonly loading = new SharedArrayBuffer(4);
  private readonly runtime: Runtime;
  private readonly models = new Map<string, LoadedModel>();
  private nextId = 1;
  private deaths = 0;
  private closed = false;

  constructor(
    private readonly entry: URL,
    options: PoolOptions = {},
  ) {
    this.threadsPerRun = options.threadsPerRun ?? null;
    this.most =
      options.threads ??
      Math.max(1, Math.min(8, Math.floor(coreCount() / (options.threadsPerRun ?? 1))));
    this.maxQueuedTokens = options.maxQueuedTokens ?? 1_000_000;
    this.runtime = options.runtime ?? runtimeOfEnvironment();
    openPools.add(this);
  }

  /** At most so many threads; they start when there is work for them. */
  get threadCount(): number {
    return this.most;
  }

  /** As a model was measured to be fastest; before any thread has started. */
  resize(threads: number, threadsPerRun: number): void {
    this.most = threads;
    this.threadsPerRun = threadsPerRun;
  }

  /**
   * For a call that makes several jobs: it waits whole or is refused whole, however large it is. Throws
   * OVERLOADED.
   */
  admit(priority: number, tokens: number): void {
    const refusal = this.refusal(priority, tokens);
    if (refusal !== null) throw refusal;
  }

  /** Work that is less urgent keeps nobody waiting; one call is never too large for an empty queue. */
  private refusal(priority: number, tokens: number): MaxSimError | null {
    const ahead = this.queue.tokensAhead(priority);
    const most = this.maxQueuedTokens;
    if (ahead === 0 || ahead + tokens <= most) return null;
    return new MaxSimError(
      'OVERLOADED',
      `${ahead} tokens of work wait for a model thread, and ${tokens} more would be over the ${most} that may.`,
      { details: { queuedTokens: ahead, maxQueuedTokens: most } },
    );
  }

  /**
   * Runs one job. Rejects with ABORTED, DEADLINE_EXCEEDED where it could not begin in time, OVERLOADED,
   * CLOSED, WORKER_FAILED or the error the job raised.
   */
  run(kind: string, payload: unknown, options: JobOptions): Promise<unknown> {
    const { priority, tokens, deadline = Number.POSITIVE_INFINITY, signal, admitted } = options;
    if (this.closed) return Promise.reject(new MaxSimError('CLOSED', 'The engine is closed.'));
    if (signal?.aborted) return Promise.reject(aborted(signal));
    if (deadline <= performance.now()) return Promise.reject(tooLate());
    if (admitted !== true) {
      const refusal = this.refusal(priority, tokens);
      if (refusal !== null) return Promise.reject(refusal);
    }
    return new Promise((resolve, reject) => {
      const job = this.newJob(kind, payload, { priority, tokens, deadline }, resolve, reject);
      const onAbort = (): void => this.drop(job, aborted(signal));
      job.stopListening = () => signal?.removeEventListener('abort', onAbort);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.queue.push(job);
      this.dispatch();
      this.watch(job);
    });
  }

  /** Drops a job that waits when its deadline passes. */
  private watch(job: Job): void {
    if (job.deadline === Number.POSITIVE_INFINITY || !this.queue.has(job)) return;
    const left = Math.min(MAX_TIMER_MS, job.deadline - performance.now());
    job.timer = setTimeout(() => this.dropQueued(job, tooLate()), left);
  }

  /** Starts every thread and has each run one job, so that the first calls find their models loaded. */
  async warmUp(kind: string, payload: unknown): Promise<void> {
    if (this.closed) throw new MaxSimError('CLOSED', 'The engine is closed.');
    while (this.threads.length < this.threadCount) this.spawn();
    const what = { priority: 0, tokens: 0, deadline: Number.POSITIVE_INFINITY };
    await Promise.all(
      this.threads.map(
        (thread) =>
          new Promise((resolve, reject) => {
            this.begin(thread, this.newJob(kind, payload, what, resolve, reject));
          }),
      ),
    );
  }

  stats(): PoolStats {
    const now = performance.now();
    return {
      threads: this.threadCount,
      workers: this.threads.map((thread) => ({
        ...thread.memory,
        jobsDone: thread.jobsDone,
        busyShare:
          (thread.busyMs + (thread.jobs.size > 0 ? now - thread.busySince : 0)) /
          Math.max(1, now - thread.startedAt),
      })),
      models: [...this.models.values()].map(({ surprising: _, ...model }) => model),
      deaths: this.deaths,
      runningJobs: this.threads.reduce((sum, { jobs }) => sum + jobs.size, 0),
      queuedJobs: this.queue.length,
      queuedTokens: this.queue.tokens,
      rssBytes: process.memoryUsage.rss(),
    };
  }

  /** Resolves when every thread has ended; each may finish the batch it is at, and no more. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const begun = this.threads.flatMap(({ jobs }) => [...jobs.values()]);
    for (const job of [...begun, ...this.queue.drain()]) {
      settle(job).reject(
        new MaxSimError('CLOSED', 'The engine was closed while this was running.'),
      );
    }
    for (const thread of this.threads) {
      thread.gate.shut();
      thread.jobs.clear();
      thread.worker.ref();
      send(thread, { type: 'close' });
    }
    await Promise.all(this.threads.map(stop));
    openPools.delete(this);
  }

  /** At the end of the process: blocks until no thread is inside onnxruntime, a batch at most. */
  quiesce(): void {
    for (const { gate } of this.threads) gate.shut();
    for (const { gate } of this.threads) gate.waitUntilEmpty(GRACE_MS);
  }

  private newJob(
    kind: string,
    payload: unknown,
    what: { priority: number; tokens: number; deadline: number },
    resolve: (result: unknown) => void,
    reject: (error: unknown) => void,
  ): Job {
    const id = this.nextId++;
    const idle = { tries: 0, dropped: false, timer: undefined, stopListening: () => {} };
    return { id, kind, payload, ...what, ...idle, resolve, reject };
  }

  /** Hands out jobs in the order of the queue, as long as a thread can begin the first. */
  private dispatch(): void {
    for (let job = this.queue.first; job !== undefined; job = this.queue.first) {
      const thread = this.threadFor(job.priority);
      // Nor could a thread begin any later job: those are as urgent or less.
      if (thread === undefined) return;
      this.queue.remove(job);
      this.begin(thread, job);
    }
  }

  private threadFor(priority: number): Thread | undefined {
    const idle = this.threads.find(({ jobs }) => jobs.size === 0);
    if (idle !== undefined) return idle;
    if (this.threads.length < this.threadCount) return this.spawn();
    let best: Thread | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const thread of this.threads) {
      const jobs = [...thread.jobs.values()];
      const tokens = jobs.reduce((sum, job) => sum + job.tokens, 0);
      if (tokens >= fewest || jobs.some((job) => job.priority <= priority)) continue;
      best = thread;
      fewest = tokens;
    }
    return best;
  }

  private begin(thread: Thread, job: Job): void {
    clearTimeout(job.timer);
    if (thread.jobs.size === 0) {
      thread.busySince = performance.now();
      thread.worker.ref();
    }
    thread.jobs.set(job.id, job);
    job.tries += 1;
    const { id, kind, payload, priority } = job;
    send(thread, { type: 'job', id, kind, payload, priority });
  }

  private spawn(): Thread {
    const gate = new Gate();
    const workerData: PoolData = {
      gate: gate.memory,
      threadsPerRun: this.threadsPerRun,
      runtime: this.runtime,
      loading: this.loading,
    };
    const worker = new Worker(this.entry, { workerData, execArgv: [] });
    const exited = new Promise<void>((resolve) => {
      worker.once('exit', () => resolve());
    });
    const thread: Thread = {
      worker,
      gate,
      jobs: new Map(),
      exited,
      startedAt: performance.now(),
      busySince: 0,
      busyMs: 0,
      jobsDone: 0,
      memory: { heapBytes: 0, modelBytes: 0 },
    };
    this.threads.push(thread);
    // An idle pool must not keep the process alive; a thread with work must.
    worker.unref();
    worker.on('message', (reply: WorkerReply) => this.answer(thread, reply));
    let cause: unknown;
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (exitCode) => {
      if (!this.closed) this.replace(thread, cause ?? new Error(`exit code ${exitCode}`));
    });
    return thread;
  }

  private answer(thread: Thread, reply: WorkerReply): void {
    const job = thread.jobs.get(reply.id);
    if (job === undefined) return; // the pool was closed meanwhile
    thread.jobs.delete(reply.id);
    thread.jobsDone += 1;
    if (reply.memory !== undefined) thread.memory = reply.memory;
    for (const model of reply.loaded ?? []) this.note(model);
    if (thread.jobs.size === 0) {
      thread.busyMs += performance.now() - thread.busySince;
      thread.worker.unref();
    }
    this.dispatch(); // first: the thread waits
    if (job.dropped) return;
    settle(job);
    if (reply.ok) job.resolve(reply.result);
    else {
      const { code, message, details } = reply.error;
      job.reject(new MaxSimError(code, message, { details }));
    }
  }

  /** The first time that a model is loaded. */
  private note(model: LoadedModel): void {
    if (this.models.has(model.file)) return;
    this.models.set(model.file, model);
    const { file, why, surprising } = model;
    if (!surprising || warned.has(file)) return;
    warned.add(file);
    process.emitWarning(`${file} is run by onnxruntime: ${why}.`, 'MaxSimWarning');
  }

  private replace(dead: Thread, cause: unknown): void {
    const at = this.threads.indexOf(dead);
    if (at >= 0) this.threads.splice(at, 1);
    this.deaths += 1;
    const again: Job[] = [];
    for (const job of dead.jobs.values()) {
      if (job.dropped) continue;
      if (job.tries < 2) {
        this.queue.push(job);
        again.push(job);
        continue;
      }
      const reason = cause instanceof Error ? cause.message : String(cause);
      settle(job).reject(
        new MaxSimError('WORKER_FAILED', `A model thread died twice while it ran this: ${reason}`, {
          cause,
        }),
      );
    }
    this.dispatch();
    for (const job of again) this.watch(job);
  }

  private drop(job: Job, error: MaxSimError): void {
    if (this.dropQueued(job, error)) return;
    // The thread is not free before it answers.
    const thread = this.threads.find(({ jobs }) => jobs.has(job.id));
    if (thread !== undefined) {
      thread.gate.stop(job.id);
      send(thread, { type: 'cancel', id: job.id });
    }
    settle(job).reject(error);
  }

  /** False where a thread has begun the job. */
  private dropQueued(job: Job, error: MaxSimError): boolean {
    if (!this.queue.remove(job)) return false;
    settle(job).reject(error);
    return true;
  }
}

function runtimeOfEnvironment(): Runtime {
  const { MAXSIM_RUNTIME: name } = process.env;
  return name === undefined || name === '' ? 'auto' : checkRuntime('MAXSIM_RUNTIME', name);
}

/** Throws INVALID_ARGUMENT. */
export function checkRuntime(name: string, value: unknown): Runtime {
  const runtime = RUNTIMES.find((known) => known === value);
  if (runtime !== undefined) return runtime;
  throw new MaxSimError(
    'INVALID_ARGUMENT',
    `${name} must be one of ${RUNTIMES.join(', ')}, but ${JSON.stringify(value)} was given.`,
  );
}

function send(thread: Thread, request: WorkerRequest): void {
  thread.worker.postMessage(request);
}

/** To be called before a job is resolved or rejected. */
function settle(job: Job): Job {
  job.dropped = true;
  clearTimeout(job.timer);
  job.stopListening();
  return job;
}

async function stop({ worker, exited }: Thread): Promise<void> {
  const timer = setTimeout(() => void worker.terminate(), GRACE_MS);
  await exited;
  clearTimeout(timer);
}

function tooLate(): MaxSimError {
  return new MaxSimError(
    'DEADLINE_EXCEEDED',
    'The deadline passed before a model thread could begin this.',
  );
}

export function aborted(signal: AbortSignal | undefined): MaxSimError {
  return new MaxSimError('ABORTED', 'The operation was aborted by its signal.', {
    cause: signal?.reason,
  });
}
