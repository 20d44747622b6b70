/** A writer that works until it is killed: several commits under way at once, compactions among them. */
import { writeSync } from 'node:fs';
import { Index } from '../../dist/index/store.js';
import { DIM, seeded } from './documents.js';
import { live } from './lives.js';

const [, , directory, codec, first] = process.argv;
const random = seeded(Number(first));
const index = await Index.open(
  directory,
  codec === 'int8' ? { dim: DIM, codec: { name: 'int8', range: 1 } } : { dim: DIM },
);
for (let step = Number(first); ; ) {
  const steps = Array.from({ length: 1 + Math.floor(random() * 4) }, () => step++);
  const work = steps.map(async (k) => {
    writeSync(1, `begin ${k}\n`);
    await live(index, k);
    writeSync(1, `done ${k}\n`);
  });
  if (random() < 0.15) work.push(index.compact());
  await Promise.all(work);
}
