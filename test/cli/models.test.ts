import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { maxsim } from './run.js';

const LATE = 'answerai-colbert-small-v1-int8-pca96';
const ID = 'tiny/model';
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const source = fileURLToPath(new URL('../golden/encoders/pylate-bert', import.meta.url));

let cache: string;
let hub: Server;

/** A hub with one repository, all of whose files are small ones. */
function createHub(): Server {
  const paths = readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(source, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
  return createServer((request, response) => {
    const path = decodeURIComponent(request.url?.split('?')[0] ?? '');
    const file = paths.find((one) => path === `/${ID}/resolve/${COMMIT}/${one}`);
    if (file !== undefined) response.end(readFileSync(join(source, file)));
    else if (path === `/api/models/${ID}/revision/main`)
      response.end(JSON.stringify({ _id: '1', id: ID, sha: COMMIT, cardData: { license: 'mit' } }));
    else if (path === `/api/models/${ID}/tree/${COMMIT}`)
      response.end(JSON.stringify(paths.map(describeFile)));
    else response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"none"}');
  });
}

function describeFile(path: string): object {
  const bytes = readFileSync(join(source, path));
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  return { type: 'file', path, size: bytes.length, oid };
}

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'maxsim-models-'));
  hub = createHub().listen(0, '127.0.0.1');
  await once(hub, 'listening');
  vi.stubEnv('MAXSIM_CACHE', cache);
  vi.stubEnv('MAXSIM_MODELS', '');
  vi.stubEnv('HF_HUB_OFFLINE', '');
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(hub.address() as AddressInfo).port}`);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  hub.closeAllConnections();
  hub.close();
  await rm(cache, { recursive: true, force: true });
});

it('list says what there is, of which licence, and what is here', async () => {
  const [{ stdout }, crossEncoders, wrong] = await Promise.all([
    maxsim('models', 'list'),
    maxsim('models', 'list', '--kind', 'cross-encoder', '--json'),
    maxsim('models', 'list', '--kind', 'sparse'),
  ]);
  expect(stdout).toMatch(
    new RegExp(`^${LATE} +late-interaction .* in the package, 33.8 MiB$`, 'm'),
  );
  expect(stdout).toMatch(/^jina-colbert-v2 .* 128, 96, 64 .* CC-BY-NC-4.0 +BEIR nDCG@10 0.531$/m);
  expect(stdout).toMatch(/^bge-reranker-v2-m3 .* MTEB\(eng, v2\) retrieval nDCG@10 0.553$/m);
  const rows = crossEncoders.json() as unknown as { kind: string; directory: string | null }[];
  expect(new Set(rows.map(({ kind }) => kind))).toEqual(new Set(['cross-encoder']));
  expect(rows.filter(({ directory }) => directory !== null)).toHaveLength(1);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toContain('late-interaction, cross-encoder, dense');
});

it('show says how a model is read, and what is known of one that is not here', async () => {
  const [here, cut, elsewhere, wrong] = await Promise.all([
    maxsim('models', 'show', 'default'),
    maxsim('models', 'show', 'default', '--model-option', 'dim=64', '--json'),
    maxsim('models', 'show', 'LateOn'),
    maxsim('models', 'show', 'bge-reranker-large-v2'),
  ]);
  expect(here.stdout).toMatch(/^query marker +"\[unused0\]" \(id 1\)$/m);
  expect(here.stdout).toMatch(/^fingerprint +[0-9a-f]{32}$/m);
  expect(cut.json()).toMatchObject({ recipe: { dim: 64 }, pulled: false });
  expect(elsewhere.stdout).toMatch(/^folder +not here: maxsim models pull LateOn$/m);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toMatch(/MODEL_NOT_FOUND.*Did you mean bge-reranker-large/);
});

it('a pulled model is listed by doctor, shown, and works by its name', async () => {
  const pulled = await maxsim('models', 'pull', ID, '--json');
  expect(pulled.json()).toMatchObject({ id: ID, commit: COMMIT, license: 'mit' });
  expect(pulled.stderr).toMatch(/"event":"progress","bytes":\d+,"total":\d+/);
  const passages = join(cache, 'passages');
  await mkdir(passages);
  await writeFile(join(passages, 'one.txt'), 'A stolen laptop must be reported.');
  const [again, shown, indexed, doctor] = await Promise.all([
    maxsim('models', 'pull', ID),
    maxsim('models', 'show', ID, '--json'),
    maxsim('index', join(cache, 'index'), passages, '--model', ID, '--json'),
    maxsim('doctor', '--json'),
  ]);
  expect(again.stdout).toMatch(/^loaded +nothing: all was here$/m);
  expect(shown.json()).toMatchObject({ pulled: true, recipe: { layout: 'pylate', dim: 16 } });
  expect(indexed.status).toBe(0);
  expect(doctor.json()).toMatchObject({
    otherModels: [{ name: ID, directory: join(cache, 'models', 'tiny--model') }],
  });
});

it('pull refuses in words what it cannot or must not fetch', async () => {
  const refusals: [string, RegExp][] = [
    ['default', /INVALID_ARGUMENT.*is in the package/],
    ['jina-colbert-v2', /LICENSE_REFUSED.*--allow-non-commercial/],
    ['tiny/other', /DOWNLOAD_FAILED.*no such repository/],
    ['bge-reranker-base-v2', /MODEL_NOT_FOUND.*Did you mean bge-reranker-base/],
  ];
  await Promise.all(
    refusals.map(async ([name, words]) => {
      const { status, stderr } = await maxsim('models', 'pull', name);
      expect(status).toBe(1);
      expect(stderr).toMatch(words);
    }),
  );
  expect(existsSync(join(cache, 'models', 'tiny--other'))).toBe(false);
});
