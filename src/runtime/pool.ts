/**
 * Worker threads that hold the models. A job goes to the thread with the least work in front of it;
 * each thread orders its own jobs by priority and gives way between batches, so a query waits for at
 * most one batch of documents. A thread that dies is replaced and its jobs are tried once more.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { MaxSimError, type MaxSimErrorCode } from '../errors.js';
import { Gate } from './gate.js';

/** Lower runs first. */
export const PRIORITY = { query: 0, rerank: 1, document: 2 } as const;

export type JobOptions = {
  priority: number;
  /** How much work this is, in any one unit (characters do): balances the threads. */
  cost: number;
  signal?: AbortSignal | undefined;
};

export type WorkerRequest =
  | { type: 'job'; id: number; kind: string; payload: unknown; priority: number }
  | { type: 'cancel'; id: number }
  | { type: 'close' };

export type WorkerReply =
  | { id: number; ok: true; result: unknown }
  | {
      id: number;
      ok: false;
      error: { code: MaxSimErrorCode; message: string; details: Record<string, unknown> };
    };

type Job = {
  id: number;
  kind: string;
  payload: unknown;
  options: JobOptions;
  tries: number;
  resolve(result: unknown): void;
  reject(error: unknown): void;
  stopListening(): void;
};

type Thread = {
  worker: Worker;
  /** One each: a thread that died inside its own keeps nobody waiting. */
  gate: Gate;
  jobs: Map<number, Job>;
  cost: number;
  exited: Promise<void>;
};

export type PoolOptions = {
  /** How many threads; default: one per core, at most 8. */
  threads?: number | undefined;
};

/** What the threads of a pool get as workerData. */
export type PoolData = { gate: SharedArrayBuffer };

/** How long a closing pool waits for a batch to end before it stops the thread under it. */
const GRACE_MS = 10_000;

const openPools = new Set<WorkerPool>();

process.on('exit', () => {
  for (const pool of openPools) pool.quiesce();
});

export class WorkerPool {
  readonly threadCount: number;
  private readonly threads: Thread[] = [];
  private nextId = 1;
  private closed = false;

  constructor(
    private readonly entry: URL,
    options: PoolOptions = {},
  ) {
    this.threadCount = options.threads ?? Math.min(8, availableParallelism());
    openPools.add(this);
  }

  /** Runs one job. Rejects with ABORTED, CLOSED, WORKER_FAILED or the error the job raised. */
  run(kind: string, payload: unknown, options: JobOptions): Promise<unknown> {
    const { signal } = options;
    if (this.closed) return Promise.reject(new MaxSimError('CLOSED', 'The engine is closed.'));
    if (signal?.aborted) return Promise.reject(aborted(signal));
    return new Promise((resolve, reject) => {
      const onAbort = (): void => this.cancel(job, aborted(signal));
      const job: Job = {
        id: this.nextId++,
        kind,
        payload,
        options,
        tries: 0,
        resolve,
        reject,
        stopListening: () => signal?.removeEventListener('abort', onAbort),
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.send(job);
    });
  }

  /** Resolves when every thread has ended; each may finish the batch it is at, and no more. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const thread of this.threads) {
      thread.gate.shut();
      for (const job of thread.jobs.values()) {
        job.stopListening();
        job.reject(new MaxSimError('CLOSED', 'The engine was closed while this was running.'));
      }
      thread.jobs.clear();
      thread.worker.ref();
      const request: WorkerRequest = { type: 'close' };
      thread.worker.postMessage(request);
    }
    await Promise.all(this.threads.map(stop));
    openPools.delete(this);
  }

  /** At the end of the process: blocks until no thread is inside onnxruntime, a batch at most. */
  quiesce(): void {
    for (const { gate } of this.threads) gate.shut();
    for (const { gate } of this.threads) gate.waitUntilEmpty(GRACE_MS);
  }

  private send(job: Job): void {
    const thread = this.leastLoaded();
    thread.jobs.set(job.id, job);
    thread.cost += job.options.cost;
    job.tries += 1;
    const request: WorkerRequest = {
      type: 'job',
      id: job.id,
      kind: job.kind,
      payload: job.payload,
      priority: job.options.priority,
    };
    thread.worker.postMessage(request);
    thread.worker.ref();
  }

  private leastLoaded(): Thread {
    const best = this.threads.reduce<Thread | undefined>(
      (least, thread) => (least === undefined || thread.cost < least.cost ? thread : least),
      undefined,
    );
    if (best !== undefined && (best.cost === 0 || this.threads.length >= this.threadCount))
      return best;
    return this.spawn();
  }

  private spawn(): Thread {
    const gate = new Gate();
    const workerData: PoolData = { gate: gate.memory };
    const worker = new Worker(this.entry, { workerData, execArgv: [] });
    const exited = new Promise<void>((resolve) => {
      worker.once('exit', () => resolve());
    });
    const thread: Thread = { worker, gate, jobs: new Map(), cost: 0, exited };
    this.threads.push(thread);
    // An idle pool must not keep the process alive; a thread with work must.
    worker.unref();
    worker.on('message', (reply: WorkerReply) => {
      const job = this.settle(thread, reply.id);
      if (job === undefined) return;
      if (reply.ok) job.resolve(reply.result);
      else
        job.reject(
          new MaxSimError(reply.error.code, reply.error.message, { details: reply.error.details }),
        );
    });
    let cause: unknown;
    worker.on('error', (error) => {
      cause = error;
    });
    worker.on('exit', (exitCode) => {
      if (!this.closed) this.replace(thread, cause ?? new Error(`exit code ${exitCode}`));
    });
    return thread;
  }

  private settle(thread: Thread, id: number): Job | undefined {
    const job = thread.jobs.get(id);
    if (job === undefined) return undefined; // cancelled meanwhile
    thread.jobs.delete(id);
    thread.cost -= job.options.cost;
    if (thread.jobs.size === 0) thread.worker.unref();
    job.stopListening();
    return job;
  }

  private replace(dead: Thread, cause: unknown): void {
    const at = this.threads.indexOf(dead);
    if (at >= 0) this.threads.splice(at, 1);
    for (const job of dead.jobs.values()) {
      if (job.tries < 2) {
        this.send(job);
        continue;
      }
      job.stopListening();
      const reason = cause instanceof Error ? cause.message : String(cause);
      job.reject(
        new MaxSimError('WORKER_FAILED', `A model thread died twice while it ran this: ${reason}`, {
          cause,
        }),
      );
    }
  }

  private cancel(job: Job, error: MaxSimError): void {
    for (const thread of this.threads) {
      if (this.settle(thread, job.id) === undefined) continue;
      const request: WorkerRequest = { type: 'cancel', id: job.id };
      thread.worker.postMessage(request);
    }
    job.reject(error);
  }
}

async function stop({ worker, exited }: Thread): Promise<void> {
  const timer = setTimeout(() => void worker.terminate(), GRACE_MS);
  await exited;
  clearTimeout(timer);
}

export function aborted(signal: AbortSignal | undefined): MaxSimError {
  return new MaxSimError('ABORTED', 'The operation was aborted by its signal.', {
    cause: signal?.reason,
  });
}
