// The native encoder beside onnxruntime on the same ONNX file, in turn in one process, one thread:
//   npm run bench:encoder -- [--threads N] <model folder> ...
// Without a folder: the two models that come with maxsim. `encoder_bench` (native/bench/encoder.cpp)
// says which share of the CPU's peak that is.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ort from 'onnxruntime-node';
import { convertModel } from '../../dist/convert/convert.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import { quantile } from '../stats.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { threads: { type: 'string', default: '1' } },
});
const threads = Number(values.threads);
const shipped = ['answerai-colbert-small-v1-int8-pca96', 'ms-marco-MiniLM-L-12-v2-int8'].map(
  (name) => fileURLToPath(new URL(`../../models/${name}`, import.meta.url)),
);
const folders = positionals.length > 0 ? positionals : shipped;

// Ids that spread over the vocabulary: which ones does not matter for the time.
/** @param {number} tokens */
const idsOf = (tokens) => Array.from({ length: tokens }, (_, i) => 2000 + ((i * 7919) % 20000));
const batches = [8, 16, 32, 64, 128, 256, 300].map((tokens) => ({ texts: 1, tokens }));
batches.push({ texts: 8, tokens: 64 }, { texts: 30, tokens: 100 });

/** @param {number[]} times */
const median = (times) => quantile(times, 0.5);

/** @param {string} folder @param {string} directory */
async function compare(folder, directory) {
  const graph = join(folder, 'model.onnx');
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const samples = [64, 100, 30].map((n) => ({
    ids: Uint32Array.from(idsOf(n)),
    types: new Uint32Array(),
  }));
  const to = join(directory, 'encoder');
  const heads = config.num_attention_heads;
  await convertModel({ graph, to, heads, epsilon: config.layer_norm_eps, samples });
  const native = await loadAddon().openEncoder(to);
  const session = await ort.InferenceSession.create(graph, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  console.log(`${folder}: medians (shortest) in ms, ${threads} thread(s)`);
  for (const { texts, tokens } of batches) {
    const ids = Array.from({ length: texts }, () => idsOf(tokens)).flat();
    /** @param {number[]} of */
    const tensor = (of) =>
      new ort.Tensor(
        'int64',
        BigInt64Array.from(of, (value) => BigInt(value)),
        [texts, tokens],
      );
    /** @type {Record<string, ort.Tensor>} */
    const all = {
      input_ids: tensor(ids),
      attention_mask: tensor(ids.map(() => 1)),
      token_type_ids: tensor(ids.map(() => 0)),
    };
    const feeds = Object.fromEntries(
      session.inputNames.map((name) => [name, /** @type {ort.Tensor} */ (all[name])]),
    );
    const lengths = new Uint32Array(texts).fill(tokens);
    const none = new Uint32Array();
    const packed = { ids: Uint32Array.from(ids), types: none, lengths, attended: none };
    /** @type {number[]} */
    const own = [];
    /** @type {number[]} */
    const other = [];
    const rounds = Math.min(60, Math.max(7, Math.floor(3000 / ids.length)));
    for (let round = 0; round <= rounds; round++) {
      const start = performance.now();
      native.encode(packed, threads);
      const between = performance.now();
      await session.run(feeds);
      if (round === 0) continue; // the first of each grows buffers
      own.push(between - start);
      other.push(performance.now() - between);
    }
    /** @param {number[]} times */
    const shortest = (times) => Math.min(...times);
    /** @param {number[]} times */
    const show = (times) => `${median(times).toFixed(2)} (${shortest(times).toFixed(2)})`;
    console.log(
      `  ${String(texts).padStart(2)} x ${String(tokens).padStart(3)}: native ${show(own)}, ` +
        `onnxruntime ${show(other)}: ${(median(other) / median(own)).toFixed(2)}x ` +
        `(${(shortest(other) / shortest(own)).toFixed(2)}x)`,
    );
  }
}

const directory = mkdtempSync(join(tmpdir(), 'maxsim-native-encoder-'));
try {
  console.log(`kernels: ${loadAddon().encoderKernels()}`);
  for (const folder of folders) await compare(folder, directory);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
