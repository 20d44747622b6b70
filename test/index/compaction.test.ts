import { readdirSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { planMerge } from '../../dist/index/merge-policy.js';
import { Index } from '../../dist/index/store.js';
import { compacted, DIM, refusal, seeded, temporaryDirectory, unitVectors } from './fixtures.js';

const document = (id: string, text: string, tokens = 1) => ({
  id,
  text,
  vectors: unitVectors(seeded(text.length), tokens),
});

test('commits go on while segments are merged, and what they delete stays deleted', async () => {
  for (const seed of [1, 2]) {
    const random = seeded(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const directory = temporaryDirectory();
    const index = await Index.open(directory, { dim: DIM, codec: 'f32' });
    const model = new Map<string, string>();
    const reader = await Index.open(directory, { mode: 'read' });
    let compacting: Promise<void> = Promise.resolve();
    for (let step = 0; step < 200; step++) {
      const id = `id-${below(120)}`;
      const text = `step ${step}`;
      if (below(3) === 0) {
        expect(await index.delete([id])).toMatchObject({ deleted: model.has(id) ? 1 : 0 });
        model.delete(id);
      } else {
        await index.add([document(id, text)]);
        model.set(id, text);
      }
      // Not awaited: most of these meet commits that delete what they are merging.
      if (below(10) === 0) compacting = index.compact();
      if (below(20) === 0) {
        await reader.refresh();
        expect(reader.documentCount).toBeLessThanOrEqual(120);
      }
      if (step % 25 === 0) {
        expect(index.documentCount, `seed ${seed}`).toBe(model.size);
        for (const [known, expected] of model) expect(index.get(known)?.text).toBe(expected);
      }
    }
    await compacting;
    await compacted(index);
    const { compaction, segments } = index.stats();
    expect(compaction).toMatchObject({ running: false, lastError: null });
    expect(compaction?.merges).toBeGreaterThan(0);
    expect(segments.length).toBeLessThan(30);
    const files = new Set(segments.map(({ file }) => file));
    const present = readdirSync(directory).filter((name) => name.endsWith('.maxsim'));
    expect(new Set(present)).toEqual(files);
    await index.close();
    await using again = await Index.open(directory);
    const stored = new Map<string, string | null>();
    for await (const { id, text } of again.documents()) stored.set(id, text);
    expect(Object.fromEntries(stored), `seed ${seed}`).toEqual(Object.fromEntries(model));
    await reader.refresh();
    expect(reader.documentCount).toBe(model.size);
    await reader.close();
  }
});

test('documents that die while they are merged are dead in the merged segment', async () => {
  const index = await Index.open(temporaryDirectory(), {
    dim: DIM,
    codec: 'f32',
    compaction: 'off',
  });
  for (let batch = 0; batch < 3; batch++) {
    await index.add(Array.from({ length: 2000 }, (_, i) => document(`d${batch}.${i}`, 'text', 4)));
  }
  const compacting = index.compact();
  // One is replaced, some are deleted, one segment loses all it has; all after the merge has begun.
  await index.add([document('d0.0', 'replaced')]);
  await index.delete(['d0.7', 'd2.1999']);
  await index.delete(Array.from({ length: 2000 }, (_, i) => `d1.${i}`));
  await compacting;
  const { segments, documents } = index.stats();
  expect(documents).toBe(3998);
  expect(index.get('d0.0')?.text).toBe('replaced');
  expect(index.hasMany(['d0.7', 'd2.1999', 'd1.0', 'd0.6', 'd2.1998'])).toEqual([
    false,
    false,
    false,
    true,
    true,
  ]);
  expect(segments.length).toBeLessThan(5);
  await index.compact();
  expect(index.stats()).toMatchObject({ documents: 3998, deadDocuments: 0 });
  expect(index.stats().segments).toHaveLength(1);
  await index.close();
});

test('a change of codec during a merge wins, and nothing of the merge is left', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, codec: 'f32', compaction: 'off' });
  await index.add(Array.from({ length: 3000 }, (_, i) => document(`a${i}`, 'text', 4)));
  await index.add(Array.from({ length: 3000 }, (_, i) => document(`b${i}`, 'text', 4)));
  const compacting = index.compact();
  await index.recode('f16');
  await compacting;
  expect(index.codec.name).toBe('f16');
  expect(index.documentCount).toBe(6000);
  expect(index.stats().segments).toHaveLength(1);
  expect(readdirSync(directory)).toHaveLength(3);
  await index.close();
});

test("compaction 'off' merges only when asked", async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, compaction: 'off' });
  for (let i = 0; i < 20; i++) await index.add([document(`d${i}`, 'text')]);
  await setTimeout(20);
  expect(index.stats().segments).toHaveLength(20);
  expect(index.stats().compaction).toEqual({ running: false, merges: 0, lastError: null });
  await index.compact();
  expect(index.stats().segments).toHaveLength(1);
  expect(index.stats().compaction?.merges).toBe(1);
  await index.close();
});

test('a merge that fails is reported, tried again, and fails no commit', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM });
  // The merged segment cannot take its name where a directory has it.
  const obstacle = join(index.directory, 'segment-00000008-1.maxsim');
  await mkdir(join(obstacle, 'occupied'), { recursive: true });
  for (let i = 0; i < 8; i++) await index.add([document(`d${i}`, 'text')]);
  await compacted(index);
  expect(index.stats().segments).toHaveLength(8);
  expect(index.stats().compaction).toMatchObject({ merges: 0, lastError: { code: 'IO_ERROR' } });
  await index.add([document('more', 'text')]);
  await rm(obstacle, { recursive: true });
  while (index.stats().compaction?.merges === 0) await setTimeout(20);
  expect(index.stats().compaction?.lastError).toBeNull();
  expect(index.stats().segments).toHaveLength(1);
  expect(index.documentCount).toBe(9);
  await index.close();
});

test('an index with segments to merge is merged when it is opened, before it closes', async () => {
  const directory = temporaryDirectory();
  const index = await Index.open(directory, { dim: DIM, compaction: 'off' });
  for (let i = 0; i < 9; i++) await index.add([document(`d${i}`, 'text')]);
  const compacting = index.compact().then(() => 'done');
  await index.close();
  expect(await compacting).toBe('done');
  const again = await Index.open(directory, { compaction: 'off' });
  expect(again.stats().segments).toHaveLength(1);
  for (let i = 0; i < 8; i++) await again.add([document(`e${i}`, 'text')]);
  await again.close();
  await (await Index.open(directory)).close();
  await using reader = await Index.open(directory, { mode: 'read' });
  expect(reader.stats().segments).toHaveLength(2);
  expect(reader.documentCount).toBe(17);
  expect((await refusal(() => reader.compact())).code).toBe('READ_ONLY');
});

const segment = (documents: number, dead = 0, tokenBytes = documents) => ({
  documents,
  dead,
  tokenBytes,
});

test('what is too large is not merged in the background', () => {
  const eight = (documents: number, bytes?: number) =>
    Array.from({ length: 8 }, () => segment(documents, 0, bytes));
  expect(planMerge(eight(1))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(planMerge(eight(1).slice(1))).toBeNull();
  expect(planMerge(eight(600_000))).toEqual([0, 1, 2, 3, 4, 5]);
  expect(planMerge(eight(3_000_000))).toBeNull();
  expect(planMerge([...eight(3_000_000), segment(1)])).toBeNull();
  expect(planMerge(eight(1000, 2 ** 36))).toBeNull();
  expect(planMerge([segment(5_000_000), ...eight(1)])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(planMerge([segment(10, 5)])).toBeNull();
  expect(planMerge([segment(10, 6)])).toEqual([0]);
  expect(planMerge([segment(20_000_000, 11_000_000)])).toBeNull();
  expect(planMerge([segment(7_000_000, 4_000_000)])).toEqual([0]);
});

test('segments stay few, and documents are seldom rewritten, whatever the sizes of commits', () => {
  const random = seeded(7);
  const sizes: Record<string, (i: number) => number> = {
    single: () => 1,
    alternating: (i) => (i % 2 === 0 ? 1 : 1000),
    any: () => Math.ceil(8 ** (random() * 5)),
    shrinking: (i) => Math.ceil(8 ** (5 - (i % 600) / 120)),
    growing: (i) => Math.ceil(8 ** ((i % 600) / 120)),
  };
  for (const [name, sizeOf] of Object.entries(sizes)) {
    let segments: ReturnType<typeof segment>[] = [];
    let stored = 0;
    let rewritten = 0;
    for (let i = 0; i < 6000; i++) {
      segments.push(segment(sizeOf(i)));
      stored += segments.at(-1)?.documents ?? 0;
      for (let plan = planMerge(segments); plan !== null; plan = planMerge(segments)) {
        expect(plan, name).toEqual(plan.map((_, k) => (plan?.[0] as number) + k));
        const documents = plan.reduce((sum, k) => sum + (segments[k]?.documents ?? 0), 0);
        rewritten += documents;
        segments = segments.toSpliced(plan[0] as number, plan.length, segment(documents));
      }
      expect(segments.length, name).toBeLessThanOrEqual(64);
    }
    expect(rewritten / stored, name).toBeLessThan(9);
  }
});

test('documents keep the order in which they were stored, whenever they are merged', async () => {
  const index = await Index.open(temporaryDirectory(), { dim: DIM, codec: 'f32' });
  const random = seeded(9);
  const expected: string[] = [];
  let adding: Promise<unknown> = Promise.resolve();
  for (let i = 0; i < 120; i++) {
    const count = random() < 0.2 ? 30 : 1;
    const ids = Array.from({ length: count }, (_, k) => `${i}.${k}`);
    expected.push(...ids);
    // Some wait and share a generation, some do not.
    adding = index.add(ids.map((id) => document(id, 'text')));
    if (random() < 0.5) await adding;
  }
  await adding;
  await compacted(index);
  const seen: string[] = [];
  for await (const { id } of index.documents()) seen.push(id);
  expect(seen).toEqual(expected);
  expect(index.stats().compaction?.merges).toBeGreaterThan(0);
  await index.close();
});
