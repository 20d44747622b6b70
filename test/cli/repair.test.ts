import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Index } from '../../dist/maxsim.js';
import { change, contentsOf, flip, makeIndex } from '../index/damaged.js';
import { maxsim } from './run.js';

const SEGMENT = 'segment-00000002-0.maxsim';
let root: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-repair-'));
  directory = join(root, 'index');
  await makeIndex(directory, 'int8');
});

afterEach(() => rm(root, { recursive: true, force: true }));

it('verify of a whole index says so, and repair does nothing', async () => {
  const before = contentsOf(directory);
  const verified = await maxsim('verify', directory);
  expect(verified.status).toBe(0);
  expect(verified.stdout).toMatch(/^documents +120 \(20 dead\)$/m);
  expect(verified.stdout).toMatch(/^files +4, .* 4 whole$/m);
  expect(verified.stdout).toMatch(/^problems +none$/m);
  expect((await maxsim('verify', directory, '--json')).json()).toMatchObject({ ok: true });
  const repaired = await maxsim('repair', directory);
  expect(repaired.status).toBe(0);
  expect(repaired.stdout).toMatch(/^outcome +nothing is wrong, nothing was done$/m);
  expect(contentsOf(directory)).toEqual(before);
});

it('verify names what is damaged, repair puts it right and says what is lost', async () => {
  flip(join(directory, SEGMENT), 4000);
  change(join(directory, SEGMENT), (bytes) => bytes.fill(0, 4096, 4608));
  const verified = await maxsim('verify', directory);
  expect(verified.status).toBe(1);
  expect(verified.stdout).toMatch(/^problems +2$/m);
  expect(verified.stdout).toMatch(
    /tokens +500 +1 +1 +corrected +bit 0 is flipped \(document-90\)$/m,
  );
  expect(verified.stderr).toMatch(
    /^error CORRUPT_INDEX: segment-00000002-0\.maxsim: corrupt tokens at byte 500: bit 0 is flipped; and 1 more\. `maxsim repair --dry-run`/,
  );
  const json = await maxsim('verify', directory, '--json');
  expect(json.status).toBe(1);
  expect(json.json()).toMatchObject({
    ok: false,
    problems: [{ offset: 500 }, { section: 'tokens' }],
  });
  expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'CORRUPT_INDEX' } });
  const planned = await maxsim('repair', directory, '--dry-run');
  expect(planned.status).toBe(0);
  expect(planned.stdout).toMatch(/^outcome +a dry run: nothing was done$/m);
  const repaired = await maxsim('repair', directory);
  expect(repaired.status).toBe(0);
  expect(repaired.stdout).toMatch(/^outcome +repaired$/m);
  expect(repaired.stdout).toMatch(/^bits +1 corrected$/m);
  expect(repaired.stdout).toMatch(/^documents +118 kept$/m);
  expect(repaired.stdout).toMatch(/^set aside +segment-00000002-0\.maxsim\.damaged$/m);
  expect(repaired.stdout).toMatch(/^lost {2}segment-00000002-0\.maxsim {2}document-9\d$/m);
  expect(readdirSync(directory)).toContain(`${SEGMENT}.damaged`);
  expect((await maxsim('verify', directory)).status).toBe(0);
});

it('repair says which deletions may be undone', async () => {
  await rm(join(directory, 'segment-00000001-0.maxsim.2.dead'));
  const { status, stderr, stdout } = await maxsim('repair', directory);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^documents +130 kept$/m);
  expect(stderr).toMatch(
    /tombstones are lost: 10 deleted documents may be back among 90 \(document-0, /,
  );
});

it('repair refuses what cannot be repaired, and beside a writer', async () => {
  {
    await using _ = await Index.open(directory);
    const { status, stderr } = await maxsim('repair', directory);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error INDEX_LOCKED: /);
  }
  change(join(directory, 'manifest.json'), (bytes) => bytes.subarray(0, 100));
  const { status, stderr } = await maxsim('repair', directory);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error CORRUPT_INDEX: .* cannot be repaired: manifest\.json: .* backup/);
  expect((await maxsim('verify', directory)).status).toBe(1);
  expect((await maxsim('verify', join(root, 'nothing'))).stderr).toMatch(/^error NOT_AN_INDEX: /);
  expect((await maxsim('verify')).status).toBe(2);
});

it('compact leaves one segment without dead documents', async () => {
  const { status, stdout } = await maxsim('compact', directory);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^documents +120, 20 dead ones dropped$/m);
  expect(stdout).toMatch(/^segments +2 merged$/m);
  const report = (await maxsim('stats', directory, '--json')).json();
  expect(report).toMatchObject({ documents: 120, deadDocuments: 0 });
  expect(report['segments']).toHaveLength(1);
  expect((await maxsim('compact', join(root, 'nothing'))).stderr).toMatch(/^error NOT_AN_INDEX: /);
});
