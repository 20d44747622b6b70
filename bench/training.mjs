// `npm run bench:training [-- --tokens <n>] [-- --dim <n>] [-- --json]`: how long a residual codec takes
// to learn its centroids and to assign every token of an index to one, on all cores: one commit of that
// many tokens, as unit vectors around cluster centres, into an r4 index.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Index } from '../dist/maxsim.js';
import { loadAddon } from '../dist/runtime/addon.js';
import { machine, random } from './stats.mjs';

const { values: options } = parseArgs({
  options: {
    tokens: { type: 'string', default: '1240000' },
    dim: { type: 'string', default: '128' },
    centroids: { type: 'string', default: '16384' },
    json: { type: 'boolean', default: false },
  },
});
const dim = Number(options.dim);
const centroids = Number(options.centroids);
const DOCUMENT_TOKENS = 240;
const CENTRES = 4096;
const documentCount = Math.ceil(Number(options.tokens) / DOCUMENT_TOKENS);

const next = random(1);
// Sum of uniforms: near enough to a normal distribution.
const normal = () => next() + next() + next() - 1.5;
const centres = Float32Array.from({ length: CENTRES * dim }, normal);
const documents = Array.from({ length: documentCount }, (_, i) => {
  const vectors = new Float32Array(DOCUMENT_TOKENS * dim);
  for (let at = 0; at < vectors.length; at += dim) {
    const centre = Math.floor(next() * CENTRES) * dim;
    let squares = 0;
    for (let d = 0; d < dim; d++) {
      const value = centres[centre + d] + 0.6 * normal();
      vectors[at + d] = value;
      squares += value * value;
    }
    for (let d = 0; d < dim; d++) vectors[at + d] /= Math.sqrt(squares);
  }
  return { id: `document-${i}`, vectors };
});

/** @param {() => Promise<unknown>} run */
async function seconds(run) {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1000;
}

const directory = await mkdtemp(join(tmpdir(), 'maxsim-training-'));
try {
  const vectors = documents.map((document) => document.vectors);
  const learnSeconds = await seconds(() =>
    loadAddon().trainCodebook(vectors, { bits: 4, dim, centroids, seed: 0 }),
  );
  const index = await Index.open(directory, { dim, codec: { name: 'r4', centroids } });
  const commitSeconds = await seconds(() => index.add(documents));
  const { tokens, bytes, sizeBytes } = index.stats();
  await index.close();
  const report = {
    machine: machine(),
    tokens,
    dim,
    centroids,
    learnSeconds,
    commitSeconds,
    bytesPerToken: (sizeBytes - bytes.records) / tokens,
  };
  if (options.json) console.log(JSON.stringify(report));
  else {
    console.log(
      `${tokens} tokens of dim ${dim}, ${centroids} centroids, ${report.machine.cores} cores: learned in ${learnSeconds.toFixed(1)} s; one commit, which learns, assigns, encodes and writes: ${commitSeconds.toFixed(1)} s; ${report.bytesPerToken.toFixed(2)} bytes a token, all included`,
    );
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
