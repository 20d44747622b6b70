/**
 * One question ranked three ways: BM25 over the texts; late interaction over every stored token, so
 * that it can find what shares no word with the question; the cross-encoder, which reorders its best.
 */
import { ndcg, precision } from '../evaluate/measures.js';
import type { Engine, Hit, Stage } from '../maxsim.js';
import type { Bm25 } from '../retrieve/bm25.js';
import { isAnswerable, type Question } from './challenge.js';

export type StageName = 'bm25' | 'lateInteraction' | 'crossEncoder';

export type Ranking = {
  /** Passage ids, best first. */
  ids: string[];
  /** Of this stage alone. */
  ms: number;
};

export type Comparison = {
  bm25: Ranking;
  lateInteraction: Ranking;
  /** Null when it was not asked for. */
  crossEncoder: Ranking | null;
};

/** How long the rankings are, and how many of the best the cross-encoder reads. */
export const DEPTH = { ranking: 50, crossEncoder: 20 } as const;

export async function compare(
  text: string,
  { bm25, engine, crossEncoder }: { bm25: Bm25; engine: Engine; crossEncoder: boolean },
): Promise<Comparison> {
  const started = performance.now();
  const first = bm25.search(text, DEPTH.ranking).map((hit) => hit.id);
  const bm25Ms = performance.now() - started;
  // One call gives both orders: every hit keeps the rank that each stage gave it.
  const { hits, timings } = await engine.search(text, {
    topK: DEPTH.ranking,
    crossEncoder: crossEncoder ? { keep: DEPTH.crossEncoder } : false,
  });
  const late = [...hits].sort(
    (a, b) => rankIn(a, 'late-interaction') - rankIn(b, 'late-interaction'),
  );
  return {
    bm25: { ids: first, ms: bm25Ms },
    lateInteraction: { ids: late.map((hit) => hit.id), ms: timings.encodeMs + timings.scoreMs },
    crossEncoder: crossEncoder
      ? { ids: hits.map((hit) => hit.id), ms: timings.crossEncoderMs }
      : null,
  };
}

function rankIn(hit: Hit, stage: Stage): number {
  return hit.scores.find((score) => score.stage === stage)?.rank ?? Number.POSITIVE_INFINITY;
}

export type StageMeasures = { ndcg10: number; p1: number; ms: number };

/** Means over the answerable questions of one failure mode, or of all ('all'). */
export type ModeMeasures = {
  mode: string;
  questions: number;
  bm25: StageMeasures;
  lateInteraction: StageMeasures;
  crossEncoder: StageMeasures | null;
};

/** A line per failure mode, in the order they come in, and one for all; the unanswerable are left out. */
export function measureModes(
  questions: readonly Question[],
  comparisons: ReadonlyMap<string, Comparison>,
): ModeMeasures[] {
  const judged = questions.filter(
    (question) => isAnswerable(question) && comparisons.has(question.id),
  );
  const modes = [...new Set(judged.map((question) => question.mode))];
  const rows = modes.map((mode) => ({
    mode,
    members: judged.filter((question) => question.mode === mode),
  }));
  return [...rows, { mode: 'all', members: judged }].map(({ mode, members }) => {
    const measure = (stage: StageName): StageMeasures | null => {
      const sum = { ndcg10: 0, p1: 0, ms: 0 };
      for (const { id, grades } of members) {
        const ranking = comparisons.get(id)?.[stage];
        if (ranking === null || ranking === undefined) return null;
        sum.ndcg10 += ndcg(ranking.ids, grades, 10);
        sum.p1 += precision(ranking.ids, grades, 1);
        sum.ms += ranking.ms;
      }
      const count = Math.max(1, members.length);
      return { ndcg10: sum.ndcg10 / count, p1: sum.p1 / count, ms: sum.ms / count };
    };
    const none = { ndcg10: 0, p1: 0, ms: 0 };
    return {
      mode,
      questions: members.length,
      bm25: measure('bm25') ?? none,
      lateInteraction: measure('lateInteraction') ?? none,
      crossEncoder: measure('crossEncoder'),
    };
  });
}
