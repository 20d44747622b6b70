/**
 * A model thread: the engine's other half. Takes jobs from the pool (runtime/pool.ts), runs the most
 * urgent one a batch at a time, and looks for new messages between batches.
 */

import { stat } from 'node:fs/promises';
import { getHeapStatistics } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { openNative } from './convert/native-file.js';
import { type EncodeJob, encodeTexts } from './encode/encode-texts.js';
import { tokenizerOptions } from './encode/recipe.js';
import { type TokensJob, tokenSpans } from './encode/spans.js';
import { MaxSimError } from './errors.js';
import { type PairsJob, scorePairs } from './rerank/score-pairs.js';
import { Gate } from './runtime/gate.js';
import type { StopFlag } from './runtime/native-encoder.js';
import { NativeSession } from './runtime/native-session.js';
import type {
  LoadedModel,
  PoolData,
  WorkerMemory,
  WorkerReply,
  WorkerRequest,
} from './runtime/pool.js';
import type { GraphSpec, Session } from './runtime/session.js';
import { TextTokenizer, type TokenizerOptions } from './runtime/tokenizer.js';
import type { EncodedText, TextToken } from './types.js';

/** A job in pieces: each `next` does a bounded amount of work. */
type Steps = AsyncGenerator<void, { result: unknown; transfer: ArrayBuffer[] }>;

type Running = { id: number; priority: number; steps: Steps };

const data = workerData as PoolData;
const sessions = new Map<string, Promise<Session>>();
/** Since the last answer. */
let loaded: LoadedModel[] = [];
const tokenizers = new Map<string, Promise<TextTokenizer>>();

function openTokenizer(directory: string, options: TokenizerOptions): Promise<TextTokenizer> {
  const key = JSON.stringify([directory, options]);
  return once(tokenizers, key, () => TextTokenizer.open(directory, options));
}

function openSession(graph: GraphSpec, directory: string): Promise<Session> {
  const threads = data.threadsPerRun ?? graph.threads;
  const key = JSON.stringify({ ...graph, threads });
  return once(sessions, key, async () => {
    const { size } = await stat(graph.file).catch(() => ({ size: 0 }));
    return await weighed(size, () => load({ ...graph, threads }, directory));
  });
}

/** Throws INVALID_MODEL. */
async function load(graph: GraphSpec, directory: string): Promise<Session> {
  const { file } = graph;
  if (data.runtime !== 'onnx') {
    const opened = await openNative(graph, directory, data.runtime === 'native');
    if (opened instanceof NativeSession) {
      loaded.push({ file, runtime: 'native', why: null, surprising: false });
      return opened;
    }
    if (data.runtime === 'native') {
      throw new MaxSimError(
        'INVALID_MODEL',
        `The native encoder cannot run ${file}: ${opened.why}. The runtime 'auto' takes onnxruntime.`,
      );
    }
    loaded.push({ file, runtime: 'onnx', ...opened });
  } else {
    loaded.push({ file, runtime: 'onnx', why: null, surprising: false });
  }
  const { OnnxSession } = await import('./runtime/onnx-session.js');
  return await OnnxSession.open(graph);
}

/**
 * Growth of the process while models were loaded here; threads that load together share theirs. At
 * least the size of their files: memory that was free within the process is no growth.
 */
let modelBytes = 0;

async function weighed<T>(fileBytes: number, load: () => Promise<T>): Promise<T> {
  const loading = new Int32Array(data.loading);
  Atomics.add(loading, 0, 1);
  const before = process.memoryUsage.rss();
  try {
    const loaded = await load();
    const share = Math.max(1, Atomics.load(loading, 0));
    modelBytes += Math.max(fileBytes, (process.memoryUsage.rss() - before) / share);
    return loaded;
  } finally {
    Atomics.sub(loading, 0, 1);
  }
}

function memory(): WorkerMemory {
  const { used_heap_size: heap, external_memory: external } = getHeapStatistics();
  return { heapBytes: heap + external, modelBytes: Math.round(modelBytes) };
}

/** Opens each thing once; a failure is not remembered. */
function once<T>(cache: Map<string, Promise<T>>, key: string, open: () => Promise<T>): Promise<T> {
  let opening = cache.get(key);
  if (opening === undefined) {
    opening = open();
    cache.set(key, opening);
    opening.catch(() => cache.delete(key));
  }
  return opening;
}

const kinds: Record<string, (payload: never, stop: StopFlag) => Steps> = {
  async *encode(job: EncodeJob, stop): Steps {
    const tokenizer = await openTokenizer(job.directory, tokenizerOptions(job.recipe));
    const session = await openSession(job.graph, job.directory);
    const result: EncodedText[] = yield* encodeTexts(job, tokenizer, session, stop);
    return { result, transfer: result.map((text) => text.vectors.buffer as ArrayBuffer) };
  },
  // biome-ignore lint/correctness/useYield: one short step, with nothing to give way for
  async *tokens(job: TokensJob): Steps {
    const tokenizer = await openTokenizer(job.directory, tokenizerOptions(job.recipe));
    const result: TextToken[] = tokenSpans(job, tokenizer);
    return { result, transfer: [] };
  },
  async *pairs(job: PairsJob, stop): Steps {
    const tokenizer = await openTokenizer(job.directory, { specialTokens: job.specialTokens });
    const session = await openSession(job.graph, job.directory);
    const result: Float32Array = yield* scorePairs(job, tokenizer, session, stop);
    return { result, transfer: [result.buffer as ArrayBuffer] };
  },
};

const port = parentPort;
if (port === null) throw new MaxSimError('INTERNAL', 'worker.js runs on a worker thread only.');

const gate = new Gate(data.gate);
const queue: Running[] = [];
let busy = false;

port.on('message', (request: WorkerRequest) => {
  if (request.type === 'close') {
    queue.length = 0;
    port.close(); // with nothing left to listen to, the thread ends after its batch
    return;
  }
  if (request.type === 'cancel') {
    const at = queue.findIndex((job) => job.id === request.id);
    if (at >= 0) {
      queue.splice(at, 1);
      const error = { code: 'ABORTED' as const, message: 'It was cancelled.', details: {} };
      answer({ id: request.id, ok: false, error }, []);
    }
    return;
  }
  const steps = kinds[request.kind];
  if (steps === undefined)
    throw new MaxSimError('INTERNAL', `A model thread knows no ${request.kind} job.`);
  const job = {
    id: request.id,
    priority: request.priority,
    steps: steps(request.payload as never, gate.stopFlag(request.id)),
  };
  // Behind every job that is as urgent or more.
  const at = queue.findIndex((other) => other.priority > job.priority);
  queue.splice(at < 0 ? queue.length : at, 0, job);
  if (!busy) void work();
});

function answer(reply: WorkerReply, transfer: ArrayBuffer[]): void {
  port?.postMessage({ ...reply, memory: memory(), loaded }, transfer);
  loaded = [];
}

async function work(): Promise<void> {
  busy = true;
  for (let job = queue[0]; job !== undefined; job = queue[0]) {
    if (!gate.enter()) break;
    let reply: WorkerReply | undefined;
    let transfer: ArrayBuffer[] = [];
    try {
      const step = await job.steps.next();
      if (step.done) {
        reply = { id: job.id, ok: true, result: step.value.result };
        transfer = step.value.transfer;
      }
    } catch (error) {
      const known = error instanceof MaxSimError;
      reply = {
        id: job.id,
        ok: false,
        error: {
          code: known ? error.code : 'INTERNAL',
          message: error instanceof Error ? error.message : String(error),
          details: known ? { ...error.details } : {},
        },
      };
    }
    gate.leave();
    const at = queue.indexOf(job); // it may have been cancelled, or others put before it
    if (at >= 0 && reply !== undefined) {
      queue.splice(at, 1);
      answer(reply, transfer);
    }
    // Let messages in: a promise alone would not reach the event loop.
    await new Promise(setImmediate);
  }
  busy = false;
}
