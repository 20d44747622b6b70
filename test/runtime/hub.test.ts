import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { MaxSimError } from '../../dist/errors.js';
import { openEncoder } from '../../dist/maxsim.js';
import { pullModel } from '../../dist/runtime/hub.js';

/** A hub on loopback: its API, and a second server that large files are redirected to. */
const ID = 'tiny/model';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const source = fileURLToPath(new URL('../golden/encoders/pylate-bert', import.meta.url));

type File = { path: string; bytes: Buffer; lfs: boolean };

function filesOf(folder: string): File[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const full = join(entry.parentPath, entry.name);
      const path = relative(folder, full).replaceAll('\\', '/');
      return { path, bytes: readFileSync(full), lfs: /\.(onnx|safetensors)$/.test(path) };
    });
}

type Seen = {
  url: string;
  range: string | undefined;
  token: string | undefined;
  host: 'hub' | 'cdn';
};

let hub: Server;
let cdn: Server;
let files: File[];
let seen: Seen[] = [];
let license = 'apache-2.0';
/** What happens instead; undefined: nothing does. */
let mishap: ((request: IncomingMessage, response: ServerResponse) => unknown) | null = null;
let root: string;

const url = (server: Server): string =>
  `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = decodeURIComponent(request.url?.split('?')[0] ?? '');
  const json = (value: unknown): unknown => response.end(JSON.stringify(value));
  if (mishap?.(request, response) !== undefined) return;
  if (path === `/api/models/${ID}/revision/main`)
    json({ _id: '1', id: ID, sha: COMMIT, cardData: { license } });
  else if (path === `/api/models/${ID}/tree/${COMMIT}`) {
    json(
      files.map(({ path: name, bytes, lfs }) => ({
        type: 'file',
        path: name,
        size: bytes.length,
        oid: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
        ...(lfs && {
          lfs: {
            oid: createHash('sha256').update(bytes).digest('hex'),
            size: bytes.length,
            pointerSize: 130,
          },
        }),
      })),
    );
  } else if (path.startsWith(`/${ID}/resolve/${COMMIT}/`)) {
    const file = files.find(({ path: name }) => path.endsWith(`/${COMMIT}/${name}`));
    if (file === undefined) response.writeHead(404).end();
    else if (file.lfs) response.writeHead(302, { location: `${url(cdn)}/${file.path}` }).end();
    else response.end(file.bytes);
  } else
    response
      .writeHead(404, { 'content-type': 'application/json' })
      .end('{"error":"Repository not found"}');
}

function deliver(request: IncomingMessage, response: ServerResponse): void {
  if (mishap?.(request, response) !== undefined) return;
  const { bytes } = files.find(({ path }) => request.url === `/${path}`) as File;
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  response.writeHead(from > 0 ? 206 : 200);
  response.end(bytes.subarray(from));
}

async function listen(
  host: Seen['host'],
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<Server> {
  const server = createServer((request, response) => {
    const { range, authorization } = request.headers;
    seen.push({ url: request.url ?? '', range, token: authorization, host });
    handle(request, response);
  });
  // Two names of one machine are two hosts.
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const before = { ...process.env };

beforeAll(async () => {
  hub = await listen('hub', answer);
  cdn = await listen('cdn', deliver);
});

beforeEach(async () => {
  files = filesOf(source);
  seen = [];
  license = 'apache-2.0';
  mishap = null;
  root = await mkdtemp(join(tmpdir(), 'maxsim-hub-'));
  process.env['HF_ENDPOINT'] = url(hub);
  process.env['MAXSIM_CACHE'] = root;
  delete process.env['HF_TOKEN'];
  delete process.env['HF_HUB_OFFLINE'];
  return () => rm(root, { recursive: true, force: true });
});

afterAll(() => {
  process.env = before;
  for (const server of [hub, cdn]) {
    server.closeAllConnections();
    server.close();
  }
});

async function failure(attempt: Promise<unknown>): Promise<MaxSimError> {
  return await attempt.then(
    () => {
      throw new Error('nothing was thrown');
    },
    (error: unknown) => error as MaxSimError,
  );
}

const graph = (): File => files.find(({ path }) => path === 'model.onnx') as File;

it('fetches what a model needs, says how far it is, and the model works', async () => {
  const progress: number[] = [];
  const pulled = await pullModel(ID, { onProgress: ({ doneBytes }) => progress.push(doneBytes) });
  expect(pulled).toMatchObject({ id: ID, commit: COMMIT, license: 'apache-2.0' });
  expect(Object.keys(pulled.files)).toEqual(
    expect.arrayContaining([
      'model.onnx',
      'tokenizer.json',
      '1_Dense/model.safetensors',
      'modules.json',
    ]),
  );
  expect(Object.keys(pulled.files)).not.toContain('expected.json');
  const total = Object.values(pulled.files).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(pulled.loadedBytes).toBe(total);
  expect(progress.at(-1)).toBe(total);
  expect([...progress].sort((a, b) => a - b)).toEqual(progress);
  expect(pulled.files['model.onnx']?.sha256).toBe(
    createHash('sha256').update(graph().bytes).digest('hex'),
  );
  await using encoder = await openEncoder(ID, { threads: 1 });
  const [encoded] = await encoder.encodeQueries(['a stolen laptop']);
  expect(encoded?.tokenCount).toBe(16);
});

it('asks for no file again that is there', async () => {
  await pullModel(ID);
  seen = [];
  expect((await pullModel(ID)).loadedBytes).toBe(0);
  expect(seen.every(({ url: path }) => path.startsWith('/api/'))).toBe(true);
});

it('goes on where a connection was cut, within one pull and in the next', async () => {
  const { bytes } = graph();
  const half = Math.floor(bytes.length / 2);
  let cuts = 0;
  mishap = (request, response) => {
    if (request.url !== '/model.onnx' || request.headers.range !== undefined) return undefined;
    cuts += 1;
    response.writeHead(200, { 'content-length': String(bytes.length) });
    response.write(bytes.subarray(0, half), () => response.destroy());
    return true;
  };
  const pulled = await pullModel(ID);
  expect(cuts).toBe(1);
  const asked = seen.filter(({ url: path }) => path === '/model.onnx').map(({ range }) => range);
  expect(asked).toEqual([undefined, `bytes=${half}-`]);
  expect(pulled.files['model.onnx']?.sizeBytes).toBe(bytes.length);
});

it('keeps what was loaded when it is aborted, and goes on from there', async () => {
  const { bytes } = graph();
  const half = Math.floor(bytes.length / 2);
  const controller = new AbortController();
  mishap = (request, response) => {
    if (request.url !== '/model.onnx') return undefined;
    response.writeHead(200, { 'content-length': String(bytes.length) });
    response.write(bytes.subarray(0, half));
    return true; // and then nothing
  };
  const pending = failure(
    pullModel(ID, {
      signal: controller.signal,
      onProgress: ({ file, doneBytes }) => {
        if (file === 'model.onnx' && doneBytes >= half) controller.abort();
      },
    }),
  );
  expect((await pending).code).toBe('ABORTED');
  mishap = null;
  seen = [];
  await pullModel(ID);
  const [request] = seen.filter(({ url: path }) => path === '/model.onnx');
  expect(request?.range).toBe(`bytes=${half}-`);
});

it('never takes bytes of another checksum for the model', async () => {
  mishap = (request, response) =>
    request.url === '/model.onnx' ? response.end(Buffer.alloc(graph().bytes.length, 7)) : undefined;
  const error = await failure(pullModel(ID));
  expect(error).toMatchObject({ code: 'DOWNLOAD_FAILED', details: { file: 'model.onnx' } });
  expect(error.message).toContain('checksum');
  expect(existsSync(join(root, 'models', 'tiny--model'))).toBe(false);
}, 15_000);

describe('a token', () => {
  it('goes to the hub, and not to where it redirects', async () => {
    process.env['HF_TOKEN'] = 'hf_secret';
    await pullModel(ID);
    const tokens = (host: Seen['host']) =>
      new Set(seen.filter((request) => request.host === host).map(({ token }) => token));
    expect(tokens('hub')).toEqual(new Set(['Bearer hf_secret']));
    expect(tokens('cdn')).toEqual(new Set([undefined]));
  });

  it('is what a gated repository asks for, and is not said', async () => {
    process.env['HF_TOKEN'] = 'hf_secret';
    mishap = (_, response) => response.writeHead(401).end('{"error":"gated"}');
    const error = await failure(pullModel(ID));
    expect(error).toMatchObject({ code: 'DOWNLOAD_FAILED', details: { status: 401 } });
    expect(error.message).toContain('HF_TOKEN');
    expect(error.message).not.toContain('hf_secret');
  });
});

it.each([429, 500, 503])('%i is tried again', async (status) => {
  let times = 0;
  mishap = (_, response) => (times++ === 0 ? response.writeHead(status).end() : undefined);
  expect((await pullModel(ID)).commit).toBe(COMMIT);
});

it('a repository that is none: DOWNLOAD_FAILED, with the nearest names', async () => {
  const error = await failure(pullModel('someone/colbert-v2'));
  expect(error).toMatchObject({ code: 'DOWNLOAD_FAILED', details: { status: 404 } });
  expect((await failure(pullModel('no-such-model'))).code).toBe('MODEL_NOT_FOUND');
  expect((await failure(pullModel('bge-reranker-large-v2'))).message).toContain(
    'bge-reranker-large',
  );
});

it('a repository without a graph: which it has instead', async () => {
  files = files.map((file) =>
    file.path === 'model.onnx' ? { ...file, path: 'onnx/model_int8.onnx' } : file,
  );
  const error = await failure(pullModel(ID));
  expect(error.message).toContain('onnx/model_int8.onnx');
  const pulled = await pullModel(ID, { file: 'onnx/model_int8.onnx' });
  expect(Object.keys(pulled.files)).toContain('onnx/model_int8.onnx');
});

it('keeps the other graphs of the same commit', async () => {
  files.push({ ...graph(), path: 'onnx/model_int8.onnx' });
  await pullModel(ID);
  const pulled = await pullModel(ID, { file: 'onnx/model_int8.onnx' });
  expect(Object.keys(pulled.files)).toEqual(
    expect.arrayContaining(['model.onnx', 'onnx/model_int8.onnx']),
  );
  expect(existsSync(join(pulled.directory, 'model.onnx'))).toBe(true);
});

it('takes nothing along of a pull that was cut and came to nothing', async () => {
  files.push({ ...graph(), path: 'onnx/model_int8.onnx' });
  mishap = ({ url: path }, response) =>
    path === '/1_Dense/model.safetensors' ? response.writeHead(404).end() : undefined;
  await failure(pullModel(ID, { file: 'onnx/model_int8.onnx' }));
  mishap = null;
  const staging = join(root, 'models', 'tiny--model.partial');
  await mkdir(join(staging, 'onnx'), { recursive: true });
  await writeFile(join(staging, 'onnx', 'model_int8.onnx'), graph().bytes);
  await writeFile(join(staging, 'model.onnx.0123456789abcdef.part'), 'of another commit');
  const { directory, files: pulled } = await pullModel(ID);
  const there = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  expect(there.sort()).toEqual([...Object.keys(pulled), 'maxsim-model.json'].sort());
});

it('two pulls at once load once', async () => {
  const [one, two] = await Promise.all([pullModel(ID), pullModel(ID)]);
  expect(Math.min(one.loadedBytes, two.loadedBytes)).toBe(0);
  expect(seen.filter(({ url: path }) => path === '/model.onnx')).toHaveLength(1);
});

it('weights for no commercial use need leave, to fetch and to load', async () => {
  license = 'cc-by-nc-4.0';
  const error = await failure(pullModel(ID));
  expect(error).toMatchObject({ code: 'LICENSE_REFUSED', details: { license } });
  await pullModel(ID, { allowNonCommercial: true });
  expect((await failure(openEncoder(ID))).code).toBe('LICENSE_REFUSED');
  await using encoder = await openEncoder({ model: ID, allowNonCommercial: true });
  expect(encoder.dim).toBe(16);
  expect((await failure(pullModel('jina-colbert-v2'))).code).toBe('LICENSE_REFUSED');
});

it('offline says what is missing and where it would be', async () => {
  process.env['HF_HUB_OFFLINE'] = '1';
  const error = await failure(pullModel(ID));
  expect(error.message).toContain(join(root, 'models', 'tiny--model'));
  expect(seen).toEqual([]);
  const missing = await failure(openEncoder(ID));
  expect(missing.code).toBe('MODEL_NOT_FOUND');
  expect(missing.message).toContain(`maxsim models pull ${ID}`);
});

it('a hub that cannot be reached: DOWNLOAD_FAILED with the reason', async () => {
  process.env['HF_ENDPOINT'] = 'http://127.0.0.1:9';
  const error = await failure(pullModel(ID));
  expect(error.code).toBe('DOWNLOAD_FAILED');
  expect(error.message).toContain('127.0.0.1:9');
}, 15_000);

it('fetches the weights that lie beside a graph', async () => {
  files.push({ path: 'model.onnx_data', bytes: Buffer.alloc(64, 1), lfs: true });
  files.push({ path: 'other.onnx_data', bytes: Buffer.alloc(64, 2), lfs: true });
  const fetched = Object.keys((await pullModel(ID)).files);
  expect(fetched).toContain('model.onnx_data');
  expect(fetched).not.toContain('other.onnx_data');
});

it('a licence that has a name only on the hub is read', async () => {
  mishap = (request, response) =>
    request.url?.startsWith(`/api/models/${ID}/revision/`)
      ? response.end(
          JSON.stringify({
            _id: '1',
            id: ID,
            sha: COMMIT,
            cardData: { license: 'other', license_name: 'cc-by-nc-4.0' },
          }),
        )
      : undefined;
  expect((await failure(pullModel(ID))).code).toBe('LICENSE_REFUSED');
});

it('a cache that cannot be written: IO_ERROR with the path', async () => {
  await writeFile(join(root, 'models'), 'a file');
  const error = await failure(pullModel(ID));
  expect(error.code).toBe('IO_ERROR');
  expect(error.message).toContain(join(root, 'models'));
});

it('a lock whose process has died holds nobody up', async () => {
  const lock = join(root, 'models', 'tiny--model.lock');
  await mkdir(join(root, 'models'));
  await writeFile(lock, '');
  const old = new Date(Date.now() - 60_000);
  await utimes(lock, old, old);
  expect((await pullModel(ID)).commit).toBe(COMMIT);
  expect(existsSync(lock)).toBe(false);
});

it('a Stanford checkpoint comes with the weights that hold its projection', async () => {
  files = filesOf(fileURLToPath(new URL('../golden/encoders/stanford', import.meta.url)));
  const pulled = await pullModel(ID);
  expect(Object.keys(pulled.files)).toContain('model.safetensors');
  await using encoder = await openEncoder(ID, { threads: 1 });
  expect(encoder.dim).toBe(16);
});
