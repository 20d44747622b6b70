// A system: MaxSim called from Node. In: the data folder with its indexes, and where sweet-search's
// addon is ('' if nowhere). Measures `index.score` (ids in, scores out), the addon's `snapshot.score`
// (refs in), MaxSim in plain typed arrays, as one would write it and with four sums in flight, and
// sweet-search's addon.
//
// Called of sweet-search: maxsimScoreBatchPertoken, documents as int8 codes with a scale and an offset
// per token, and maxsimScoreBatch4Bit, the same with 4 bits. Their scores are the mean over the query
// tokens of the best cosine: times 32 they are comparable.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Index, prepareQuery } from '../dist/maxsim.js';
import { loadAddon } from '../dist/runtime/addon.js';
import { DIM, DOCUMENT_TOKENS } from './data.mjs';
import { documentId, INDEX_CODECS, INDEX_DOCUMENTS, readManifest } from './index-data.mjs';
import { plainMaxSim, unrolledMaxSim } from './plain-maxsim.mjs';
import { serve } from './serve.mjs';
import { affineCodes } from './sweet-search.mjs';

const [folder = '', sweetSearch = ''] = process.argv.slice(2);
const QUERY_TOKENS = 32;

/** @param {string} name */
function floats(name) {
  const { buffer, byteOffset, length } = readFileSync(join(folder, name));
  return new Float32Array(buffer.slice(byteOffset, byteOffset + length));
}

const query = floats('query.f32').subarray(0, QUERY_TOKENS * DIM);
const tokens = floats('tokens.f32');
const documents = Array.from({ length: INDEX_DOCUMENTS }, (_, i) =>
  tokens.slice(i * DOCUMENT_TOKENS * DIM, (i + 1) * DOCUMENT_TOKENS * DIM),
);
const shape = { dim: DIM, tokens: DOCUMENT_TOKENS, queryTokens: QUERY_TOKENS, threads: 1 };
/** @type {(import('./system.mjs').Measurement & import('./serve.mjs').Work)[]} */
const all = [];

const prepared = prepareQuery(query, DIM);
for (const codec of INDEX_CODECS) {
  const index = await Index.open(join(folder, codec), { mode: 'read' });
  const ids = documents.map((_, i) => documentId(i));
  all.push({
    ...shape,
    name: `index.score ${codec}`,
    kind: 'node',
    call: 'index.score',
    codec,
    docs: ids.length,
    warm: true,
    run: () => index.score(prepared, ids),
    scores: () => index.score(prepared, ids).scores,
  });
}

const { codec, segments } = await readManifest(join(folder, 'int8'));
const snapshot = await loadAddon().openSnapshot(
  join(folder, 'int8'),
  { codec: 'int8', scale: codec.scale, dim: DIM, segments },
  null,
);
for (const docs of [10, 100]) {
  const refs = Uint32Array.from({ length: docs }, (_, i) => i);
  const counts = Uint32Array.of(docs);
  const queries = [prepared.handle];
  all.push({
    ...shape,
    name: `snapshot.score int8 ${docs}`,
    kind: 'node',
    call: 'snapshot.score',
    codec: 'int8',
    docs,
    warm: true,
    run: () => snapshot.score(queries, refs, counts),
    scores: () => snapshot.score(queries, refs, counts),
  });
}

const peer = { ...shape, kind: 'peer', codec: 'int8', docs: documents.length, warm: true };
for (const [name, maxSim] of /** @type {const} */ ([
  ['plain JavaScript', plainMaxSim],
  ['unrolled JavaScript', unrolledMaxSim],
])) {
  const run = () => documents.map((document) => maxSim(query, document, DIM));
  all.push({
    ...peer,
    name: `${name} 100 warm`,
    peer: name,
    version: process.version,
    run,
    scores: run,
  });
}

if (sweetSearch !== '') {
  const require = createRequire(import.meta.url);
  const addon = require(join(sweetSearch, 'sweet-search-native.node'));
  const { version } = require(join(sweetSearch, 'package.json'));
  const bytes = documents.map((document) => affineCodes(document, DIM, 8));
  const nibbles = documents.map((document) => affineCodes(document, DIM, 4));
  for (const [name, own, run] of /** @type {const} */ ([
    ['int8', 'int8', () => addon.maxsimScoreBatchPertoken(query, QUERY_TOKENS, DIM, bytes)],
    ['4-bit', 'r4', () => addon.maxsimScoreBatch4Bit(query, QUERY_TOKENS, DIM, nibbles)],
  ])) {
    all.push({
      ...peer,
      name: `sweet-search ${name} 100 warm`,
      peer: `sweet-search ${name}`,
      version,
      codec: own,
      run,
      scores: () => Array.from(run(), (/** @type {number} */ score) => score * QUERY_TOKENS),
    });
  }
}

await serve(all);
