/**
 * A disk as POSIX promises it, fed with a log of operations: what is in a file is sure after fsync of
 * the file, what is in a directory after fsync of the directory, and nothing else is. From any moment of
 * the log it makes the directories that a kill or a power loss may leave there.
 */
import { dirname } from 'node:path';
import type { Operation } from './operation-log.js';

type Node = {
  /** Null for a directory. Replaced, never changed, so that states may share it. */
  data: Buffer | null;
  /** What the disk holds for sure. */
  durable: Buffer;
  /** A flush has failed: the kernel has dropped the pages, and no later flush brings them back. */
  lost: boolean;
};

/** One change of a directory; all of it happens or nothing. */
type Change = { parent: string; set?: [path: string, node: Node]; remove?: string };

/** What became of data that was never flushed. */
const FATES = ['kept', 'lost', 'empty', 'half', 'zeros'] as const;
type Fate = (typeof FATES)[number];

/** Paths and contents; null is a directory. */
export type DiskState = { what: string; files: Map<string, Buffer | null> };

export const KILLED = 'killed';

const NOTHING = Buffer.alloc(0);

export class Disk {
  private readonly names = new Map<string, Node>();
  private readonly durableNames = new Map<string, Node>();
  private pending: Change[] = [];
  private readonly open = new Map<number, { node: Node; path: string }>();

  constructor(root: string) {
    this.names.set(root, directory());
    this.durableNames.set(root, directory());
  }

  /** `unflushed`: a kind of which no flush does anything. */
  apply(operation: Operation, unflushed?: 'file' | 'directory'): void {
    const { name, result, fd, offset, path, to, data } = operation;
    const node = this.open.get(fd)?.node;
    if (name === 'fsync') {
      const kind = node?.data === null ? 'directory' : 'file';
      if (kind !== unflushed) this.flush(fd, result === 0);
      return;
    }
    if (result < 0) return;
    if (name === 'open') {
      const known = this.names.get(path) ?? (operation.made ? file() : directory());
      if (operation.made) this.change({ parent: dirname(path), set: [path, known] });
      if (operation.emptied) {
        known.data = NOTHING;
        known.lost = false; // none of what the kernel has dropped is in the file any more
      }
      this.open.set(fd, { node: known, path });
    } else if (name === 'close') {
      this.open.delete(fd);
    } else if (name === 'write' && node?.data) {
      const bytes = Buffer.alloc(Math.max(node.data.length, offset + data.length));
      node.data.copy(bytes);
      data.copy(bytes, offset);
      node.data = bytes;
    } else if (name === 'truncate' && node?.data) {
      const bytes = Buffer.alloc(offset);
      node.data.copy(bytes, 0, 0, offset);
      node.data = bytes;
    } else if (name === 'allocate' && node?.data && offset > node.data.length) {
      node.data = Buffer.concat([node.data], offset);
    } else if (name === 'mkdir') {
      this.change({ parent: dirname(path), set: [path, directory()] });
    } else if (name === 'rename' || name === 'link') {
      const moved = this.names.get(path);
      if (moved === undefined) throw new Error(`${name} of the unknown ${path}`);
      const change: Change = { parent: dirname(to), set: [to, moved] };
      this.change(name === 'rename' ? { ...change, remove: path } : change);
    } else if (name === 'unlink') {
      this.change({ parent: dirname(path), remove: path });
    }
  }

  /** Its files are closed; what it has done stays in the kernel, flushed or not. */
  processEnded(): void {
    this.open.clear();
  }

  /** What a kill leaves: all that was done. */
  killed(): DiskState {
    return { what: KILLED, files: contents(this.names, 'kept') };
  }

  /** The least that a power loss leaves: nothing that was not flushed. */
  leastAfterPowerLoss(): DiskState {
    return { what: 'power loss, all unflushed lost', files: contents(this.durableNames, 'lost') };
  }

  /** What a power loss may leave, the extremes and much between them. */
  *afterPowerLoss(): Generator<DiskState> {
    for (const done of choices(this.pending.length)) {
      const names = new Map(this.durableNames);
      for (const i of done) perform(names, this.pending[i]);
      const dirty = [...names.values()].some(({ data, durable }) => data && data !== durable);
      for (const fate of dirty ? FATES : (['kept'] as const)) {
        const what = `power loss, names ${done.join()} of ${this.pending.length}, data ${fate}`;
        yield { what, files: contents(names, fate) };
      }
    }
  }

  private flush(fd: number, succeeded: boolean): void {
    const opened = this.open.get(fd);
    if (opened === undefined) return;
    const { node, path } = opened;
    if (node.data === null) {
      if (!succeeded) return;
      for (const change of this.pending) {
        if (change.parent === path) perform(this.durableNames, change);
      }
      this.pending = this.pending.filter(({ parent }) => parent !== path);
    } else if (!succeeded) {
      node.lost = node.data !== node.durable;
    } else if (!node.lost) {
      node.durable = node.data;
    }
  }

  private change(change: Change): void {
    perform(this.names, change);
    this.pending.push(change);
  }
}

function file(): Node {
  return { data: NOTHING, durable: NOTHING, lost: false };
}

function directory(): Node {
  return { data: null, durable: NOTHING, lost: false };
}

function perform(names: Map<string, Node>, { set, remove }: Change): void {
  if (remove !== undefined) names.delete(remove);
  if (set !== undefined) names.set(...set);
}

/** Which of n changes reached the disk: all subsets of few; of many the prefixes, each one alone, all but one. */
function choices(n: number): number[][] {
  const all = Array.from({ length: n }, (_, i) => i);
  if (n <= 3) {
    return Array.from({ length: 2 ** n }, (_, bits) => all.filter((i) => (bits >> i) & 1));
  }
  return [
    ...all.map((i) => all.slice(0, i)),
    all,
    ...all.map((i) => [i]),
    ...all.map((i) => all.filter((j) => j !== i)),
  ];
}

function contents(names: ReadonlyMap<string, Node>, fate: Fate): Map<string, Buffer | null> {
  const files = new Map<string, Buffer | null>();
  for (const [path, node] of names) {
    // Without its directory a name leads nowhere.
    if (names.has(dirname(path)) || files.size === 0) files.set(path, dataOf(node, fate));
  }
  return files;
}

const derived = new WeakMap<Buffer, Map<Fate, Buffer>>();

function dataOf({ data, durable }: Node, fate: Fate): Buffer | null {
  if (data === null || data === durable || fate === 'kept') return data;
  if (fate === 'lost') return durable;
  const known = derived.get(data) ?? new Map<Fate, Buffer>();
  derived.set(data, known);
  let bytes = known.get(fate);
  if (bytes === undefined) {
    if (fate === 'empty') bytes = NOTHING;
    else if (fate === 'zeros') bytes = Buffer.alloc(data.length);
    else bytes = data.subarray(0, data.length >> 1);
    known.set(fate, bytes);
  }
  return bytes;
}
