/** A reader that follows a writer in another process until its input ends. Prints what is not right. */
import { writeSync } from 'node:fs';
import { Index } from '../../dist/index/store.js';
import { answersOf } from './documents.js';
import { inspect, isBase } from './lives.js';

const [, , directory] = process.argv;
let ended = false;
process.stdin.on('end', () => {
  ended = true;
});
process.stdin.resume();

let newest = 0;
let known: Awaited<ReturnType<typeof answersOf>> | undefined;
while (!ended) {
  try {
    const index = await Index.open(directory, { mode: 'read' });
    try {
      known ??= new Map(
        [...(await answersOf(index))].filter(([key]) => isBase(key.split('/')[1] as string)),
      );
      for (let i = 0; i < 20 && !ended; i++) {
        const { step, lost, wrong } = await inspect(index, known);
        if (lost !== null) writeSync(1, `lostWrites ${lost}\n`);
        if (wrong !== null) writeSync(1, `wrongScores ${wrong}\n`);
        if (step < newest) writeSync(1, `lostWrites step ${newest} was there and is not\n`);
        newest = step;
        await index.refresh();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    } finally {
      await index.close();
    }
  } catch (error) {
    writeSync(1, `wrongScores a reader failed: ${(error as Error).message}\n`);
  }
}
