import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CODECS, Engine, Index } from '../../dist/maxsim.js';
import { clustered } from '../evaluate/clusters.js';
import { maxsim, outcome, start } from './run.js';

const CHALLENGE = fileURLToPath(new URL('../../challenge/', import.meta.url));
const QUERIES = ['--queries', join(CHALLENGE, 'queries.jsonl')];
const JUDGED = [...QUERIES, '--qrels', join(CHALLENGE, 'qrels', 'test.tsv')];

let root: string;
const at = (name: string): string => join(root, name);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'maxsim-cli-calibrate-'));
  const lines = (await readFile(join(CHALLENGE, 'corpus.jsonl'), 'utf8')).trim().split('\n');
  const documents = lines.slice(0, 100).map((line) => {
    const { _id, title, text } = JSON.parse(line) as Record<string, string>;
    return { id: _id as string, text: `${title} ${text}`, payload: { title: title as string } };
  });
  await using engine = await Engine.open(at('exact'), { codec: 'f32' });
  await engine.add(documents);
  const { dim, fingerprint, recipe } = engine.encoder;
  await using few = await Index.open(at('few'), { dim, encoder: { fingerprint, recipe } });
  const dozen = documents.slice(0, 12);
  await few.add(dozen.map((one) => ({ ...one, vectors: engine.index.vectors(one.id) })));
  await using own = await Index.open(at('own'), { dim: 32 });
  await own.add(clustered(32, { documents: 110, queries: 1, seed: 1 }).collection.documents);
});

afterAll(() => rm(root, { recursive: true, force: true }));

type Row = { codec: string; overlap: { mean: number; low: number; high: number } };

describe('maxsim calibrate codec', () => {
  it('measures every codec on judged queries, and recommends one', async () => {
    const { status, stdout, stderr } = await maxsim('calibrate', 'codec', at('exact'), ...JUDGED);
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^documents +100 of 100, [\d,]+ tokens of dim 96, stored as f32$/m);
    expect(stdout).toMatch(/^queries +79, \d\d judged$/m);
    expect(stdout).toMatch(/^codec +bytes\/token .*nDCG@10 +lost/m);
    for (const codec of CODECS) expect(stdout).toMatch(new RegExp(`^${codec} +[\\d.]+ `, 'm'));
    expect(stdout).toMatch(/^recommended +\S+$/m);
    expect(stdout).toMatch(/^in use +f32: /m);
  });

  it('prints everything as JSON', async () => {
    const limits = ['--min-overlap', '0.9', '--max-loss', '0.2', '--codecs', 'int8'];
    const args = [...JUDGED, ...limits, '--query-count', '25', '--json'];
    const { status, json, stderr } = await maxsim('calibrate', 'codec', at('exact'), ...args);
    expect(status, stderr).toBe(0);
    const report = json();
    const interval = {
      mean: expect.any(Number),
      low: expect.any(Number),
      high: expect.any(Number),
    };
    expect(report).toMatchObject({
      current: 'f32',
      sample: {
        indexDocuments: 100,
        queries: 'given',
        vectors: { stored: 100, encoded: 0, decoded: 0 },
      },
      dim: 96,
      documents: 100,
      queries: 25,
      judgedQueries: 25,
      limits: { minOverlap: 0.9, maxLoss: 0.2 },
      codecs: [
        { codec: 'f32', bytesPerToken: 384 },
        {
          codec: 'int8',
          overlap: interval,
          tau: interval,
          ndcg: { mean: expect.any(Number), loss: interval },
          scoreError: { meanAbsolute: expect.any(Number), relative: expect.any(Number) },
          rerank: { micros: expect.any(Number), ratioToInt8: 1 },
        },
      ],
      recommendation: { codec: 'int8', decided: true, inUse: false },
    });
    const [, int8] = report['codecs'] as Row[];
    expect(int8?.overlap.mean).toBeGreaterThan(0.97);
  });

  it('encodes the documents of a lossy index again, and decides nothing on a dozen', async () => {
    const { status, stdout, stderr } = await maxsim('calibrate', 'codec', at('few'));
    expect(status, stderr).toBe(0);
    expect(stderr).toContain('encoding 12 of 12 documents again');
    expect(stdout).toMatch(/^documents +12 of 12, .* encoded again$/m);
    expect(stdout).toMatch(/^queries +12 made from titles and sentences of the documents$/m);
    expect(stdout).toMatch(/^r1 was not measured: .*4,?096 tokens/m);
    expect(stdout).toContain('12 documents (of at least 100) are too few to decide');
    expect(stdout).toMatch(/^in use +int8: nothing to change$/m);
    expect(stdout).toContain('note Queries made from documents are easier than real ones');
  });

  it("takes vectors of the caller's own as they are stored, and says what that leaves out", async () => {
    const args = ['--codecs', 'int8', '--json'];
    const { status, json, stderr } = await maxsim('calibrate', 'codec', at('own'), ...args);
    expect(status, stderr).toBe(0);
    expect(json()).toMatchObject({
      sample: { queries: 'tokens', vectors: { decoded: 110 } },
      notes: expect.arrayContaining([expect.stringContaining('loss that is already in the index')]),
    });
    const asked = await maxsim('calibrate', 'codec', at('own'), ...QUERIES);
    expect(asked.status).toBe(1);
    expect(asked.stderr).toMatch(/^error INVALID_ARGUMENT: Queries cannot be encoded/m);
  });

  it('stops on ^C with 130', async () => {
    const child = start('calibrate', 'codec', at('few'));
    const done = outcome(child);
    child.stderr?.once('data', () => child.kill('SIGINT'));
    const { status, stdout, stderr } = await done;
    expect(status).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error ABORTED: /m);
  });

  it('refuses what means nothing', async () => {
    const wrong = [
      ['calibrate', 'codec', at('few'), '--qrels', 'q.tsv'],
      ['calibrate', 'codec', at('few'), '--codecs', 'int8,zip'],
      ['calibrate', 'codec', at('few'), '--min-overlap', '95'],
      ['calibrate', 'codec'],
    ];
    for (const args of wrong) {
      const { status, stdout, stderr } = await maxsim(...args);
      expect([status, stdout], args.join(' ')).toEqual([2, '']);
      expect(stderr).toMatch(/^error: /);
    }
    await writeFile(at('others.tsv'), 'query-id\tcorpus-id\tscore\nnobody\tnothing\t1\n');
    const args = [...QUERIES, '--qrels', at('others.tsv')];
    const { status, stderr } = await maxsim('calibrate', 'codec', at('few'), ...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error INVALID_SOURCE: .* judges none of the queries of /m);
  });
});
