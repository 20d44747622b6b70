import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { random, unitVectors } from '../../bench/stats.mjs';
import { Index } from '../../dist/maxsim.js';
import { maxsim } from './run.js';

const CHALLENGE = fileURLToPath(new URL('../../challenge', import.meta.url));

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-recode-'));
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('recode stores an index in fewer bytes, and refuses the way back', async () => {
  const directory = join(root, 'vectors');
  const next = random(1);
  const index = await Index.open(directory, { dim: 32, codec: 'f32' });
  const documents = Array.from({ length: 60 }, (_, i) => ({
    id: `d${i}`,
    vectors: unitVectors(80, 32, next),
  }));
  await index.add(documents);
  await index.close();
  const learned = await maxsim('recode', directory, 'r4', '--centroids', '64', '--json');
  expect(learned.json()).toMatchObject({
    from: 'f32',
    codec: { name: 'r4', centroids: 64 },
    documents: 60,
  });
  const { before, sizeBytes } = learned.json() as { before: number; sizeBytes: number };
  expect(sizeBytes).toBeLessThan(before / 3);
  const shown = await maxsim('inspect', directory);
  expect(shown.stdout).toMatch(/codec +r4, 64 centroids learned from/);
  expect(shown.stdout).toContain('centroids');
  const back = await maxsim('recode', directory, 'int8', '--json');
  expect(back.status).toBe(1);
  expect(JSON.parse(back.stderr).error.code).toBe('INVALID_ARGUMENT');
  expect((await maxsim('recode', directory, 'r5')).status).toBe(2);
  expect((await maxsim('recode', join(root, 'nowhere'), 'r4')).stderr).toContain('NOT_AN_INDEX');
});

it('an index of a residual codec learns from all that was indexed, and then grows', async () => {
  const directory = join(root, 'challenge');
  const made = await maxsim('index', directory, CHALLENGE, '--codec', 'r4', '--json');
  expect(made.status).toBe(0);
  const inspected = (await maxsim('inspect', directory, '--json')).json();
  expect(inspected).toMatchObject({ documents: 188, codec: { name: 'r4' }, generation: 4 });
  const more = join(root, 'more.jsonl');
  const text = 'The canteen on the fourth floor closes at half past two.';
  await writeFile(more, `${JSON.stringify({ id: 'canteen', text })}\n`);
  const grown = await maxsim('index', directory, more, '--codec', 'r4', '--json');
  expect(grown.json()).toMatchObject({ added: 1 });
  const found = await maxsim('search', directory, 'until when is the canteen open?', '--json');
  const { hits } = found.json() as { hits: { id: string }[] };
  expect(hits[0]?.id).toBe('canteen');
}, 120_000);

it('with too few tokens the documents stay f16, and the sentence says so', async () => {
  const directory = join(root, 'small');
  const corpus = join(root, 'small.jsonl');
  await writeFile(corpus, '{"id":"a","text":"One short passage."}\n');
  const { status, stderr } = await maxsim('index', directory, corpus, '--codec', 'r2');
  expect(status).toBe(1);
  expect(stderr).toContain('as f16');
  const inspected = (await maxsim('inspect', directory, '--json')).json();
  expect(inspected).toMatchObject({ documents: 1, codec: { name: 'f16' } });
});
