/** A cross-encoder under check. */

import { type LoadedCrossEncoder, loadCrossEncoder } from '../rerank/cross-encoder.js';
import { toPair } from '../rerank/pair.js';
import type { PairsJob } from '../rerank/score-pairs.js';
import type { FormKind } from '../runtime/graph-forms.js';
import type { GraphSpec } from '../runtime/session.js';
import { TextTokenizer } from '../runtime/tokenizer.js';
import { tokenFailures } from './late-interaction-trial.js';
import { type CheckedModel, LICENSED, type ModelRunner } from './model-runner.js';
import {
  type FormComparison,
  figure,
  LONG_TEXT,
  LONG_TOKENS,
  SHORT_TOKENS,
  type TokenReport,
  type Trial,
} from './model-trial.js';
import { compareScores, compareTokens } from './parity.js';
import type { CrossEncoderFixture } from './parity-fixture.js';
import { paritySamples } from './parity-samples.js';

/** Mean difference of logits. A single pair may be off by so many times as much. */
const TOLERANCE = { float32: 1e-4, other: 0.1 } as const;
const LARGEST_OF_MEAN = 6;
const LEAST_SAME_BEST = 0.9;
const SAMPLES = { queries: 10, documents: 5 } as const;

/** `number`: of the pair or query, as the fixture or the samples have it. */
type List = { number: number; query: string; documents: string[]; logits: number[] | null };

export class CrossEncoderTrial implements Trial {
  private reference: Promise<Float32Array[]> | undefined;

  private constructor(
    readonly against: string,
    private readonly loaded: LoadedCrossEncoder,
    private readonly lists: readonly List[],
    private readonly fixture: CrossEncoderFixture | null,
    private readonly tolerance: number | undefined,
  ) {}

  static async open(
    model: CheckedModel,
    referenceFile: string,
    fixture: CrossEncoderFixture | null,
    tolerance: number | undefined,
  ): Promise<CrossEncoderTrial> {
    const loaded = await loadCrossEncoder(model.directory, referenceFile, LICENSED);
    if (fixture === null) {
      const { queries, documents } = await paritySamples(SAMPLES.queries, SAMPLES.documents);
      const lists = queries.map((query, number) => ({ number, query, documents, logits: null }));
      return new CrossEncoderTrial(referenceFile, loaded, lists, null, tolerance);
    }
    const lists: List[] = [];
    for (const [number, { query, document, logit }] of fixture.pairs.entries()) {
      // What an engine refuses need not be scored alike.
      if (query.trim() !== '')
        lists.push({ number, query, documents: [document], logits: [logit] });
    }
    return new CrossEncoderTrial(fixture.peer, loaded, lists, fixture, tolerance);
  }

  async tokens(): Promise<TokenReport[]> {
    if (this.fixture === null) return [];
    const { directory, maxLength } = this.loaded;
    const tokenizer = await TextTokenizer.open(directory, { specialTokens: 'as-written' });
    // Two empty texts are taken for one by the reference tokenizers.
    const pairs = this.fixture.pairs.filter(({ query, document }) => query + document !== '');
    const found = pairs.map(({ query, document }) =>
      toPair(tokenizer.encode(query), tokenizer.encode(document), maxLength, tokenizer.pair),
    );
    const comparison = compareTokens(
      'pair',
      pairs,
      found.map(({ ids, types }) => ({ ids, types })),
    );
    const texts = pairs.map(({ query }) => query);
    return [{ ...comparison, config: 'pairs', failures: tokenFailures(comparison, texts) }];
  }

  async compare(runner: ModelRunner, graph: GraphSpec, kind: FormKind): Promise<FormComparison[]> {
    const found = await this.score(runner, graph);
    if (this.fixture === null) this.reference ??= this.score(runner, this.loaded.graph);
    const reference = await this.reference;
    const expected = this.lists.map(({ logits }, i) => logits ?? reference?.[i] ?? []);
    const tolerance = kind === 'float32' ? TOLERANCE.float32 : (this.tolerance ?? TOLERANCE.other);
    const scores = compareScores(expected, found, null);
    const { meanDifference, maxDifference, sameBest, queries, worst } = scores;
    const failures: string[] = [];
    const place = this.lists[worst?.query ?? 0];
    const what =
      this.fixture === null
        ? `query ${place?.number}, document ${worst?.document}`
        : `pair ${place?.number}`;
    const where = `most for ${what}: ${worst?.expected.toFixed(5)} was expected, ${worst?.found.toFixed(5)} found`;
    if (!(meanDifference <= tolerance)) {
      failures.push(
        `logits differ from ${this.against} by ${figure(meanDifference)} on average, where ${figure(tolerance)} is allowed; ${where}`,
      );
    }
    if (!(maxDifference <= LARGEST_OF_MEAN * tolerance)) {
      failures.push(
        `a logit differs from ${this.against} by ${figure(maxDifference)}, where ${figure(LARGEST_OF_MEAN * tolerance)} is allowed; ${where}`,
      );
    }
    if (sameBest !== null && !(sameBest >= LEAST_SAME_BEST * queries)) {
      failures.push(
        `${sameBest} of ${queries} queries keep their best document, where ${Math.ceil(LEAST_SAME_BEST * queries)} are needed`,
      );
    }
    const config = this.fixture === null ? 'samples' : 'pairs';
    return [{ config, against: this.against, scores, cosines: null, tolerance, failures }];
  }

  async runShort(runner: ModelRunner, graph: GraphSpec): Promise<void> {
    await runner.score(this.job(graph, LONG_TEXT, [LONG_TEXT], SHORT_TOKENS));
  }

  async runLong(runner: ModelRunner, graph: GraphSpec): Promise<void> {
    await runner.score(this.job(graph, LONG_TEXT, [LONG_TEXT], LONG_TOKENS));
  }

  private async score(runner: ModelRunner, graph: GraphSpec): Promise<Float32Array[]> {
    const scores: Float32Array[] = [];
    for (const { query, documents } of this.lists) {
      scores.push(await runner.score(this.job(graph, query, documents, this.loaded.maxLength)));
    }
    return scores;
  }

  private job(
    graph: GraphSpec,
    query: string,
    texts: readonly string[],
    maxLength: number,
  ): PairsJob {
    const { directory } = this.loaded;
    const length = Math.min(maxLength, this.loaded.maxLength);
    return { directory, graph, specialTokens: 'as-written', maxLength: length, query, texts };
  }
}
