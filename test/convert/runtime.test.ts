import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { ModelEncoder } from '../../dist/encode/encoder.js';
import { newPool } from '../../dist/encoder.js';
import { type EncoderOptions, type ModelOptions, openEncoder } from '../../dist/maxsim.js';
import { CrossEncoder } from '../../dist/rerank/cross-encoder.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import type { EncodedText } from '../../dist/types.js';

const golden = (name: string): string =>
  fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
const TEXTS = ['a stolen laptop', 'Report a stolen laptop to the security desk within two hours.'];
/** By CPU: 'auto' takes the native encoder where it is the faster one. */
const AUTO = ['avx512', 'avxvnni'].includes(loadAddon().encoderKernels()) ? 'native' : 'onnx';

const { MAXSIM_CACHE } = process.env;
const directory = mkdtempSync(join(tmpdir(), 'maxsim-runtime-'));
let cache = directory;
function freshCache(): void {
  cache = mkdtempSync(join(directory, 'cache-'));
  process.env['MAXSIM_CACHE'] = cache;
}
beforeAll(freshCache);
afterAll(() => {
  if (MAXSIM_CACHE === undefined) delete process.env['MAXSIM_CACHE'];
  else process.env['MAXSIM_CACHE'] = MAXSIM_CACHE;
  rmSync(directory, { recursive: true, force: true });
});

const encoders = 'encoders';
const files = (): string[] =>
  existsSync(join(cache, encoders))
    ? readdirSync(join(cache, encoders)).filter((name) => !name.endsWith('.lock'))
    : [];

/** Encodes on as many threads as there are texts, and says what ran. */
async function encode(model: string | ModelOptions, options: EncoderOptions) {
  const pool = newPool({ threads: 2, ...options });
  try {
    const encoder = await ModelEncoder.open(model, pool);
    await encoder.warmUp();
    const encoded = await encoder.encodeDocuments(TEXTS);
    return { encoded, fingerprint: encoder.fingerprint, models: pool.stats().models };
  } finally {
    await pool.close();
  }
}

function leastCosine(a: readonly EncodedText[], b: readonly EncodedText[], dim: number): number {
  let least = 1;
  for (const [t, { vectors }] of a.entries()) {
    const other = b[t]?.vectors as Float32Array;
    expect(vectors.length).toBe(other.length);
    for (let at = 0; at < vectors.length; at += dim) {
      let product = 0;
      for (let i = at; i < at + dim; i++) product += (vectors[i] as number) * (other[i] as number);
      least = Math.min(least, product);
    }
  }
  return least;
}

it('both runtimes give a model its vectors, under one fingerprint', async () => {
  const native = await encode('default', { runtime: 'native' });
  const onnx = await encode('default', { runtime: 'onnx' });
  expect(native.models).toMatchObject([{ runtime: 'native', why: null }]);
  expect(onnx.models).toMatchObject([{ runtime: 'onnx', why: null }]);
  expect(native.fingerprint).toBe(onnx.fingerprint);
  expect(native.encoded).not.toEqual(onnx.encoded);
  expect(leastCosine(native.encoded, onnx.encoded, 96)).toBeGreaterThan(0.99);
}, 20_000);

it('the embedded models run natively unless told otherwise, converted once by all threads', async () => {
  freshCache();
  const first = await encode('default', {});
  expect(first.models).toMatchObject([{ runtime: AUTO }]);
  if (AUTO === 'onnx') {
    expect(first.models[0]?.why).toContain('VNNI');
    return;
  }
  const [file, ...others] = files();
  expect(others).toEqual([]);
  const path = join(cache, encoders, file as string);
  const { mtimeMs, ino } = statSync(path);
  const second = await encode('default', {});
  expect(second.encoded).toEqual(first.encoded);
  expect(statSync(path)).toMatchObject({ mtimeMs, ino });
}, 20_000);

it('a damaged file is made anew, over what a killed process left', async () => {
  const first = await encode('default', { runtime: 'native' });
  const names = files();
  const path = join(cache, encoders, names[0] as string);
  const bytes = readFileSync(path);
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
  writeFileSync(`${path}.partial`, 'MAXSIM'.repeat(7_000_000));
  const second = await encode('default', { runtime: 'native' });
  expect(second.models).toMatchObject([{ runtime: 'native' }]);
  expect(second.encoded).toEqual(first.encoded);
  expect(files()).toEqual(names);
}, 20_000);

it('weights that would be rounded stay with onnxruntime, without a word', async () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const { models } = await encode(golden('encoders/pylate-bert'), {});
  expect(models[0]).toMatchObject({ runtime: 'onnx' });
  if (AUTO === 'native') expect(models[0]?.why).toContain('float32');
  expect(warn).not.toHaveBeenCalled();
  warn.mockRestore();
});

it('a graph that cannot be converted falls back with one warning, and is not tried again', async () => {
  freshCache();
  const model = join(directory, 'int8');
  cpSync(golden('encoders/pylate-bert'), model, { recursive: true });
  cpSync(golden('forms/model_int8.onnx'), join(model, 'model.onnx'));
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  await encode(model, {});
  const { models } = await encode(model, {});
  expect(models[0]?.runtime).toBe('onnx');
  if (AUTO === 'native') {
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]?.[0]).toMatch(/model\.onnx is run by onnxruntime: .*heads/);
    expect(files()).toEqual([expect.stringMatching(/\.exact\.refused$/)]);
  }
  warn.mockRestore();
  await expect(encode(model, { runtime: 'native' })).rejects.toMatchObject({
    code: 'INVALID_MODEL',
    message: expect.stringContaining("The runtime 'auto' takes onnxruntime."),
  });
});

it('without a place for its file, onnxruntime takes over', async () => {
  const file = join(directory, 'no-folder');
  writeFileSync(file, '');
  process.env['MAXSIM_CACHE'] = file;
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const { models } = await encode('default', {});
  expect(models[0]?.runtime).toBe('onnx');
  if (AUTO === 'native') expect(models[0]?.why).toContain('MAXSIM_CACHE');
  warn.mockRestore();
  process.env['MAXSIM_CACHE'] = cache;
});

it('a cross-encoder scores pairs of all lengths as it does alone', async () => {
  const pool = newPool({ threads: 1, runtime: 'native' });
  const crossEncoder = await CrossEncoder.open('default', pool);
  const documents = [...TEXTS, 'The canteen opens at noon.', 'laptop '.repeat(200)];
  const together = await crossEncoder.score('my computer was taken', documents);
  const alone: number[] = [];
  for (const document of documents)
    alone.push(...(await crossEncoder.score('my computer was taken', [document])));
  expect([...together]).toEqual(alone);
  expect(Math.min(...together)).toBe(together[2]);
  expect(pool.stats().models).toMatchObject([{ runtime: 'native' }]);
  await pool.close();
}, 20_000);

it('work that nobody waits for ends, and the thread goes on', async () => {
  const encoder = await openEncoder('default', { threads: 1, runtime: 'native' });
  const [before] = await encoder.encodeQueries(['who pays?']);
  const abort = new AbortController();
  const long = Array.from({ length: 40 }, (_, i) => `${i} late interaction `.repeat(100));
  const encoding = encoder.encodeDocuments(long, { signal: abort.signal });
  setTimeout(() => abort.abort(), 30);
  await expect(encoding).rejects.toMatchObject({ code: 'ABORTED' });
  const [after] = await encoder.encodeQueries(['who pays?']);
  expect(after).toEqual(before);
  await encoder.close();
}, 20_000);

it('refuses runtimes that there are not', async () => {
  const runtime = 'cuda' as 'onnx';
  const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('"cuda"') };
  await expect(openEncoder('default', { runtime })).rejects.toMatchObject(refused);
  process.env['MAXSIM_RUNTIME'] = 'cuda';
  await expect(openEncoder('default')).rejects.toMatchObject(refused);
  delete process.env['MAXSIM_RUNTIME'];
});
