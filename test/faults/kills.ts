/** Real SIGKILLs at random moments of a writer; every index lives through many of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Index } from '../../dist/index/store.js';
import { type Answer, answersOf, DIM, documentOf, seeded } from './documents.js';
import { inspect } from './lives.js';
import { scratch } from './scratch.js';
import type { Harm, Tally } from './tally.js';

const CODECS = ['int8', 'r4', 'f32'] as const;
const LIVES = 12;

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** `seed` chooses the random moments. */
export async function kills(tally: Tally, wanted: number, seed: number): Promise<void> {
  const random = seeded(seed);
  const root = scratch('disk');
  for (let indexes = 0; tally.counts.kills < wanted; indexes++) {
    const directory = join(root, `index-${indexes}`);
    const codec = CODECS[indexes % CODECS.length];
    const known = codec === 'int8' ? new Map() : await prepare(directory, codec);
    let watcher: ChildProcess | undefined;
    let watched = '';
    let next = 1;
    for (let life = 0; life < LIVES && tally.counts.kills < wanted; life++) {
      const { acknowledged, begun } = await kill(directory, codec, next, random);
      tally.count('kills');
      // Not even created: the writer was killed before.
      if (!existsSync(join(directory, 'manifest.json')) && begun < next) continue;
      try {
        next = await check(tally, directory, known, Math.max(acknowledged, next - 1), begun);
      } catch (error) {
        tally.harm('lostWrites', `after a kill: ${(error as Error).message}`);
        break;
      }
      if (watcher === undefined && indexes % 2 === 1) {
        watcher = spawn(process.execPath, [script('watcher.js'), directory], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        watcher.stdout?.on('data', (data) => {
          watched += String(data);
        });
      }
      tally.send();
    }
    if (watcher !== undefined) await finish(tally, watcher, () => watched);
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What a residual codec needs before the first commit, and what these documents then answer. */
async function prepare(directory: string, codec: 'r4' | 'f32'): Promise<Map<string, Answer>> {
  const index = await Index.open(directory, { dim: DIM, codec: codec === 'r4' ? 'f16' : codec });
  const ids = codec === 'r4' ? Array.from({ length: 6 }, (_, i) => `long${i}`) : ['long0'];
  await index.add(ids.map((id) => documentOf(id, 1)));
  if (codec === 'r4') await index.recode({ name: 'r4', centroids: 16 });
  const answers = await answersOf(index);
  await index.close();
  return answers;
}

/** Lets a writer work from step `first` on and kills it: while it opens, or in the midst of commits. */
async function kill(
  directory: string,
  codec: string,
  first: number,
  random: () => number,
): Promise<{ acknowledged: number; begun: number }> {
  const child = spawn(process.execPath, [script('writer.js'), directory, codec, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const early = random() < 0.1;
  const delay = early ? 40 + random() * 60 : random() ** 2 * 60;
  let output = '';
  let timer = early ? setTimeout(() => child.kill('SIGKILL'), delay) : undefined;
  child.stdout.on('data', (data) => {
    output += String(data);
    timer ??= setTimeout(() => child.kill('SIGKILL'), delay);
  });
  const signal = await new Promise((resolve) => child.on('close', (_, s) => resolve(s)));
  clearTimeout(timer);
  if (signal !== 'SIGKILL') throw new Error(`the writer ended by itself: ${signal}`);
  const last = (what: string): number =>
    output
      .split('\n')
      .filter((line) => line.startsWith(what))
      .reduce((most, line) => Math.max(most, Number(line.split(' ')[1])), first - 1);
  return { acknowledged: last('done'), begun: last('begin') };
}

/** Gives the step to go on with. */
async function check(
  tally: Tally,
  directory: string,
  known: ReadonlyMap<string, Answer>,
  acknowledged: number,
  begun: number,
): Promise<number> {
  let seen: number | undefined;
  // A reader, which recovers nothing, must see what the next writer finds.
  for (const mode of ['read', 'write'] as const) {
    const index = await Index.open(directory, { mode });
    try {
      const { step, lost, wrong } = await inspect(index, known);
      const base = index.documentCount >= known.size && index.hasMany(idsOf(known)).every(Boolean);
      if (lost !== null) tally.harm('lostWrites', lost);
      if (!base) tally.harm('lostWrites', 'a document from before all kills is gone');
      if (wrong !== null) tally.harm('wrongScores', wrong);
      if (step < acknowledged || step > begun || (seen ?? step) !== step) {
        tally.harm('lostWrites', `at step ${step}, not ${acknowledged} to ${begun}; seen ${seen}`);
      }
      seen = step;
    } finally {
      await index.close();
    }
  }
  return (seen as number) + 1;
}

function idsOf(known: ReadonlyMap<string, Answer>): string[] {
  return [...known.keys()].map((key) => (key.split('/')[1] as string).split('@')[0] as string);
}

async function finish(tally: Tally, watcher: ChildProcess, output: () => string): Promise<void> {
  watcher.stdin?.end();
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    watcher.on('close', (code, name) => resolve([code, name]));
  });
  tally.count('readers');
  if (status !== 0) tally.harm('processCrashes', `a reader ended with ${signal ?? status}`);
  for (const line of output().split('\n').filter(Boolean)) {
    const [kind, ...words] = line.split(' ');
    tally.harm(kind as Harm, words.join(' '));
  }
}
