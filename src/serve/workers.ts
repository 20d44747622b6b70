/**
 * Several processes on one port, as readers over one mapped index (`maxsim serve --workers`). The first
 * process only hands out connections (node:cluster), starts a worker again that died, and adds up what
 * all of them count; it never looks at a request.
 */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { AggregatorRegistry, type Registry, type RegistryContentType } from 'prom-client';
import { MaxSimError } from '../errors.js';

/** Set in the processes that `runWorkers` starts, so that no other cluster is taken for it. */
const MARK = 'MAXSIM_SERVE_WORKER';

type Message =
  | { type: 'maxsim:ready'; url: string }
  | { type: 'maxsim:drain' }
  | { type: 'maxsim:metrics'; id: number; text?: string; error?: string };

/** A worker that dies sooner is not started again at once. */
const SETTLED_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

export function isWorker(): boolean {
  return cluster.isWorker && process.env[MARK] === '1';
}

/**
 * Runs this program again, with the same arguments, so many times, and resolves when all have ended, which
 * `signal` asks them to. Throws IO_ERROR where one ends before all were ready for the first time: what is
 * wrong then will be wrong again, and the worker has said what.
 */
export async function runWorkers(
  count: number,
  {
    signal,
    onReady,
    onDeath,
  }: {
    signal: AbortSignal;
    onReady(url: string): void;
    onDeath(pid: number | undefined, why: string): void;
  },
): Promise<void> {
  const aggregate = new AggregatorRegistry();
  cluster.on('message', (worker, message: Message) => {
    if (message.type === 'maxsim:metrics') void answerMetrics(aggregate, worker, message.id);
  });
  const running = new Set<Worker>();
  let ready = 0;
  let failed = false;
  const stop = (): void => {
    for (const worker of running) tell(worker, { type: 'maxsim:drain' });
  };
  const live = async (): Promise<void> => {
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted && !failed) {
      const started = performance.now();
      const worker = cluster.fork({ [MARK]: '1' });
      running.add(worker);
      let wasReady = false;
      worker.on('message', (message: Message) => {
        if (message.type !== 'maxsim:ready' || wasReady) return;
        wasReady = true;
        ready += 1;
        if (ready === count) onReady(message.url);
        if (signal.aborted) tell(worker, { type: 'maxsim:drain' });
      });
      const [exitCode, killedBy] = (await once(worker, 'exit')) as [number | null, string | null];
      running.delete(worker);
      if (signal.aborted) return;
      const why = killedBy ?? `exit code ${exitCode}`;
      if (ready < count) {
        failed = true;
        stop();
        throw new MaxSimError('IO_ERROR', `A worker ended before all were ready: ${why}.`);
      }
      onDeath(worker.process.pid, why);
      pauseMs =
        performance.now() - started > SETTLED_MS
          ? FIRST_PAUSE_MS
          : Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
      await delay(pauseMs, undefined, { signal }).catch(() => {});
    }
  };
  signal.addEventListener('abort', stop, { once: true });
  const ends = await Promise.allSettled(Array.from({ length: count }, live));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** Of a worker: what to call when it is ready; `signal` fires when it is to end. Node ends it where the first process dies. */
export function joinWorkers(): { ready(url: string): void; signal: AbortSignal } {
  const controller = new AbortController();
  process.on('message', (message: Message) => {
    if (message.type === 'maxsim:drain') controller.abort();
  });
  // ^C and service managers tell every process of the group; the first process decides about ^C.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => controller.abort());
  return {
    ready: (url) => process.send?.({ type: 'maxsim:ready', url } satisfies Message),
    signal: controller.signal,
  };
}

let asked = 0;

/** Of a worker: lets the first process read what it counts. */
export function shareMetrics(registry: Registry): void {
  AggregatorRegistry.setRegistries(registry);
  new AggregatorRegistry(); // it is the constructor that begins to listen
}

/** The metrics of all workers, added up, for whichever of them is asked. */
export async function metricsOfAll(): Promise<string> {
  const id = ++asked;
  process.send?.({ type: 'maxsim:metrics', id } satisfies Message);
  return await new Promise((resolve, reject) => {
    const listen = (message: Message): void => {
      if (message.type !== 'maxsim:metrics' || message.id !== id) return;
      process.off('message', listen);
      if (message.text === undefined) reject(new MaxSimError('IO_ERROR', `${message.error}`));
      else resolve(message.text);
    };
    process.on('message', listen);
  });
}

async function answerMetrics(
  aggregate: AggregatorRegistry<RegistryContentType>,
  worker: Worker,
  id: number,
): Promise<void> {
  try {
    const text = await aggregate.clusterMetrics();
    tell(worker, { type: 'maxsim:metrics', id, text });
  } catch (error) {
    tell(worker, { type: 'maxsim:metrics', id, error: (error as Error).message });
  }
}

function tell(worker: Worker, message: Message): void {
  if (worker.isConnected()) worker.send(message);
}
