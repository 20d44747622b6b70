import { expect, test } from 'vitest';
import type { Operation } from './operation-log.js';
import { Disk, type DiskState } from './power-loss.js';

const ROOT = '/disk';
const FILE = '/disk/file';

function operation(name: string, fields: Partial<Operation> = {}): Operation {
  const none = {
    number: 0,
    result: 0,
    fd: 3,
    offset: 0,
    made: false,
    emptied: false,
    path: '',
    to: '',
  };
  return { name, ...none, data: Buffer.alloc(0), ...fields };
}

const make = operation('open', { path: FILE, made: true });
const write = operation('write', { data: Buffer.from('data') });
const fsync = operation('fsync');
const openRoot = operation('open', { fd: 4, path: ROOT });
const flushRoot = operation('fsync', { fd: 4 });
const rename = operation('rename', { path: FILE, to: '/disk/final' });

function diskAfter(...operations: Operation[]): Disk {
  const disk = new Disk(ROOT);
  for (const each of operations) disk.apply(each);
  return disk;
}

/** What may be under a name: texts, null where the name may be missing. */
function fates(disk: Disk, path: string): Set<string | null> {
  const found = (state: DiskState): string | null => state.files.get(path)?.toString() ?? null;
  return new Set([...disk.afterPowerLoss()].map(found));
}

test('what was never flushed may be missing, empty, torn or zeros after a power loss', () => {
  const disk = diskAfter(make, write);
  expect(fates(disk, FILE)).toEqual(new Set([null, 'data', '', 'da', '\0\0\0\0']));
  expect(disk.killed().files.get(FILE)?.toString()).toBe('data');
});

test('a flushed file in a flushed directory is there in every state', () => {
  expect(fates(diskAfter(make, write, fsync, openRoot, flushRoot), FILE)).toEqual(
    new Set(['data']),
  );
});

test('a flushed file has no name until its directory is flushed', () => {
  expect(fates(diskAfter(make, write, fsync), FILE)).toEqual(new Set([null, 'data']));
});

test('a name that was flushed leads to what was flushed, not to what was written', () => {
  expect(fates(diskAfter(make, openRoot, flushRoot, write), FILE)).toContain('');
});

test('a rename is there or not until the directory is flushed, and never by half', () => {
  const before = [make, write, fsync, openRoot, flushRoot, rename];
  for (const { files } of diskAfter(...before).afterPowerLoss()) {
    expect(files.has(FILE)).toBe(!files.has('/disk/final'));
  }
  const after = diskAfter(...before, flushRoot);
  expect(fates(after, FILE)).toEqual(new Set([null]));
  expect(fates(after, '/disk/final')).toEqual(new Set(['data']));
});

test('a removal that was not flushed may be undone', () => {
  const remove = operation('unlink', { path: FILE });
  expect(fates(diskAfter(make, write, fsync, openRoot, flushRoot, remove), FILE)).toEqual(
    new Set([null, 'data']),
  );
});

test('what a failed flush has dropped is not saved by the next one', () => {
  const failed = operation('fsync', { result: -5 });
  const disk = diskAfter(make, openRoot, flushRoot, write, failed, fsync);
  expect(disk.leastAfterPowerLoss().files.get(FILE)?.toString()).toBe('');
});
