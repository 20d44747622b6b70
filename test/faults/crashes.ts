/**
 * Crash at every operation of the scripted workload. It runs once under the shim; from its log come all
 * directories that a kill or a power loss may leave at any moment; each is opened for writing and
 * compared with the states that the acknowledged commits allow.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Index } from '../../dist/index/store.js';
import { shimmed } from './control.js';
import {
  type Answer,
  type Answers,
  DIM,
  documentOf,
  keyOf,
  QUERY,
  type State,
  sameDocuments,
  seeded,
  unstoredAnswers,
  versionsOf,
  wrongAnswer,
} from './documents.js';
import { type Operation, parseLog } from './operation-log.js';
import { Disk, type DiskState, KILLED } from './power-loss.js';
import { scratch } from './scratch.js';
import { after, statesOf, WHOLE } from './script.js';
import type { Tally } from './tally.js';

const WORKLOAD = fileURLToPath(new URL('workload.js', import.meta.url));
const RECOVERY = fileURLToPath(new URL('recovery.js', import.meta.url));
const STATES = statesOf(WHOLE);

/** What recovery.ts adds. */
const SECOND = 'x';

/** Of the states of each second life: all would be ten thousands. */
const SHARE_OF_SECOND_LIVES = 0.1;

/** The last step that is acknowledged and the last that has begun; -1: not even the creation. */
type Progress = { acknowledged: number; begun: number };

export async function crashes(
  tally: Tally,
  size: { states: number; kills: number },
): Promise<void> {
  const root = join(scratch('memory'), 'root');
  const log = `${root}.log`;
  const env = shimmed(root);
  const recorded = run(WORKLOAD, [log], env);
  if (recorded.status !== 0) {
    tally.harm('wrongScores', `the workload failed: ${recorded.signal ?? recorded.stderr}`);
    return;
  }
  const answers = readAnswers(recorded.stdout.toString());
  const operations = parseLog(readFileSync(log));
  const target = join(root, 'state');

  for (const { state, progress, at } of selected(operations, root, size.states)) {
    const harm = await checkCrash(state, progress, root, target, answers);
    tally.count('crashes');
    if (harm !== null) tally.harm(harm.kind, `operation ${at}, ${state.what}: ${harm.what}`);
    if (tally.counts.crashes % 100 === 0) tally.send();
  }
  await checkTheCheck(tally, operations, root, target, answers);

  await secondLives(tally, size.kills, { root, log, env, target, answers }, operations);
}

type Moment = { state: DiskState; progress: Progress; at: number };

/**
 * The states to check, each once: of every operation what a kill leaves and one of what a power loss
 * may leave; of the others as many as were asked for, evenly.
 */
function selected(operations: readonly Operation[], root: string, wanted: number): Moment[] {
  const moments: Moment[] = [];
  const others: Moment[] = [];
  const seen = new Set<string>();
  let lost = -1;
  for (const moment of crashStates(operations, root)) {
    const { state, progress, at } = moment;
    const key = `${progress.acknowledged}/${progress.begun}/${identity(state)}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const powerLoss = state.what !== KILLED;
    if (powerLoss && lost === at) others.push(moment);
    else moments.push(moment);
    if (powerLoss) lost = at;
  }
  const share = Math.min(1, Math.max(0, (wanted - moments.length) / others.length));
  const more = others.filter((_, i) => Math.floor(i * share) !== Math.floor((i + 1) * share));
  return [...moments, ...more];
}

type Stage = {
  root: string;
  log: string;
  env: NodeJS.ProcessEnv;
  target: string;
  answers: Answers;
};

/**
 * A process that really ends itself at an operation, and the writer that comes after it: what that one
 * finds, and what a crash may leave while it recovers, when much of the first life is not flushed yet.
 */
async function secondLives(
  tally: Tally,
  kills: number,
  { root, log, env, target, answers }: Stage,
  operations: readonly Operation[],
): Promise<void> {
  const random = seeded(2);
  const renames = operations.filter(({ name }) => name === 'rename');
  for (let i = 0; i < kills; i++) {
    // After a rename of a manifest a commit is there, and may go again.
    const operation =
      i % 3 === 0
        ? renames[Math.floor((i / kills) * renames.length)]
        : operations[Math.floor(random() * operations.length)];
    const at = Math.max(1, operation.number);
    const when = ['after', 'before', 'half'][i % 3];
    rmSync(`${root}/index`, { recursive: true, force: true });
    const first = run(WORKLOAD, [log, `kill ${at} ${when}`], env);
    if (first.signal !== 'SIGKILL') {
      // Two runs differ in how many operations commits at once take.
      if (first.signal !== null) tally.harm('processCrashes', `workload: ${first.signal}`);
      continue;
    }
    const what = `killed ${when} operation ${at}`;
    const disk = new Disk(root);
    const progress: Progress = { acknowledged: -1, begun: -1 };
    for (const each of parseLog(readFileSync(log))) {
      if (each.name === 'mark') note(progress, each.path);
      else disk.apply(each);
    }
    disk.processEnded();
    const second = run(RECOVERY, progress.acknowledged < 0 ? [log, 'create'] : [log], env);
    if (second.status !== 0) {
      tally.harm('lostWrites', `${what}, then opened: ${second.signal ?? second.stderr}`);
      continue;
    }
    const states = STATES.slice(
      Math.max(progress.acknowledged, 0),
      Math.max(progress.begun, 0) + 1,
    );
    const grown = states.map((state) => after(state, { add: [`${SECOND}@1`] }));
    const seen = new Set<string>();
    let stage: 'opening' | 'adding' | 'added' = 'opening';
    for (const each of parseLog(readFileSync(log))) {
      if (each.name === 'mark') stage = each.path === 'done 1' ? 'added' : 'adding';
      else disk.apply(each);
      const allowed = { opening: states, adding: [...states, ...grown], added: grown }[stage];
      const create = progress.acknowledged < 0 && stage === 'opening';
      for (const state of [disk.killed(), ...disk.afterPowerLoss()]) {
        const key = `${stage} ${identity(state)}`;
        if (seen.has(key) || (seen.size > 0 && random() > SHARE_OF_SECOND_LIVES)) continue;
        seen.add(key);
        build(state, root, target);
        const harm = await checkDirectory(`${target}/index`, { allowed, create }, answers);
        tally.count('crashes');
        if (harm !== null) tally.harm(harm.kind, `${what}, ${stage}, ${state.what}: ${harm.what}`);
      }
    }
    tally.send();
  }
}

function run(script: string, args: readonly string[], env: NodeJS.ProcessEnv) {
  return spawnSync(process.execPath, [script, ...args], { env, maxBuffer: 1 << 28 });
}

/** With flushes taken out of the log the same check must find losses, or it would find nothing. */
async function checkTheCheck(
  tally: Tally,
  operations: readonly Operation[],
  root: string,
  target: string,
  answers: Answers,
): Promise<void> {
  for (const kind of ['file', 'directory'] as const) {
    const disk = new Disk(root);
    const progress: Progress = { acknowledged: -1, begun: -1 };
    for (const operation of operations) {
      if (operation.name === 'mark') note(progress, operation.path);
      else disk.apply(operation, kind);
    }
    const harm = await checkCrash(disk.leastAfterPowerLoss(), progress, root, target, answers);
    if (harm === null) tally.harm('lostWrites', `no flush of a ${kind} is needed, says the check`);
  }
}

/** Every state at every moment of the log, repeated ones too. */
function* crashStates(operations: readonly Operation[], root: string): Generator<Moment> {
  const disk = new Disk(root);
  const progress: Progress = { acknowledged: -1, begun: -1 };
  for (const [at, operation] of operations.entries()) {
    if (operation.name === 'mark') note(progress, operation.path);
    else if (operation.name === 'write' && operation.data.length > 1) {
      const half = operation.data.subarray(0, operation.data.length >> 1);
      disk.apply({ ...operation, data: half });
      yield { state: disk.killed(), progress: { ...progress }, at };
      disk.apply(operation);
    } else disk.apply(operation);
    yield { state: disk.killed(), progress: { ...progress }, at };
    for (const state of disk.afterPowerLoss()) yield { state, progress: { ...progress }, at };
  }
}

/** Commits take effect in the order of the calls: one that is acknowledged vouches for those before. */
function note(progress: Progress, mark: string): void {
  const [what, step] = mark.split(' ');
  const field = what === 'done' ? 'acknowledged' : 'begun';
  progress[field] = Math.max(progress[field], Number(step));
}

const numbers = new WeakMap<Buffer, number>();
let lastNumber = 0;

function identity({ files }: DiskState): string {
  return [...files]
    .map(([path, data]) => {
      if (data === null) return path;
      const number = numbers.get(data) ?? ++lastNumber;
      numbers.set(data, number);
      return `${path}:${number}`;
    })
    .sort()
    .join();
}

type Harmed = { kind: 'lostWrites' | 'wrongScores'; what: string };

async function checkCrash(
  state: DiskState,
  { acknowledged, begun }: Progress,
  root: string,
  target: string,
  answers: Answers,
): Promise<Harmed | null> {
  build(state, root, target);
  const allowed = STATES.slice(Math.max(acknowledged, 0), Math.max(begun, 0) + 1);
  return await checkDirectory(`${target}/index`, { allowed, create: acknowledged < 0 }, answers);
}

function build({ files }: DiskState, root: string, target: string): void {
  rmSync(target, { recursive: true, force: true });
  for (const [path, data] of files) {
    const name = `${target}${path.slice(root.length)}`;
    if (data === null) mkdirSync(name);
    else writeFileSync(name, data);
  }
}

/** Opens what a crash has left, compares it, and writes to it. `create`: it may have to be made anew. */
async function checkDirectory(
  directory: string,
  { allowed, create }: { allowed: readonly State[]; create: boolean },
  answers: Answers,
): Promise<Harmed | null> {
  let index: Index;
  try {
    index = await Index.open(directory, { dim: DIM, create });
  } catch (error) {
    return { kind: 'lostWrites', what: `cannot be opened: ${(error as Error).message}` };
  }
  try {
    const documents = await versionsOf(index);
    const { name } = index.codec;
    const fits = allowed.some(
      (state) =>
        (state.codec === name || documents.size === 0) && sameDocuments(state.documents, documents),
    );
    if (!fits) {
      const found = [...documents].map(([id, version]) => `${id}@${version}`).join(' ');
      return { kind: 'lostWrites', what: `not what was acknowledged: ${name} ${found}` };
    }
    // The document of the second writer is not in the record of the first.
    const second = new Map([...documents].filter(([id]) => id === SECOND));
    const fresh = second.size > 0 ? await unstoredAnswers(index, second) : answers;
    const wrong = await wrongAnswer(index, documents, (codec, id, version) =>
      (second.has(id) ? fresh : answers)(codec, id, version),
    );
    if (wrong !== null) return { kind: 'wrongScores', what: wrong };
    await index.add([documentOf('after', 1)]);
    const { scores } = index.score(QUERY, ['after']);
    const text = index.get('after')?.text;
    if (!Number.isFinite(scores[0]) || text !== documentOf('after', 1).text) {
      return { kind: 'lostWrites', what: 'the next add is not there' };
    }
    return null;
  } catch (error) {
    return { kind: 'lostWrites', what: (error as Error).message };
  } finally {
    await index.close();
  }
}

function readAnswers(json: string): Answers {
  const entries = JSON.parse(json) as [string, number, string][];
  const known = new Map<string, Answer>();
  for (const [key, score, base64] of entries) {
    const bytes = Buffer.from(base64, 'base64');
    const vectors = new Float32Array(new Uint8Array(bytes).buffer);
    known.set(key, { score, vectors });
  }
  return (codec, id, version) => {
    const answer = known.get(keyOf(codec, id, version));
    if (answer === undefined)
      throw new Error(`no answer is known for ${keyOf(codec, id, version)}`);
    return answer;
  };
}
