/** One of two writers that want the lock. Lines in: `open`, `close`. Lines out: what came of it. */
import { createInterface } from 'node:readline';
import type { MaxSimError } from '../../dist/errors.js';
import { Index } from '../../dist/index/store.js';

const [, , directory] = process.argv;
let index: Index | null = null;
for await (const line of createInterface({ input: process.stdin })) {
  try {
    if (line === 'open') index = await Index.open(directory);
    else await index?.close();
    console.log(line);
  } catch (error) {
    const { code, details } = error as MaxSimError;
    console.log(`${code} ${details['pid']}`);
  }
}
