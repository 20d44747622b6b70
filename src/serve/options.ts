/** What a server may be asked to be, checked once, with its defaults. */
import { isIP } from 'node:net';
import {
  checkArray,
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
} from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { Engine, type EngineOptions } from '../maxsim.js';

/** Who judges last: late interaction alone, or after it the cross-encoder, which reads every candidate. */
export type Judge = 'late-interaction' | 'cross-encoder';

export const JUDGES: readonly Judge[] = ['late-interaction', 'cross-encoder'];

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

export type ServeOptions = {
  /**
   * An engine of the caller's, which `close` leaves open; or the index to open one over, with the options
   * of `Engine.open`. Its `mode` is 'read' here unless it says otherwise.
   */
  engine: Engine | (EngineOptions & { index: string });
  /** Where to listen. Default: 127.0.0.1. Anything but loopback needs `keys` or `insecure`. */
  host?: string;
  /** 0: one that is free. Default: 8080. */
  port?: number;
  /** SHA-256 of the API keys that are let in, in hex. Default: none, and everybody is. */
  keys?: readonly string[];
  /** Listen where others can connect, without keys. Default: false. */
  insecure?: boolean;
  /** What requests without a model, and formats that have none, are judged by. Default: 'late-interaction'. */
  defaultModel?: Judge;
  /** Further names that requests may give a model: `{ 'rerank-v3.5': 'late-interaction' }`. */
  aliases?: Readonly<Record<string, Judge>>;
  /** Documents, texts or ids of one request. Default: 1,000, which is the most. */
  maxDocuments?: number;
  /** Bytes of a body, and of a line of a stream of documents. Default: 8 MiB. */
  bodyLimitBytes?: number;
  /** Requests that would have to wait longer are refused with 429. Default: 30,000. */
  maxWaitMs?: number;
  /** Tokens (texts are estimated at four characters each) that may be under way. Default: 1,000,000. */
  maxTokens?: number;
  /** How long a client may take over headers, over a body, and over each piece of a stream. Default: 20,000. */
  clientTimeoutMs?: number;
  /** How long `close` goes on serving, not ready, so that load balancers look elsewhere. Default: 0. */
  drainDelayMs?: number;
  /** How long `close` then waits for requests before it aborts them. Default: 30,000. */
  drainTimeoutMs?: number;
  /** How often a reader looks for a newer generation of its index. Default: 1,000. */
  refreshMs?: number;
  /** JSON lines on standard error. Default: 'silent'. */
  logLevel?: LogLevel;
};

export type CheckedOptions = Required<ServeOptions>;

const MAX_MS = 2 ** 31 - 1;

/** Throws INVALID_ARGUMENT. */
export function checkServeOptions(options: ServeOptions): CheckedOptions {
  const {
    engine,
    host = '127.0.0.1',
    port = 8080,
    keys = [],
    insecure = false,
    defaultModel = 'late-interaction',
    aliases = {},
    maxDocuments = 1000,
    bodyLimitBytes = 8 * 2 ** 20,
    maxWaitMs = 30_000,
    maxTokens = 1_000_000,
    clientTimeoutMs = 20_000,
    drainDelayMs = 0,
    drainTimeoutMs = 30_000,
    refreshMs = 1000,
    logLevel = 'silent',
  } = checkOptions<ServeOptions>('options', options, [
    'engine',
    'host',
    'port',
    'keys',
    'insecure',
    'defaultModel',
    'aliases',
    'maxDocuments',
    'bodyLimitBytes',
    'maxWaitMs',
    'maxTokens',
    'clientTimeoutMs',
    'drainDelayMs',
    'drainTimeoutMs',
    'refreshMs',
    'logLevel',
  ]);
  if (!(engine instanceof Engine)) {
    if (typeof engine !== 'object' || engine === null)
      throw invalid('engine', 'an Engine, or { index } with options of Engine.open', engine);
    checkString('engine.index', engine.index);
  }
  checkString('host', host);
  checkInteger('port', port, 0, 65_535);
  checkArray('keys', keys).forEach((key, i) => {
    if (typeof key !== 'string' || !/^[0-9a-f]{64}$/.test(key))
      // Not what was given: it may be a key itself.
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `keys[${i}] must be the SHA-256 of an API key in 64 lower-case hexadecimal digits.`,
      );
  });
  checkBoolean('insecure', insecure);
  checkOneOf('defaultModel', defaultModel, JUDGES);
  for (const [name, judge] of Object.entries(
    checkOptions('aliases', aliases, Object.keys(aliases)),
  ))
    checkOneOf(`aliases.${name}`, judge, JUDGES);
  checkInteger('maxDocuments', maxDocuments, 1, 1000);
  checkInteger('bodyLimitBytes', bodyLimitBytes, 1024, 2 ** 30);
  checkInteger('maxWaitMs', maxWaitMs, 1, MAX_MS);
  checkInteger('maxTokens', maxTokens, 1, Number.MAX_SAFE_INTEGER);
  checkInteger('clientTimeoutMs', clientTimeoutMs, 1, MAX_MS);
  checkInteger('drainDelayMs', drainDelayMs, 0, MAX_MS);
  checkInteger('drainTimeoutMs', drainTimeoutMs, 0, MAX_MS);
  checkInteger('refreshMs', refreshMs, 1, MAX_MS);
  checkOneOf('logLevel', logLevel, LOG_LEVELS);
  if (keys.length === 0 && !insecure && !isLoopback(host)) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `host must be a loopback address where there are no keys, but ${JSON.stringify(host)} was given, where others can connect. Give keys, or insecure: true.`,
    );
  }
  return {
    engine,
    host,
    port,
    keys,
    insecure,
    defaultModel,
    aliases,
    maxDocuments,
    bodyLimitBytes,
    maxWaitMs,
    maxTokens,
    clientTimeoutMs,
    drainDelayMs,
    drainTimeoutMs,
    refreshMs,
    logLevel,
  };
}

/** Of a name or address without a port: whether only this machine can connect to it. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
