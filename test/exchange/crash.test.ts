/** An import that is killed has stored whole batches, every one that was acknowledged, and can go on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { exportIndex, Index, importInto } from '../../dist/maxsim.js';
import { seeded, temporaryDirectory, unitVectors } from '../index/fixtures.js';

const DIM = 16;
const BATCH = 9;
const COUNT = 400;

const IMPORTER = `
  import { Index, importInto } from ${JSON.stringify(fileURLToPath(new URL('../../dist/maxsim.js', import.meta.url)))};
  const index = await Index.open(process.argv[1], { dim: ${DIM}, codec: 'f32' });
  const add = index.add.bind(index);
  index.add = async (documents) => {
    const result = await add(documents);
    process.send(documents.length);
    return result;
  };
  await importInto(index, process.argv[2], { batchSize: ${BATCH}, resume: true });
  await index.close();
  process.disconnect();
`;

it('kill -9 loses nothing that was acknowledged', async () => {
  const root = temporaryDirectory();
  const next = seeded(21);
  const index = await Index.open(join(root, 'index'), { dim: DIM, codec: 'f32' });
  const ids = Array.from({ length: COUNT }, (_, i) => `d${i}`);
  await index.add(
    ids.map((id) => ({ id, vectors: unitVectors(next, 3), contentHash: `hash of ${id}` })),
  );
  const path = join(root, 'out.safetensors');
  await exportIndex(index, path);
  const target = join(root, 'copy');
  let stored = 0;
  for (const batches of [1, 4, 9]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', IMPORTER, target, path], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    let acknowledged = stored;
    let left = batches;
    child.on('message', (count: number) => {
      acknowledged += count;
      left -= 1;
      if (left === 0) child.kill('SIGKILL');
    });
    await once(child, 'exit');
    const copy = await Index.open(target, { mode: 'read' });
    stored = copy.documentCount;
    expect(stored).toBeGreaterThanOrEqual(acknowledged);
    expect(stored).toBeLessThan(COUNT);
    expect(copy.hasMany(ids)).toEqual(ids.map((_, i) => i < stored));
    for (const id of ids.slice(0, stored)) expect(copy.vectors(id)).toEqual(index.vectors(id));
    await copy.close();
  }
  const copy = await Index.open(target, { dim: DIM });
  expect(await importInto(copy, path, { resume: true })).toMatchObject({
    added: COUNT - stored,
    unchanged: stored,
  });
  expect(copy.getMany(ids)).toEqual(index.getMany(ids));
  await copy.close();
  await index.close();
});
