import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { buildReport, type ReportFacts } from '../../dist/evaluate/comparison/report.js';
import { endsOf, type Row, reorder } from '../../dist/evaluate/comparison/rows.js';
import { ScoreCache } from '../../dist/evaluate/comparison/score-cache.js';
import { parseSystems } from '../../dist/evaluate/comparison/systems.js';
import type { TestCollection } from '../../dist/evaluate/open-collection.js';
import { seededRandom } from '../../dist/random.js';
import { schemaErrors } from './report-schema.js';

describe('systems', () => {
  const names = (list: string, over?: string) => {
    const { firstStages, rerankers } = parseSystems(list, over);
    return [firstStages.map(({ name }) => name), rerankers.map(({ name }) => name)];
  };

  it('are first stages and rerankers; what is reranked is compared too', () => {
    expect(names('bm25,colbert')).toEqual([['bm25'], ['colbert:bm25']]);
    expect(names('colbert')).toEqual([['bm25'], ['colbert:bm25']]);
    expect(names('colbert:hybrid, cross-encoder:bm25')).toEqual([
      ['hybrid', 'bm25'],
      ['colbert:hybrid', 'cross-encoder:bm25'],
    ]);
    expect(names('cascade,hybrid,./runs/mine.trec', 'hybrid')).toEqual([
      ['hybrid', 'mine'],
      ['cascade:hybrid'],
    ]);
    expect(names('colbert:./mine.trec')).toEqual([['mine'], ['colbert:mine']]);
    expect(names('bm25,runs/bm25.trec')).toEqual([['bm25', 'bm25.trec'], []]);
  });

  it.each(['', 'bm26', 'colbert:cross-encoder', 'colbert:'])('%j is refused', (list) => {
    expect(() => parseSystems(list)).toThrow('systems must be some of');
  });

  it('two runs of one name are refused', () => {
    expect(() => parseSystems('a/x.trec,b/x.trec')).toThrow('Two runs have the name "x"');
  });
});

describe('rows', () => {
  const candidates = ['a', 'b', 'c', 'd'].map((id, i) => ({ id, score: 9 - i }));

  it('are reordered as deep as was read; ties and the rest keep their order', () => {
    expect(reorder(candidates, [1, 3, 3], 3)).toEqual([
      { id: 'b', score: 3 },
      { id: 'c', score: 3 },
      { id: 'a', score: 1 },
      { id: 'd', score: null },
    ]);
  });

  it('are timed at each depth, or where the candidates end', () => {
    expect(endsOf([10, 50, 100], 70)).toEqual([10, 50, 70]);
    expect(endsOf([10, 50], 5)).toEqual([5]);
    expect(endsOf([10], 0)).toEqual([]);
  });
});

it('scores survive a torn line, and belong to their texts and candidates', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'maxsim-scores-'));
  const file = join(folder, 'deep', 'scores.jsonl');
  const query = { id: 'q1', text: 'fruit' };
  const row = { scores: [2, 1], marks: [{ count: 2, ms: 0.5 }] };
  try {
    {
      await using cache = await ScoreCache.open(file);
      await cache.set(query, ['a', 'b', 'c'], row);
    }
    await appendFile(file, '{"query":"q2","hash":"1234","sco');
    {
      await using cache = await ScoreCache.open(file);
      // A longer list begins with what was scored.
      expect(cache.get(query, ['a', 'b', 'x'])).toMatchObject(row);
      expect(cache.get(query, ['b', 'a'])).toBeUndefined();
      expect(cache.get(query, ['a'])).toBeUndefined();
      expect(cache.get({ id: 'q1', text: 'fruits' }, ['a', 'b'])).toBeUndefined();
      expect(cache.get({ id: 'q2', text: '' }, [])).toBeUndefined();
      await cache.set({ id: 'q2', text: 'bees' }, [], {
        scores: [1],
        marks: [{ count: 1, ms: 1 }],
        ids: ['b'],
      });
    }
    await using cache = await ScoreCache.open(file);
    expect(cache.get({ id: 'q2', text: 'bees' }, [])).toBeDefined();
    expect((await readFile(file, 'utf8')).split('\n')).toHaveLength(4);
    // Of two depths the shallower one is known by itself, whatever came below it.
    await cache.set(query, ['a', 'b', 'c'], {
      scores: [3, 2, 1],
      marks: [
        { count: 2, ms: 0.5 },
        { count: 3, ms: 0.7 },
      ],
    });
    const shallower = { scores: [3, 2], marks: [{ count: 2, ms: 0.5 }] };
    expect(cache.get(query, ['a', 'b'])).toEqual(shallower);
    expect(cache.get(query, ['a', 'b', 'x', 'c'])).toEqual(shallower);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

describe('a report', () => {
  const QUERIES = 120;
  const queries = Array.from({ length: QUERIES }, (_, i) => ({
    id: `q${i}`,
    text: `question ${i}`,
    metadata: { mode: i % 2 === 0 ? 'even' : 'odd' },
  }));
  const documents = Array.from({ length: 20 }, (_, i) => `d${i}`);
  const collection: TestCollection = {
    name: 'made up',
    split: null,
    corpus: documents.map((id) => ({ id, title: '', text: id, metadata: null })),
    queries,
    judgements: new Map(queries.map(({ id }) => [id, new Map([['d0', 1]])])),
    withoutRelevant: 0,
    withoutText: 0,
    missingRelevant: 0,
    badDocuments: 0,
  };

  /** Rankings that have d0 at a place that is drawn below `worst`. */
  function row(name: string, worst: number, seed: number, over: Partial<Row> = {}): Row {
    const random = seededRandom(seed);
    const places = queries.map(() => Math.floor(random() * worst));
    const ms = new Float64Array(QUERIES).fill(over.kind === 'cross-encoder' ? 100 : 2);
    return {
      name,
      system: name.split('@')[0] as string,
      kind: 'bm25',
      firstStage: null,
      depth: null,
      ranking: (query) => {
        const ids = documents.slice(1);
        ids.splice(places[query] as number, 0, 'd0');
        return ids.map((id, i) => ({ id, score: -i }));
      },
      stageMs: { [name]: ms },
      totalMs: ms,
      ...over,
    };
  }

  const facts: ReportFacts = {
    environment: {},
    models: [],
    settings: {
      depths: [10, 20],
      keep: 20,
      margin: 0.01,
      confidence: 0.95,
      resamples: 500,
      rounds: 2000,
      seed: 1,
      slice: 'mode',
    },
    indexing: null,
    notes: [],
  };
  const bm25 = row('bm25', 20, 1);
  const colbert = { kind: 'colbert', firstStage: 'bm25', depth: 20 } as const;
  const pairs = { kind: 'cross-encoder', firstStage: 'bm25', depth: 20 } as const;
  const build = (...rows: Row[]) => buildReport(collection, rows, facts);

  it('measures every row, with effects and headroom against its first stage', () => {
    const { systems } = build(bm25, row('colbert:bm25@20', 4, 2, colbert));
    const [first, reranked] = systems;
    expect(first).toMatchObject({ headroom: null, effect: null });
    expect(reranked?.headroom?.oracle).toBe(1);
    const { precisionGap = 0, ceiling = 0 } = reranked?.headroom ?? {};
    const [before, after] = systems.map(({ measures }) => measures['nDCG@10'] as number);
    expect(precisionGap).toBeCloseTo((after as number) - (before as number), 12);
    expect(ceiling).toBeCloseTo(1 - (before as number), 12);
    expect(reranked?.effect?.queries).toBe(QUERIES);
    expect(reranked?.slices.map(({ name, queries: count }) => [name, count])).toEqual([
      ['even', 60],
      ['odd', 60],
    ]);
    expect(reranked?.ms).toMatchObject({ p50: 2, p99: 2 });
  });

  it('gives identical systems p = 1, no effect and full agreement', () => {
    const { comparisons, agreement, verdict } = build(bm25, {
      ...bm25,
      ...colbert,
      name: 'same@20',
    });
    expect(comparisons[0]).toMatchObject({ p: 1, pHolm: 1, outcome: 'non-inferior' });
    expect(comparisons[0]?.effect).toMatchObject({ better: 0, worse: 0, equal: QUERIES });
    expect(comparisons[0]?.difference).toEqual({ mean: 0, low: 0, high: 0 });
    expect(agreement[0]?.flips ?? []).toEqual([]);
    expect(verdict.join(' ')).toContain('cannot be told from bm25');
  });

  it('is what its schema says', () => {
    expect(schemaErrors(build(bm25, row('colbert:bm25@20', 4, 2, colbert)))).toEqual([]);
    const one = { ...collection, queries: queries.slice(0, 1) };
    expect(schemaErrors(buildReport(one, [bm25, { ...bm25, name: 'hybrid' }], facts))).toEqual([]);
  });

  it('says what is better, what is as good, and what is worse', () => {
    const good = row('colbert:bm25@20', 3, 5, colbert);
    const best = row('cross-encoder:bm25@20', 3, 5, pairs);
    const worse = row('cross-encoder:bm25@20', 19, 7, pairs);
    const said = (...rows: Row[]) => build(...rows).verdict.join('\n');
    expect(said(bm25, good)).toMatch(/colbert:bm25@20 is better than bm25: \+0\.\d+ nDCG@10/);
    expect(said(bm25, good, best)).toContain(
      'colbert:bm25@20 is not worse than cross-encoder:bm25@20 by the margin of 0.01: +0.000 nDCG@10 [+0.000 to +0.000]; a query takes 2.0 ms instead of 100 ms.',
    );
    expect(said(bm25, good, worse)).toContain(
      'colbert:bm25@20 is better than cross-encoder:bm25@20',
    );
    const bad = row('colbert:bm25@20', 19, 9, colbert);
    expect(said(bm25, bad, row('cross-encoder:bm25@20', 2, 3, pairs))).toContain(
      'is worse than cross-encoder:bm25@20 by more than the margin of 0.01',
    );
  });

  it('says whether the shallowest depth is enough', () => {
    const at = (depth: number, worst: number, seed: number) =>
      row(`colbert:bm25@${depth}`, worst, seed, { ...colbert, depth });
    const said = (...rows: Row[]) => build(bm25, ...rows).verdict.join('\n');
    expect(said(at(10, 3, 5), at(15, 7, 9), at(20, 9, 6))).toContain(
      'colbert:bm25 is worse for reading 20 candidates instead of 10: -0.',
    );
    expect(said(at(10, 9, 6), at(20, 3, 5))).toContain(
      'colbert:bm25 gains by reading 20 candidates instead of 10: +0.',
    );
    expect(said(at(10, 3, 5), at(20, 3, 5))).toContain('10 candidates are enough for colbert:bm25');
  });

  it('adjusts p for all comparisons, and is the same for the same seed', () => {
    const rows = [bm25, row('colbert:bm25@20', 15, 2, colbert), row('hybrid', 19, 4)];
    const { comparisons } = build(...rows);
    expect(comparisons).toHaveLength(2);
    for (const { p, pHolm } of comparisons) expect(pHolm).toBeGreaterThanOrEqual(p);
    expect(build(...rows)).toEqual(build(...rows));
  });
});
