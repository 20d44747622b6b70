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
  versionsOf,
  wrongAnswer,
} from './documents.js';
import { type Operation, parseLog } from './operation-log.js';
import { Disk, type DiskState, KILLED } from './power-loss.js';
import { scratch } from './scratch.js';
import { statesOf, WHOLE } from './script.js';
import type { Tally } from './tally.js';

const WORKLOAD = fileURLToPath(new URL('workload.js', import.meta.url));
const STATES = statesOf(WHOLE);

/** The last step that is acknowledged and the last that has begun; -1: not even the creation. */
export type Progress = { acknowledged: number; begun: number };

export async function crashes(
  tally: Tally,
  size: { states: number; kills: number },
): Promise<void> {
  const root = join(scratch('memory'), 'root');
  const log = `${root}.log`;
  const env = shimmed(root);
  const recorded = spawnSync(process.execPath, [WORKLOAD, log], { env, maxBuffer: 1 << 28 });
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

  // The same for real at some operations: the process ends itself there.
  const random = seeded(2);
  for (let i = 0; i < size.kills; i++) {
    const at = 1 + Math.floor(random() * operations.length);
    const when = ['before', 'half', 'after'][i % 3];
    rmSync(`${root}/index`, { recursive: true, force: true });
    const { signal, stderr } = spawnSync(process.execPath, [WORKLOAD, log, `kill ${at} ${when}`], {
      env,
      maxBuffer: 1 << 28,
    });
    if (signal !== 'SIGKILL') {
      // The log has lines that are no operations: a number beyond the last one kills nobody.
      if (signal !== null) tally.harm('processCrashes', `${signal}: ${stderr}`);
      continue;
    }
    const progress = progressOf(parseLog(readFileSync(log)));
    const harm = await checkDirectory(`${root}/index`, progress, answers);
    tally.count('crashes');
    if (harm !== null) tally.harm(harm.kind, `killed ${when} operation ${at}: ${harm.what}`);
  }
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

function progressOf(operations: readonly Operation[]): Progress {
  const progress: Progress = { acknowledged: -1, begun: -1 };
  for (const { name, path } of operations) if (name === 'mark') note(progress, path);
  return progress;
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
  { files }: DiskState,
  progress: Progress,
  root: string,
  target: string,
  answers: Answers,
): Promise<Harmed | null> {
  rmSync(target, { recursive: true, force: true });
  for (const [path, data] of files) {
    const name = `${target}${path.slice(root.length)}`;
    if (data === null) mkdirSync(name);
    else writeFileSync(name, data);
  }
  return await checkDirectory(`${target}/index`, progress, answers);
}

/** Opens what a crash has left, compares it, and writes to it. */
export async function checkDirectory(
  directory: string,
  { acknowledged, begun }: Progress,
  answers: Answers,
  states: readonly State[] = STATES,
): Promise<Harmed | null> {
  let index: Index;
  try {
    // What was acknowledged must be there; creation may have to be done again.
    index = await Index.open(directory, { dim: DIM, create: acknowledged < 0 });
  } catch (error) {
    return { kind: 'lostWrites', what: `cannot be opened: ${(error as Error).message}` };
  }
  try {
    const documents = await versionsOf(index);
    const allowed = states
      .slice(Math.max(acknowledged, 0), Math.max(begun, 0) + 1)
      .some((state) => {
        const sameCodec = state.codec === index.codec.name || documents.size === 0;
        return sameCodec && sameDocuments(state.documents, documents);
      });
    if (!allowed) {
      const found = [...documents].map(([id, version]) => `${id}@${version}`).join(' ');
      return {
        kind: 'lostWrites',
        what: `steps ${acknowledged} to ${begun} do not lead to ${index.codec.name}: ${found}`,
      };
    }
    const wrong = await wrongAnswer(index, documents, answers);
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
