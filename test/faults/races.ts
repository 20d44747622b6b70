/** Two processes race for the lock of a writer; and the lock of one that is killed is free at once. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Index } from '../../dist/index/store.js';
import { DIM, documentOf, versionsOf } from './documents.js';
import { scratch } from './scratch.js';
import type { Tally } from './tally.js';

const RACER = fileURLToPath(new URL('racer.js', import.meta.url));
const KILL_EVERY = 10;

class Racer {
  private readonly process: ChildProcess;
  private readonly lines: Interface;

  constructor(directory: string) {
    this.process = spawn(process.execPath, [RACER, directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.lines = createInterface({ input: this.process.stdout as NodeJS.ReadableStream });
  }

  get pid(): number {
    return this.process.pid as number;
  }

  async ask(line: string): Promise<string> {
    const answer = once(this.lines, 'line');
    this.process.stdin?.write(`${line}\n`);
    return (await answer)[0] as string;
  }

  async end(signal?: 'SIGKILL'): Promise<void> {
    const ended = once(this.process, 'exit');
    if (signal === undefined) this.process.stdin?.end();
    else this.process.kill(signal);
    await ended;
  }
}

export async function races(tally: Tally, wanted: number): Promise<void> {
  const directory = join(scratch('disk'), 'index');
  const first = await Index.open(directory, { dim: DIM });
  await first.add([documentOf('a', 1)]);
  await first.close();
  let racers = [new Racer(directory), new Racer(directory)];
  for (let round = 1; round <= wanted; round++) {
    const answers = await Promise.all(racers.map((racer) => racer.ask('open')));
    tally.count('races');
    const winner = racers[answers.indexOf('open')];
    const loser = racers[1 - answers.indexOf('open')];
    // The winner may not have written its pid yet; that of somebody else would be wrong.
    const refusals = ['INDEX_LOCKED undefined', `INDEX_LOCKED ${winner?.pid}`];
    if (winner === undefined || !answers.some((answer) => refusals.includes(answer))) {
      tally.harm('lostWrites', `two writers race: ${answers.join(' and ')}`);
      break;
    }
    if (round % KILL_EVERY !== 0) {
      await winner.ask('close');
      continue;
    }
    await winner.end('SIGKILL');
    const index = await Index.open(directory);
    await index.add([documentOf('b', round)]);
    await index.close();
    racers = [loser, new Racer(directory)];
  }
  await Promise.all(racers.map((racer) => racer.end()));
  const index = await Index.open(directory);
  const documents = await versionsOf(index);
  await index.close();
  const last = wanted - (wanted % KILL_EVERY);
  if (documents.get('a') !== 1 || (last > 0 && documents.get('b') !== last)) {
    tally.harm('lostWrites', `after all races: ${[...documents].join(' ')}`);
  }
}
