import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Engine, Index } from '../../dist/maxsim.js';
import { serve } from '../../dist/serve/serve.js';
import { maxsim, outcome, start } from '../cli/run.js';
import { ask, get, PASSAGES, QUESTION, TEXTS } from './fixture.js';

let root: string;
let index: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-serve-'));
  index = join(root, 'index');
  await using engine = await Engine.open(index, { threads: 1 });
  await engine.add(PASSAGES);
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** `maxsim serve`, when it is ready. */
async function startServer(...options: string[]): Promise<{ child: ChildProcess; url: string }> {
  const child = start('serve', index, '--port', '0', '--threads', '1', '--json', ...options);
  children.push(child);
  let stderr = '';
  child.stderr?.on('data', (data) => {
    stderr += String(data);
  });
  const ended = once(child, 'exit').then(() => {
    throw new Error(`maxsim serve ended before it was ready: ${stderr}`);
  });
  ended.catch(() => {});
  const [line] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), ended]);
  return { child, url: (JSON.parse(String(line)) as { url: string }).url };
}

/** Work that takes a while: texts that nobody has encoded. */
function slowRequest(texts: number): { query: string; documents: string[] } {
  return {
    query: QUESTION,
    documents: Array.from({ length: texts }, (_, i) => `${TEXTS[i % 6]} ${i} `.repeat(3)),
  };
}

describe('maxsim serve', () => {
  it('finishes on SIGTERM what has begun, takes no more, and ends with 0', async () => {
    const { child, url } = await startServer('--drain-delay-ms', '200');
    const ended = outcome(child);
    expect((await get(`${url}/readyz`)).body).toEqual({ status: 'ready' });
    const slow = ask(`${url}/v1/rerank`, slowRequest(120));
    await delay(50); // it is under way
    child.kill('SIGTERM');
    let ready = await get(`${url}/readyz`);
    while (ready.status === 200) {
      await delay(2);
      ready = await get(`${url}/readyz`);
    }
    expect(ready.body).toEqual({ status: 'draining' });
    // Who has not heard of it yet is still served.
    expect((await ask(`${url}/rerank`, { query: 'q', texts: ['a'] })).status).toBe(200);
    const { status, body } = await slow;
    expect(status).toBe(200);
    expect(body.results).toHaveLength(120);
    const { status: exitCode, stderr } = await ended;
    expect(exitCode).toBe(0);
    await expect(get(`${url}/livez`)).rejects.toThrow();
    // The log is JSON, and has nothing of what was asked.
    const lines = stderr.trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).msg)).toContain('request completed');
    expect(stderr).not.toContain('Business class');
  });

  it('aborts what does not end in time', async () => {
    const { child, url } = await startServer('--drain-timeout-ms', '100');
    const ended = outcome(child);
    const slow = ask(`${url}/v2/rerank`, slowRequest(400));
    await delay(50);
    child.kill('SIGTERM');
    const { status, headers } = await slow;
    expect(status).toBe(503);
    expect(headers.get('retry-after')).toBe('1');
    expect((await ended).status).toBe(0);
  });

  it('reads an index that another process writes, and follows it', async () => {
    const { url } = await startServer('--refresh-ms', '20');
    expect((await get(`${url}/info`)).body.documents).toBe(6);
    const denied = await ask(`${url}/v1/documents`, { documents: [{ id: 'a', text: 'b' }] });
    expect([denied.status, denied.body.error.code]).toEqual([403, 'READ_ONLY']);
    await using writer = await Engine.open(index, { threads: 1 });
    await writer.add([{ id: 'pets', text: 'Dogs may come to the office on Fridays.' }]);
    let found = await get(`${url}/v1/documents/pets`);
    while (found.status === 404) {
      await delay(10);
      found = await get(`${url}/v1/documents/pets`);
    }
    expect(found.body.text).toContain('Dogs');
    const { body } = await ask(`${url}/v1/search`, { query: 'can I bring my dog?', top_k: 1 });
    expect(body.hits[0].id).toBe('pets');
    await writer.delete(['pets']);
  });

  it('takes documents with --writable, and keys from a file', async () => {
    const keys = join(root, 'keys.txt');
    const hash = createHash('sha256').update('s3cret').digest('hex');
    await writeFile(keys, `# who may ask\n${hash.toUpperCase()} the web shop\n`);
    const { url } = await startServer('--writable', '--keys', keys, '--alias', 'x=cross-encoder');
    expect((await get(`${url}/info`)).status).toBe(401);
    const headers = { authorization: 'Bearer s3cret' };
    const documents = [{ id: 'tea', text: 'Tea is free.' }];
    const added = await ask(`${url}/v1/documents`, { documents }, { headers });
    expect(added.body.added).toBe(1);
    const asked = { query: 'what does tea cost?', doc_ids: ['tea'], model: 'x' };
    const { body } = await ask(`${url}/v1/rerank`, asked, { headers });
    expect(body.results[0].stage).toBe('cross-encoder');
    await ask(`${url}/v1/documents/delete`, { ids: ['tea'] }, { headers });
  });

  it('goes on with its other workers when one is killed, and starts another', async () => {
    const { child, url } = await startServer('--workers', '2');
    let log = '';
    child.stderr?.on('data', (data) => {
      log += String(data);
    });
    const ended = outcome(child);
    const pids = new Set<number>();
    while (pids.size < 2) {
      await get(`${url}/livez`, { headers: { connection: 'close' } });
      for (const line of log.split('\n').slice(0, -1)) pids.add(JSON.parse(line).pid as number);
    }
    process.kill([...pids][0] as number, 'SIGKILL');
    const asked = { query: QUESTION, texts: TEXTS };
    while (!log.includes('has died (SIGKILL)')) await delay(5);
    expect((await ask(`${url}/rerank`, asked)).status).toBe(200);
    const counted = async (): Promise<string> => (await get(`${url}/metrics`)).body;
    expect(await counted()).toContain('te_request_count{format="tei",method="rerank"} 1\n');
    child.kill('SIGTERM');
    const { status, stdout } = await ended;
    expect([status, stdout]).toEqual([0, '']);
  });

  it('says what it will not do', async () => {
    const keys = join(root, 'no-keys.txt');
    await writeFile(keys, '# nobody\n');
    const refused = async (...options: string[]): Promise<unknown> => {
      const { status, stderr } = await maxsim('serve', index, '--json', ...options);
      expect(status).toBe(options.includes('--alias') || options.includes('--writable') ? 2 : 1);
      const error = stderr.split('\n').find((line) => line.startsWith('{"error"'));
      return JSON.parse(error as string).error.message;
    };
    expect(await refused('--host', '0.0.0.0')).toContain('Give keys, or insecure: true.');
    expect(await refused('--keys', keys)).toContain('holds no keys');
    expect(await refused('--workers', '2', '--writable')).toContain('an index has one writer');
    expect(await refused('--alias', 'x=magic')).toContain('late-interaction, cross-encoder');
  });
});

/** A port that is in use until it is freed. */
async function takePort(): Promise<{ port: number; free(): Promise<unknown> }> {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  return { port, free: () => new Promise((resolve) => taken.close(resolve)) };
}

describe('serve', () => {
  it('answers that it lives, and is not ready, while it loads', async () => {
    const { port, free } = await takePort();
    await free();
    const starting = serve({ engine: { index, threads: 1 }, port });
    const seen = new Set<number>();
    const url = `http://127.0.0.1:${port}`;
    let refused = 0;
    for (;;) {
      await delay(2);
      const ready = await get(`${url}/readyz`).catch(() => null);
      if (ready === null) continue; // it does not listen yet
      seen.add(ready.status);
      if (ready.status === 200) break;
      const asked = await ask(`${url}/rerank`, { query: 'q', texts: ['a'] });
      if (asked.status !== 503) continue;
      refused += 1;
      expect(asked.body.error_type).toBe('unhealthy');
      expect((await get(`${url}/livez`)).status).toBe(200);
    }
    expect(seen).toEqual(new Set([503, 200]));
    expect(refused).toBeGreaterThan(0);
    await (await starting).close();
  });

  it('does not wait for who has connected and asks nothing, or only half', async () => {
    await using engine = await Engine.open(index, { threads: 1 });
    const server = await serve({ engine, port: 0 });
    const silent = connect(Number(new URL(server.url).port), '127.0.0.1');
    const half = connect(Number(new URL(server.url).port), '127.0.0.1');
    silent.on('error', () => {});
    half.on('error', () => {});
    await Promise.all([once(silent, 'connect'), once(half, 'connect')]);
    half.write('GET /livez HTTP/1.1\r\nHost: 127');
    await get(`${server.url}/livez`); // they have been accepted
    const cut = Promise.all([once(silent, 'close'), once(half, 'close')]);
    await Promise.all([server.close(), cut]); // at once: 30 s are allowed for requests
  }, 20_000);

  it('leaves an engine that it was given open, and closes its own', async () => {
    await using engine = await Engine.open(index, { threads: 1 });
    const server = await serve({ engine, port: 0 });
    await server.close();
    await server.close();
    expect(engine.get('travel')?.id).toBe('travel');
    await engine.close();
    const own = await serve({ engine: { index, mode: 'write', warmUp: false }, port: 0 });
    await expect(Index.open(index, { dim: 96 })).rejects.toMatchObject({ code: 'INDEX_LOCKED' });
    await own.close();
    const again = await Index.open(index, { dim: 96 });
    await again.close();
  });

  it('fails where it cannot listen or open, and leaves nothing behind', async () => {
    const { port, free } = await takePort();
    await expect(serve({ engine: { index, threads: 1 }, port })).rejects.toMatchObject({
      code: 'IO_ERROR',
      message: expect.stringContaining(`Cannot listen on 127.0.0.1, port ${port}`),
    });
    await free();
    const nothing = join(root, 'nothing');
    await expect(serve({ engine: { index: nothing }, port: 0 })).rejects.toMatchObject({
      code: 'NOT_AN_INDEX',
    });
  });

  it.each([
    [{ port: -1 }, 'port must be an integer from 0 to 65535, but -1 was given.'],
    [{ ports: 1 }, 'options has no option "ports"'],
    [{ engine: 'index' }, 'engine must be an Engine, or { index } with options of Engine.open'],
    [{ aliases: { a: 'b' } }, 'aliases.a must be one of late-interaction, cross-encoder'],
    [{ maxDocuments: 2000 }, 'maxDocuments must be an integer from 1 to 1000'],
  ])('refuses %j', async (options, message) => {
    const given = { engine: { index }, ...options } as never;
    await expect(serve(given)).rejects.toThrow(message);
  });
});
