import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, loadPipeline } from '../../dist/maxsim.js';
import { maxsim } from './run.js';

const COLOURS = ['red', 'blue', 'green', 'black'];
const THINGS = ['bicycle', 'piano', 'ladder', 'telescope', 'canoe'];
const PAIRS = COLOURS.flatMap((colour) => THINGS.map((thing) => ({ colour, thing })));

let root: string;
let index: string;
let judged: string[];
const at = (name: string): string => join(root, name);
const jsonOf = (name: string) => JSON.parse(readFileSync(at(name), 'utf8'));

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-pipeline-'));
  index = at('things');
  await using engine = await Engine.open(index, { threads: 2 });
  await engine.add(
    PAIRS.map(({ colour, thing }, i) => ({
      id: `${colour}-${thing}`,
      text: `The ${colour} ${thing} is kept in room ${100 + i}.`,
    })),
  );
  const queries = PAIRS.map(({ colour, thing }, i) => ({
    _id: `q${i}`,
    text: `where can I find the ${colour} ${thing}?`,
  }));
  const hopeless = ['at what temperature does iron boil?', 'who won the election in 1912?'];
  const all = [...queries, ...hopeless.map((text, i) => ({ _id: `n${i}`, text }))];
  await writeFile(at('queries.jsonl'), all.map((query) => JSON.stringify(query)).join('\n'));
  const lines = [
    'query-id\tcorpus-id\tscore',
    ...PAIRS.map(({ colour, thing }, i) => `q${i}\t${colour}-${thing}\t1`),
    ...hopeless.map((_, i) => `n${i}\tred-piano\t0`),
  ];
  await writeFile(at('qrels.tsv'), lines.join('\n'));
  await writeFile(
    at('pipeline.json'),
    JSON.stringify({
      stages: [
        { kind: 'late-interaction', keep: 3 },
        { kind: 'cross-encoder', topK: 2 },
      ],
    }),
  );
  judged = [
    '--queries',
    at('queries.jsonl'),
    '--qrels',
    at('qrels.tsv'),
    '--threads',
    '1',
    '--json',
  ];
});

afterAll(() => rm(root, { recursive: true, force: true }));

it('rerank goes through the pipeline of a file, and says what each stage scored', async () => {
  const args = ['--ids', 'red-piano,blue-canoe,red-ladder', '--pipeline', at('pipeline.json')];
  const { status, stdout, stderr } = await maxsim('rerank', index, 'the blue canoe?', ...args);
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/late-interaction 3 of 3 in .* > cross-encoder 3 of 3 in /);
  expect(stdout).toMatch(/1 {2}blue-canoe .* cross-encoder/);
  expect(stdout).not.toMatch(/^ +3 /m); // topK of the pipeline
});

it('explain has the scores of every stage and the match of every token', async () => {
  const { status, stdout, stderr } = await maxsim(
    ...['explain', index, 'where is the red piano?', 'red-piano', 'red-canoe', '--cross-encoder'],
  );
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/red-piano\s+late-interaction .*, rank 1 · cross-encoder .*, rank 1/);
  expect(stdout).toContain('[piano]');
});

it('a floor goes from calibrate into a pipeline, which then says that nothing is relevant', async () => {
  const out = ['--out', at('floor.json'), '--calibrator-out', at('calibrator.json')];
  const stages = ['--pipeline', at('pipeline.json'), '--alpha', '0.1'];
  const calibrated = await maxsim('calibrate', 'floor', index, ...judged, ...stages, ...out);
  expect(calibrated.status, calibrated.stderr).toBe(0);
  const report = calibrated.json() as { curve: { alpha: number; caught: number }[] };
  expect(report).toMatchObject({
    answerable: 20,
    unanswerable: 2,
    floor: { kind: 'floor', alpha: 0.1, queries: 20, fingerprint: { corpus: 'things' } },
    verdict: expect.stringContaining('for 100.0 % of the unanswerable ones'),
  });
  expect(report.curve.find(({ alpha }) => alpha === 0.1)?.caught).toBe(1);
  const pipeline = {
    ...jsonOf('pipeline.json'),
    floor: 'floor.json',
    calibrator: 'calibrator.json',
  };
  await writeFile(at('floored.json'), JSON.stringify(pipeline));
  const floored = ['--pipeline', at('floored.json')];
  const none = await maxsim('search', index, 'at what temperature does iron boil?', ...floored);
  expect(none.stdout).toContain('nothing relevant: the best candidate is below the floor');
});

it('a gate goes from calibrate into a pipeline, and skips', async () => {
  const stages = ['--pipeline', at('pipeline.json'), '--out', at('gate.json')];
  const gate = await maxsim(
    ...['calibrate', 'gate', index, ...judged, ...stages, '--bound', 'bootstrap'],
  );
  expect(gate.json()).toMatchObject({
    chosen: { skipShare: 1, loss: 0 },
    written: at('gate.json'),
  });
  await writeFile(
    at('gated.json'),
    JSON.stringify({ ...jsonOf('pipeline.json'), gate: 'gate.json' }),
  );
  await using engine = await Engine.open(index, { mode: 'read', threads: 1 });
  const pipeline = await loadPipeline(at('gated.json'));
  const { gate: said, stages: reports } = await engine.search('where is the red piano?', {
    pipeline,
  });
  expect(said?.skipped).toBe(true);
  expect(reports.map(({ outcome }) => outcome)).toEqual(['ran', 'skipped']);
});

it('calibrate cascade says where a cross-encoder does not help, and takes candidates of a run', async () => {
  const lines = PAIRS.flatMap((_, i) =>
    PAIRS.slice(0, 5).map(({ colour, thing }, rank) => `q${i} Q0 ${colour}-${thing} 1 ${-rank} x`),
  );
  await writeFile(at('first.trec'), lines.join('\n'));
  const { status, stderr, json } = await maxsim(
    ...['calibrate', 'cascade', index, ...judged, '--candidates-run', at('first.trec')],
    ...['--query-count', '10'],
    ...['--out', at('cascade.json')],
  );
  expect(status, stderr).toBe(0);
  expect(json()).toMatchObject({
    queries: 10,
    stages: ['late-interaction', 'cross-encoder'],
    points: [{ keep: 5, share: 1 }],
    chosen: null,
    written: null,
    verdict: expect.stringContaining('is not shown to help here'),
  });
});

describe('what is refused', () => {
  it('a pipeline file that is wrong: by name, with a code', async () => {
    await writeFile(at('wrong.json'), '{"stages":[{"kind":"late-interaction","kep":3}]}');
    const wrong = await maxsim('search', index, 'q', '--pipeline', at('wrong.json'), '--json');
    expect(wrong.status).toBe(1);
    expect(JSON.parse(wrong.stderr)).toMatchObject({
      error: { code: 'INVALID_ARGUMENT', details: { file: at('wrong.json') } },
    });
    const none = await maxsim('rerank', index, 'q', '--ids', 'a', '--pipeline', at('none.json'));
    expect(none.stderr).toMatch(/^error INVALID_SOURCE: .*none\.json cannot be read/);
  });

  it('of usage with 2; documents and pipelines that will not do with 1', async () => {
    const cross = { kind: 'cross-encoder' };
    const three = { stages: [{ kind: 'late-interaction' }, cross, cross] };
    await writeFile(at('three.json'), JSON.stringify(three));
    const both = ['--pipeline', at('pipeline.json'), '--cross-encoder'];
    const args = ['calibrate', 'cascade', index, ...judged, '--pipeline', at('three.json')];
    const [usage, missing, many] = await Promise.all([
      maxsim('search', index, 'q', ...both),
      maxsim('explain', index, 'where?', 'nowhere'),
      maxsim(...args),
    ]);
    expect(usage.status).toBe(2);
    expect([missing.status, missing.stderr]).toEqual([
      1,
      'error UNKNOWN_ID: The index holds none of "nowhere".\n',
    ]);
    expect(many.stderr).toContain('but has 2');
  });
});
