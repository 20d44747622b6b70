import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EncodedText, type Encoder, Engine, MaxSimError } from '../../dist/maxsim.js';

const DIM = 16;

/** One unit vector a word, the same wherever the word stands. */
function vectorsOf(text: string): number[] {
  return text
    .toLowerCase()
    .split(/\W+/)
    .filter((word) => word !== '')
    .flatMap((word) => {
      let state = 2166136261;
      for (const c of word) state = Math.imul(state ^ c.charCodeAt(0), 16777619);
      const vector = Array.from({ length: DIM }, () => {
        state = Math.imul(state ^ (state >>> 15), 2246822519) + 1;
        return (state >>> 0) / 2 ** 32 - 0.5;
      });
      const norm = Math.hypot(...vector);
      return vector.map((x) => x / norm);
    });
}

/** An encoder whose vectors come from a service over HTTP. */
class RemoteEncoder implements Encoder {
  readonly dim = DIM;
  readonly fingerprint = 'words-16';
  readonly recipe = { service: 'words' };
  requests = 0;

  constructor(private readonly url: string) {}

  encodeQueries = (texts: readonly string[], options?: { signal?: AbortSignal | undefined }) =>
    this.encode(texts, options?.signal);
  encodeDocuments = this.encodeQueries;

  private async encode(texts: readonly string[], signal?: AbortSignal): Promise<EncodedText[]> {
    this.requests += 1;
    const response = await fetch(this.url, {
      method: 'POST',
      body: JSON.stringify(texts),
      ...(signal === undefined ? {} : { signal }),
    });
    if (!response.ok) throw new Error(`the service answered ${response.status}`);
    const encoded = (await response.json()) as number[][];
    return encoded.map((values) => ({
      vectors: Float32Array.from(values),
      tokenCount: values.length / DIM,
      truncatedTokens: 0,
    }));
  }
}

let server: Server;
let url: string;
let root: string;
let behaviour: 'well' | 'broken' | 'silent' = 'well';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-own-'));
  server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    if (behaviour === 'silent') return;
    if (behaviour === 'broken') response.writeHead(500).end();
    else response.end(JSON.stringify((JSON.parse(body) as string[]).map(vectorsOf)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(root, { recursive: true, force: true });
});

async function failure(attempt: () => Promise<unknown>): Promise<MaxSimError> {
  try {
    await attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(MaxSimError);
    return error as MaxSimError;
  }
  throw new Error('nothing was thrown');
}

describe('an encoder behind a service', () => {
  it('adds, searches, reranks and explains', async () => {
    const encoder = new RemoteEncoder(url);
    await using engine = await Engine.open(join(root, 'index'), { model: encoder });
    await engine.add([
      { id: 'cat', text: 'the cat sat on the mat' },
      { id: 'dog', text: 'a dog barked all night' },
    ]);
    const { hits } = await engine.search('barked dog', { explain: true });
    expect(hits.map((hit) => hit.id)).toEqual(['dog', 'cat']);
    expect(hits[0]?.score).toBeCloseTo(2, 1);
    const matches = hits[0]?.explanation ?? [];
    expect(matches).toHaveLength(2);
    expect(matches.map((match) => [match.queryToken, match.querySpan])).toEqual([
      ['', null],
      ['', null],
    ]);
    expect((await engine.rerank('mat', ['dog', 'cat'])).hits[0]?.id).toBe('cat');
    expect(encoder.requests).toBeGreaterThan(0);
  });

  it('is not asked about nothing', async () => {
    const encoder = new RemoteEncoder(url);
    await using engine = await Engine.open(join(root, 'vectors'), { model: encoder });
    await engine.add([{ id: 'a', vectors: Float32Array.from(vectorsOf('given')) }]);
    expect(encoder.requests).toBe(0);
  });

  it('fails as ENCODER_FAILED, with its own error behind it, and adds nothing', async () => {
    await using engine = await Engine.open(join(root, 'index'), { model: new RemoteEncoder(url) });
    behaviour = 'broken';
    const error = await failure(() => engine.add([{ id: 'new', text: 'new' }]));
    behaviour = 'well';
    expect(error.code).toBe('ENCODER_FAILED');
    expect(error.message).toContain('the service answered 500');
    expect((error.cause as Error).message).toBe('the service answered 500');
    expect(engine.index.has('new')).toBe(false);
  });

  it('keeps nobody waiting beyond the signal', async () => {
    const deaf = new RemoteEncoder(url);
    const encoder: Encoder = {
      dim: DIM,
      fingerprint: deaf.fingerprint,
      recipe: deaf.recipe,
      encodeQueries: (texts) => deaf.encodeQueries(texts),
      encodeDocuments: (texts) => deaf.encodeDocuments(texts),
    };
    await using engine = await Engine.open(join(root, 'index'), { model: encoder });
    behaviour = 'silent';
    const controller = new AbortController();
    const pending = failure(() => engine.search('dog', { signal: controller.signal }));
    setTimeout(() => controller.abort(), 20);
    expect((await pending).code).toBe('ABORTED');
    behaviour = 'well';
  });
});

describe('what an encoder gives is checked', () => {
  const text = (vectors: unknown) => ({ vectors, tokenCount: 1, truncatedTokens: 0 });
  it.each<[string, unknown, string]>([
    ['nothing', undefined, 'ENCODER_FAILED'],
    ['too few results', [], 'ENCODER_FAILED'],
    ['no result', [null], 'INVALID_VECTORS'],
    ['plain numbers', [text([1, 2])], 'INVALID_VECTORS'],
    ['another type', [text(new Float64Array(DIM))], 'INVALID_VECTORS'],
    ['no vectors', [text(new Float32Array(0))], 'INVALID_VECTORS'],
    ['another dim', [text(new Float32Array(DIM + 1))], 'INVALID_VECTORS'],
    ['NaN', [text(new Float32Array(DIM).fill(Number.NaN))], 'INVALID_VECTORS'],
    [
      'a count that is none',
      [{ ...text(new Float32Array(DIM)), truncatedTokens: 'many' }],
      'INVALID_ARGUMENT',
    ],
  ])('%s', async (name, given, code) => {
    const encoder = {
      dim: DIM,
      fingerprint: 'wrong',
      recipe: {},
      encodeQueries: () => Promise.resolve(given),
      encodeDocuments: () => Promise.resolve(given),
    } as unknown as Encoder;
    await using engine = await Engine.open(join(root, `wrong ${name}`), { model: encoder });
    expect((await failure(() => engine.search('q'))).code).toBe(code);
    expect((await failure(() => engine.add([{ id: 'd', text: 'd' }]))).code).toBe(code);
    expect(engine.index.documentCount).toBe(0);
  });

  it.each<[string, unknown]>([
    ['null', null],
    ['a number', 5],
    ['no dim', { fingerprint: 'x', recipe: {} }],
    ['no methods', { dim: DIM, fingerprint: 'x', recipe: {} }],
  ])('an encoder that is none: %s', async (_, model) => {
    const error = await failure(() => Engine.open(join(root, 'none'), { model: model as Encoder }));
    expect(error.code).toBe('INVALID_ARGUMENT');
  });
});
