/**
 * Runs the script in a process of its own, under the shim, and says in its log when each step begins and
 * when it is acknowledged; `-1` is the creation. Prints what every document must answer.
 */
import { Index } from '../../dist/index/store.js';
import { Control } from './control.js';
import { type Answer, answersOf, DIM, FIELDS, sameVectors } from './documents.js';
import { run, WHOLE } from './script.js';

const [, , log, command] = process.argv;
const control = new Control();
const directory = `${control.root}/index`;
control.send(`log ${log}`);
if (command !== undefined) control.send(command);

const answers = new Map<string, Answer & { vectors: Float32Array }>();
async function remember(index: Index): Promise<void> {
  for (const [key, answer] of await answersOf(index)) {
    const known = answers.get(key);
    if (known === undefined) answers.set(key, answer);
    else if (known.score !== answer.score || !sameVectors(known.vectors, answer.vectors)) {
      throw new Error(`${key} has changed its answer`);
    }
  }
}

control.send('mark begin 0');
const index = await Index.open(directory, { dim: DIM, codec: WHOLE.codec, fields: FIELDS });
control.send('mark done 0');
const reader = await Index.open(directory, { mode: 'read' });
let step = 0;
for (const [i, group] of WHOLE.groups.entries()) {
  await Promise.all(
    group.map(async (change) => {
      step += 1;
      const number = step;
      control.send(`mark begin ${number}`);
      await run(index, change);
      control.send(`mark done ${number}`);
    }),
  );
  await remember(index);
  if (i % 3 === 0) await reader.refresh();
}
await reader.refresh();
await remember(reader);
await reader.close();
await index.close();
process.stdout.write(
  JSON.stringify(
    [...answers].map(([key, { score, vectors }]) => [
      key,
      score,
      Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength).toString('base64'),
    ]),
  ),
);
