import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { maxsim, outcome, start } from './run.js';

let root: string;
const at = (name: string): string => join(root, name);

async function writeLines(name: string, records: readonly unknown[]): Promise<string> {
  await writeFile(at(name), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return at(name);
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-sources-'));
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('title and metadata become the payload, and the title goes into the text', async () => {
  const file = await writeLines('payload.jsonl', [
    { id: 'both', title: 'Flights', text: 'Economy only.', metadata: { year: 2025 } },
    { id: 'title', title: 'Flights', text: '' },
    { id: 'list', title: 'Flights', text: 'Economy only.', metadata: [1, 2] },
    { id: 'neither', text: 'Economy only.', metadata: {} },
  ]);
  expect((await maxsim('index', at('payload'), file)).status).toBe(0);
  await using index = await Index.open(at('payload'), { mode: 'read' });
  const stored = index.getMany(['both', 'title', 'list', 'neither']);
  expect(stored.map((document) => [document?.text, document?.payload])).toEqual([
    ['Flights Economy only.', { title: 'Flights', year: 2025 }],
    ['Flights ', { title: 'Flights' }],
    ['Flights Economy only.', { title: 'Flights', metadata: [1, 2] }],
    ['Economy only.', null],
  ]);
});

it('progress is JSON lines where there is no terminal, the summary lines for people', async () => {
  const file = await writeLines('few.jsonl', [
    { id: 'a', text: 'One text.' },
    { id: 'b', text: 'Another one.' },
  ]);
  const { stdout, stderr } = await maxsim('index', at('few'), file);
  expect(JSON.parse(stderr)).toMatchObject({ event: 'progress', documents: 2, added: 2, bad: 0 });
  expect(stdout).toMatch(/^read +2\nadded +2\ntime .* documents\/s\nindex +2 documents, /);
});

describe('bad lines', () => {
  it('include a document that only the index refuses; its batch is kept', async () => {
    const deep = JSON.parse(`${'['.repeat(80)}${']'.repeat(80)}`) as unknown;
    const file = await writeLines('deep.jsonl', [
      { id: 'a', text: 'A good document.' },
      { id: 'b', text: 'Another good document.' },
      { id: 'deep', text: 'A payload of too many levels.', metadata: { deep } },
      { id: 'c', text: 'The last good document.' },
    ]);
    const { status, stdout, stderr } = await maxsim('index', at('deep'), file, '--json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      read: 4,
      added: 3,
      bad: 1,
      badLines: [{ line: 3 }],
    });
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.find((line) => line['event'] === 'bad-line')).toMatchObject({ file, line: 3 });
    expect(lines.at(-1)).toMatchObject({ error: { code: 'INVALID_SOURCE', details: { bad: 1 } } });
  });

  it('do not come from line separators inside a JSON string', async () => {
    await writeFile(at('separator.jsonl'), '\uFEFF{"id":"a","text":"one\u2028two"}\r\n\n');
    const { status, stderr } = await maxsim('index', at('separator'), at('separator.jsonl'));
    expect(status, stderr).toBe(0);
    await using index = await Index.open(at('separator'), { mode: 'read' });
    expect(index.get('a')?.text).toBe('one\u2028two');
  });
});

it('the last document of an id wins, in one batch and across batches', async () => {
  const file = await writeLines('twice.jsonl', [
    { id: 'a', text: 'The first text.' },
    { id: 'a', text: 'The second text.' },
    { id: 'b', text: 'Another document.' },
    { id: 'a', text: 'The last text.' },
  ]);
  const { json } = await maxsim('index', at('twice'), file, '--batch', '2', '--json');
  expect(json()).toMatchObject({ read: 4, added: 2, replaced: 2, index: { documents: 2 } });
  await using index = await Index.open(at('twice'), { mode: 'read' });
  expect(index.get('a')?.text).toBe('The last text.');
});

it('a run after an interrupted one adds only what is missing', async () => {
  const text = 'The committee met again and adjourned without a vote. '.repeat(20);
  const file = await writeLines(
    'long.jsonl',
    Array.from({ length: 32 }, (_, i) => ({ id: `d${i}`, text: `${i} ${text}` })),
  );
  const args = ['index', at('long'), file, '--batch', '4', '--threads', '1'];
  const child = start(...args);
  child.stderr?.once('data', () => child.kill('SIGINT'));
  const { status, stderr } = await outcome(child);
  expect(status).toBe(130);
  expect(stderr).toMatch(/^stopped: \d+ documents of this run are committed; the same command/m);
  let kept: number;
  {
    await using index = await Index.open(at('long'), { mode: 'read' });
    kept = index.documentCount;
  }
  expect([kept % 4, kept > 0, kept < 32]).toEqual([0, true, true]);
  const rest = await maxsim(...args, '--json');
  expect(rest.json()).toMatchObject({ added: 32 - kept, unchanged: kept, interrupted: false });
});

it('a directory that holds something else is no index, and is left alone', async () => {
  const { status, stderr } = await maxsim('index', root, at('few.jsonl'));
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error NOT_AN_INDEX: /);
});
