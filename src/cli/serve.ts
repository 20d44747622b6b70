/** `maxsim serve`: an index behind HTTP, until SIGTERM or ^C; a second one ends it at once. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { MaxSimError } from '../maxsim.js';
import type { Judge, LogLevel } from '../serve/options.js';
import { integer } from './arguments.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { printJson, printLine, warn } from './output.js';

type ServeCommandOptions = ModelArguments & {
  host: string;
  port: number;
  workers: number;
  keys?: string;
  insecure: boolean;
  writable: boolean;
  crossEncoder?: string;
  defaultModel: Judge;
  alias?: Record<string, Judge>;
  maxDocuments: number;
  maxBody: number;
  maxWaitMs: number;
  maxTokens: number;
  clientTimeoutMs: number;
  drainDelayMs: number;
  drainTimeoutMs: number;
  refreshMs: number;
  logLevel: LogLevel;
  json: boolean;
};

/** Not imported: it would bring the server along into every other command. */
const JUDGES = ['late-interaction', 'cross-encoder'] as const;
const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const MIB = 2 ** 20;
const milliseconds = integer(0, 2 ** 31 - 1);
const someMilliseconds = integer(1, 2 ** 31 - 1);

export function addServeCommand(program: Command): void {
  const command = program
    .command('serve')
    .description('answer rerank and search requests over HTTP')
    .argument('<dir>', 'directory of the index')
    .option('--host <host>', 'where to listen', '127.0.0.1')
    .option('--port <n>', '0: one that is free', integer(0, 65_535), 8080)
    .option('--workers <n>', 'processes, readers over one index', integer(1, 256), 1)
    .option('--keys <file>', 'who may ask: the SHA-256 of an API key a line')
    .option('--insecure', 'listen where others can connect, without keys', false)
    .option('--writable', 'take documents too; else the index is only read', false)
    .option('--cross-encoder <name>', 'cross-encoder: catalog name or folder')
    .addOption(
      new Option('--default-model <judge>', 'for requests that name no model')
        .choices(JUDGES)
        .default('late-interaction'),
    )
    .option('--alias <name=judge>', 'a further name of a model, once per name', alias)
    .option('--max-documents <n>', 'documents of a request', integer(1, 1000), 1000)
    .option('--max-body <MiB>', 'of a request, or of a line of a stream', integer(1, 1024), 8)
    .option('--max-wait-ms <n>', 'what would wait longer is refused', someMilliseconds, 30_000)
    .option('--max-tokens <n>', 'that may be under way', integer(1, 1e12), 1_000_000)
    .option('--client-timeout-ms <n>', 'a client has to send', someMilliseconds, 20_000)
    .option('--drain-delay-ms <n>', 'from not ready to closing', milliseconds, 0)
    .option('--drain-timeout-ms <n>', 'for requests under way to end', milliseconds, 30_000)
    .option('--refresh-ms <n>', 'between looks for a newer generation', someMilliseconds, 1000)
    .addOption(
      new Option('--log-level <level>', 'JSON lines on standard error')
        .choices(LEVELS)
        .default('info'),
    )
    .option('--json', 'print where it listens as JSON', false);
  addModelArguments(command).action(runServe);
}

async function runServe(
  directory: string,
  options: ServeCommandOptions,
  command: Command,
): Promise<void> {
  const { workers, writable } = options;
  if (workers > 1 && writable)
    command.error('error: --writable takes one process: an index has one writer');
  const { isWorker, joinWorkers, runWorkers } = await import('../serve/workers.js');
  const say = (url: string): void => {
    if (options.json) printJson({ url });
    else printLine(`${directory} is served at ${url}; ${url}/openapi.json says how`);
  };
  if (isWorker()) {
    const { ready, signal } = joinWorkers();
    await runOne(directory, options, signal, ready);
    process.disconnect?.();
    return;
  }
  const interrupt = new Interrupt(() => {
    if (!options.json) printLine('finishing what has begun');
  });
  const { signal } = interrupt;
  try {
    if (workers === 1) await runOne(directory, options, signal, say);
    else {
      await runWorkers(workers, {
        signal,
        onReady: say,
        onDeath: (pid, why) => warn(`worker ${pid} has died (${why}) and is started again`),
      });
    }
  } finally {
    interrupt.release();
  }
}

/** Serves until the signal fires. */
async function runOne(
  directory: string,
  options: ServeCommandOptions,
  signal: AbortSignal,
  onReady: (url: string) => void,
): Promise<void> {
  const { host, port, insecure, writable, crossEncoder, defaultModel, alias = {} } = options;
  const { maxDocuments, maxBody, maxWaitMs, maxTokens, clientTimeoutMs } = options;
  const { drainDelayMs, drainTimeoutMs, refreshMs, logLevel, workers } = options;
  const keys = options.keys === undefined ? [] : await readKeys(options.keys);
  const threads = Math.max(1, Math.floor(availableParallelism() / workers));
  const { serve } = await import('../serve/serve.js');
  await using server = await serve({
    engine: {
      index: directory,
      mode: writable ? 'write' : 'read',
      ...(workers > 1 ? { threads } : {}),
      ...engineArguments(options),
      ...(crossEncoder === undefined ? {} : { crossEncoder }),
    },
    host,
    port,
    keys,
    insecure,
    defaultModel,
    aliases: alias,
    maxDocuments,
    bodyLimitBytes: maxBody * MIB,
    maxWaitMs,
    maxTokens,
    clientTimeoutMs,
    drainDelayMs,
    drainTimeoutMs,
    refreshMs,
    logLevel,
  });
  if (insecure && keys.length === 0) warn('anybody who can connect may ask: there are no keys');
  onReady(server.url);
  if (!signal.aborted) await once(signal, 'abort');
}

/** "<hash> [name]" a line; "#" begins a comment. Throws INVALID_SOURCE. */
async function readKeys(path: string): Promise<string[]> {
  const lines = (
    await readFile(path, 'utf8').catch((cause: unknown) => {
      const { message } = cause as Error;
      throw new MaxSimError('INVALID_SOURCE', `Cannot read ${path}: ${message}.`, { cause });
    })
  ).split('\n');
  const keys = lines.flatMap((line, i) => {
    const [hash = ''] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (hash === '') return [];
    if (/^[0-9a-f]{64}$/i.test(hash)) return [hash.toLowerCase()];
    throw new MaxSimError(
      'INVALID_SOURCE',
      `${path}:${i + 1} must begin with the SHA-256 of a key, 64 hexadecimal digits.`,
    );
  });
  if (keys.length > 0) return keys;
  // Nobody means a file without keys to let everybody in.
  throw new MaxSimError('INVALID_SOURCE', `${path} holds no keys.`);
}

function alias(value: string, previous: Record<string, Judge> = {}): Record<string, Judge> {
  const equals = value.lastIndexOf('=');
  const judge = JUDGES.find((one) => one === value.slice(equals + 1));
  if (equals < 1 || judge === undefined)
    throw new InvalidArgumentError(`It must be a name, "=" and one of ${JUDGES.join(', ')}.`);
  return { ...previous, [value.slice(0, equals)]: judge };
}
