import { spawn } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { Index } from '../../dist/index/store.js';
import { DIM, seeded, temporaryDirectory } from './fixtures.js';

const STORE = new URL('../../dist/index/store.js', import.meta.url).href;

// Commits batches of three documents, deletes the batch before last, and says what is acknowledged.
const WRITER = `
import { Index } from ${JSON.stringify(STORE)};
const [directory, first] = process.argv.slice(2);
const index = await Index.open(directory, { dim: ${DIM}, codec: 'f32' });
for (let batch = Number(first); ; batch++) {
  const add = [0, 1, 2].map((i) => ({
    id: batch + '-' + i,
    vectors: new Float32Array(${DIM} * (1 + i)).fill(batch % 100 + 1),
    text: 'batch ' + batch,
  }));
  const remove = [0, 1, 2].map((i) => (batch - 2) + '-' + i);
  console.log('begin ' + batch);
  await index.commit({ add, delete: remove });
  console.log('done ' + batch);
}
`;

test('after kill -9 every acknowledged commit is there and no commit is there by half', async () => {
  const directory = temporaryDirectory();
  const script = join(directory, 'writer.mjs');
  writeFileSync(script, WRITER);
  const path = join(directory, 'index');
  const random = seeded(3);
  let next = 2;
  let acknowledged = -1;
  for (let round = 0; round < 20; round++) {
    const child = spawn(process.execPath, [script, path, String(next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const deadline = 1 + Math.floor(random() * 25);
    let begun = next - 1;
    let lines = 0;
    const pause = random() * 3;
    for await (const line of createInterface({ input: child.stdout })) {
      const [what, batch] = line.split(' ') as [string, string];
      if (what === 'done') acknowledged = Number(batch);
      else begun = Number(batch);
      // Not at the moment of a line, but somewhere in the work after it.
      if (++lines === deadline) setTimeout(() => child.kill('SIGKILL'), pause);
    }
    await using index = await Index.open(path, { dim: DIM });
    const stored = new Set<string>();
    for await (const { id, text, tokenCount } of index.documents()) {
      const [batch, i] = id.split('-').map(Number) as [number, number];
      expect(text).toBe(`batch ${batch}`);
      expect(tokenCount).toBe(1 + i);
      expect(new Set(index.vectors(id))).toEqual(new Set([(batch % 100) + 1]));
      stored.add(id);
    }
    const batches = [...new Set([...stored].map((id) => Number(id.split('-')[0])))].sort(
      (a, b) => a - b,
    );
    const newest = batches.at(-1) as number;
    expect(stored.size).toBe(batches.length * 3);
    expect(newest).toBeGreaterThanOrEqual(acknowledged);
    expect(newest).toBeLessThanOrEqual(begun);
    // The deletes of a commit come with its adds: the batch before last is gone.
    expect(batches).toEqual(newest > 2 ? [newest - 1, newest] : [newest]);
    acknowledged = newest;
    next = newest + 1;
    const leftovers = readdirSync(path).filter((name) => name.includes('.tmp-'));
    expect(leftovers).toEqual([]);
  }
});

// Callers that do not wait for each other, each adding and replacing documents of its own, in pairs.
const CROWD = `
import { Index } from ${JSON.stringify(STORE)};
const [directory, first] = process.argv.slice(2);
const index = await Index.open(directory, { dim: ${DIM}, codec: 'f32' });
const vectors = new Float32Array(${DIM}).fill(1);
await Promise.all(Array.from({ length: 8 }, async (_, caller) => {
  for (let step = Number(first); ; step++) {
    const text = String(step);
    console.log('begin ' + caller + ' ' + step);
    await index.commit({
      add: ['a', 'b', 'at' + step].map((name) => ({ id: caller + '-' + name, vectors, text })),
      delete: [caller + '-at' + (step - 10)],
    });
    console.log('done ' + caller + ' ' + step);
  }
}));
`;

test('after kill -9 every call of a group that was acknowledged is there, merged or not', async () => {
  const directory = temporaryDirectory();
  const script = join(directory, 'writer.mjs');
  writeFileSync(script, CROWD);
  const path = join(directory, 'index');
  const random = seeded(4);
  let first = 0;
  const done = new Array(8).fill(-1);
  const begun = new Array(8).fill(-1);
  for (let round = 0; round < 8; round++) {
    const child = spawn(process.execPath, [script, path, String(first)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const deadline = 50 + Math.floor(random() * 400);
    let lines = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      const [what, caller, step] = line.split(' ') as [string, string, string];
      (what === 'done' ? done : begun)[Number(caller)] = Number(step);
      if (++lines === deadline) child.kill('SIGKILL');
    }
    await using index = await Index.open(path, { dim: DIM });
    let documents = 0;
    for (let caller = 0; caller < 8; caller++) {
      const step = Number(index.get(`${caller}-a`)?.text ?? -1);
      expect(Number(index.get(`${caller}-b`)?.text ?? -1)).toBe(step);
      expect(step).toBeGreaterThanOrEqual(done[caller]);
      expect(step).toBeLessThanOrEqual(begun[caller]);
      if (step < 0) continue;
      // Of this round: the documents of steps before are deleted at its end.
      const kept = Array.from({ length: 10 }, (_, i) => step - i).filter((at) => at >= first);
      expect(index.hasMany(kept.map((at) => `${caller}-at${at}`))).toEqual(kept.map(() => true));
      expect(index.has(`${caller}-at${step - 10}`)).toBe(false);
      documents += 2 + kept.length;
      done[caller] = step;
    }
    expect(index.documentCount).toBe(documents);
    // Every caller goes on behind the furthest.
    first = Math.max(...done) + 1;
    await index.delete(
      Array.from({ length: 8 * first }, (_, i) => `${i % 8}-at${Math.floor(i / 8)}`),
    );
    expect(index.documentCount).toBeLessThanOrEqual(16);
  }
});
