/**
 * START HERE: `serve` puts an engine behind HTTP, and takes it down without dropping what has begun.
 * docs/serve.md is its manual.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { MaxSimError } from '../errors.js';
import { createApp } from './app.js';
import { InFlight } from './in-flight.js';
import { checkServeOptions, type ServeOptions } from './options.js';
import { Service } from './service.js';

export type { Judge, LogLevel, ServeOptions } from './options.js';

export type Server = AsyncDisposable & {
  /** Where it listens: `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Goes on serving for `drainDelayMs`, not ready any more; then takes no new requests, waits for those
   * under way and, after `drainTimeoutMs`, aborts them. Closes the engine where `serve` opened it.
   */
  close(): Promise<void>;
};

/** Between telling requests to end and hanging up on them. */
const ABORT_MS = 1000;

/**
 * Listens, answering /livez, and resolves when models and index are loaded. Throws INVALID_ARGUMENT,
 * IO_ERROR where it cannot listen, and what `Engine.open` throws.
 *
 * @example
 * await using server = await serve({ engine: { index: './index' }, port: 0 })
 * await fetch(`${server.url}/v1/rerank`, { method: 'POST', … })
 */
export async function serve(options: ServeOptions): Promise<Server> {
  const service = new Service(checkServeOptions(options));
  const app = await createApp(service);
  const inFlight = new InFlight(app.server);
  try {
    await listen(app, service);
    await service.open();
  } catch (error) {
    const closed = app.close();
    app.server.closeAllConnections();
    await closed;
    await service.close();
    throw error;
  }
  const refreshing = refresh(app, service);
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    closing ??= drain(app, service, inFlight, refreshing);
    await closing;
  };
  return { url: urlOf(app, service.options.host), close, [Symbol.asyncDispose]: close };
}

async function listen(app: FastifyInstance, { options }: Service): Promise<void> {
  const { host, port } = options;
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { message } = cause as Error;
    throw new MaxSimError('IO_ERROR', `Cannot listen on ${host}, port ${port}: ${message}.`, {
      cause,
    });
  }
}

function urlOf(app: FastifyInstance, host: string): string {
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Keeps a reader at the newest generation of its index; what has begun ends on the one it began with. */
function refresh(app: FastifyInstance, service: Service): NodeJS.Timeout {
  let busy = false;
  const look = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    try {
      const { index } = service.engine;
      if (await index.refresh()) app.log.info({ generation: index.generation }, 'newer generation');
    } catch (error) {
      service.metrics.refreshFailures.inc();
      app.log.error(error, 'the index could not be refreshed; the generation in use is served on');
    } finally {
      busy = false;
    }
  };
  return setInterval(() => void look(), service.options.refreshMs).unref();
}

async function drain(
  app: FastifyInstance,
  service: Service,
  inFlight: InFlight,
  refreshing: NodeJS.Timeout,
): Promise<void> {
  const { drainDelayMs, drainTimeoutMs } = service.options;
  service.state = 'draining';
  if (drainDelayMs > 0) await delay(drainDelayMs);
  service.state = 'closing';
  clearInterval(refreshing);
  let hangUp: NodeJS.Timeout | undefined;
  const abort = setTimeout(() => {
    app.log.warn('requests did not end in time and are aborted');
    service.abortAll();
    hangUp = setTimeout(() => app.server.closeAllConnections(), ABORT_MS);
  }, drainTimeoutMs);
  try {
    const closed = app.close();
    await inFlight.none();
    // Who has connected and asked nothing is not idle for Node, and would be waited for.
    app.server.closeAllConnections();
    await closed;
  } finally {
    clearTimeout(abort);
    clearTimeout(hangUp);
    await service.close();
  }
}
