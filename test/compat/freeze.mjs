// `node test/compat/freeze.mjs <format>`: freezes indexes as this version writes them, and what it reads
// from them, into test/compat/frozen/<format>. Once per released format; what is there is never made anew.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Index } from '../../dist/maxsim.js';

const DIM = 16;
const format = process.argv[2];
const root = new URL(`./frozen/${format}/`, import.meta.url).pathname;
if (format === undefined || !/^v\d+$/.test(format) || existsSync(root)) {
  console.error('Which format? v1, v2, …; one that is not frozen yet.');
  process.exit(2);
}

/** Mulberry32. @param {number} seed */
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {() => number} next @param {number} tokens */
function unit(next, tokens) {
  const vectors = Float32Array.from({ length: tokens * DIM }, () => next() - 0.5);
  for (let at = 0; at < vectors.length; at += DIM) {
    const row = vectors.subarray(at, at + DIM);
    const length = Math.hypot(...row);
    for (let d = 0; d < DIM; d++) row[d] = (row[d] ?? 0) / length;
  }
  return vectors;
}

const query = unit(seeded(99), 5);
const kinds = {
  f32: { codec: 'f32' },
  int8: {
    codec: 'int8',
    fields: { lang: 'keyword', year: 'number', tags: 'keyword', open: 'boolean' },
  },
  'int8-token': { codec: 'int8-token' },
  r4: { codec: { name: 'r4', centroids: 64 } },
  r1: { codec: { name: 'r1', centroids: 64 } },
  tenants: { codec: 'f16', tenants: true },
};
mkdirSync(root, { recursive: true });
for (const [kind, options] of Object.entries(kinds)) {
  const next = seeded(7);
  // Residual codecs need 4,096 tokens to learn from.
  const tokens = kind.startsWith('r') ? 240 : 4;
  const directory = join(root, kind);
  const index = await Index.open(directory, {
    dim: DIM,
    ...options,
    compaction: 'off',
    encoder: { fingerprint: 'test', recipe: { model: 'none' } },
  });
  /** @param {number} i */
  const document = (i) => ({
    id: `document-${i}-ü`,
    vectors: unit(next, tokens + (i % 3)),
    ...(i % 4 === 0 ? {} : { text: `Text ${i} – Größe` }),
    payload: {
      lang: ['en', 'de', 'fr'][i % 3],
      year: 1990 + i,
      tags: ['a', 'b'].slice(i % 2),
      open: i % 2 === 0,
    },
    contentHash: `hash-${i}`,
  });
  const target = options.tenants ? index.tenant('acme') : index;
  await target.add(Array.from({ length: 18 }, (_, i) => document(i)));
  await target.add([document(18), document(3)]);
  await target.delete(['document-1-ü', 'document-18-ü']);
  if (options.tenants) await index.tenant('other').add([document(5)]);
  const expected = [];
  for await (const stored of target.documents()) {
    // JSON has no -0; and a few say enough.
    const values = [...target.vectors(stored.id)].slice(0, 4 * DIM).map((value) => value + 0);
    expected.push({ ...stored, values });
  }
  const ids = expected.map(({ id }) => id);
  writeFileSync(
    join(root, `${kind}.json`),
    `${JSON.stringify({
      query: [...query],
      documents: expected,
      scores: [...target.score(query, ids).scores],
      search: (await target.search(query, { topK: 5 })).hits,
      filtered: options.fields
        ? (await index.search(query, { topK: 5, filter: { lang: 'de', year: { gte: 1995 } } })).hits
        : null,
    })}\n`,
  );
  await index.close();
  rmSync(join(directory, 'writer.lock'));
}
