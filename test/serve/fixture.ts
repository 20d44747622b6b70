/** A server on loopback over an index of six passages, with the embedded models. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../dist/maxsim.js';
import { type ServeOptions, type Server, serve } from '../../dist/serve/serve.js';

export const PASSAGES = [
  { id: 'remote', text: 'Employees may work remotely from another country for at most 30 days.' },
  { id: 'expense', text: 'Meals above 40 euros need an itemised receipt and an approval.' },
  { id: 'travel', text: 'Business class is booked only for flights longer than seven hours.' },
  { id: 'laptop', text: 'A stolen laptop must be reported to the security desk within two hours.' },
  { id: 'leave', text: 'Parental leave is sixteen weeks, paid in full, in one part or two.' },
  { id: 'price', text: 'The enterprise plan costs 40 dollars per seat and month, billed yearly.' },
];
export const TEXTS = PASSAGES.map(({ text }) => text);
export const QUESTION = 'my computer was taken, what now?';
/** Where its answer is in TEXTS. */
export const ANSWER = 3;

export type Fixture = {
  root: string;
  engine: Engine;
  server: Server;
  url: string;
  close(): Promise<void>;
};

export async function startFixture(options: Partial<ServeOptions> = {}): Promise<Fixture> {
  const root = await mkdtemp(join(tmpdir(), 'maxsim-serve-'));
  const engine = await Engine.open(join(root, 'index'), {
    threads: 1,
    fields: { topic: 'keyword' },
  });
  await engine.add(PASSAGES.map((one) => ({ ...one, payload: { topic: one.id.slice(0, 1) } })));
  const server = await serve({ engine, port: 0, ...options });
  return {
    root,
    engine,
    server,
    url: server.url,
    async close() {
      await server.close();
      await engine.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

export type Answer = {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says; the tests look at it
  body: any;
};

export async function ask(
  url: string,
  body: unknown,
  { headers = {}, signal }: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
  return await read(response);
}

export async function get(
  url: string,
  init: { headers?: Record<string, string>; method?: string } = {},
): Promise<Answer> {
  return await read(await fetch(url, init));
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json') === true;
  return {
    status: response.status,
    headers: response.headers,
    body: json ? JSON.parse(text) : text,
  };
}
