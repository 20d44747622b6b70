/** A late-interaction model under check. */
import { loadRecipe } from '../encode/load-recipe.js';
import { type Recipe, tokenizerOptions } from '../encode/recipe.js';
import { piecesOf, type TextKind, toSequences } from '../encode/sequence.js';
import type { FormKind } from '../runtime/graph-forms.js';
import type { GraphSpec } from '../runtime/session.js';
import { TextTokenizer } from '../runtime/tokenizer.js';
import type { EncodedText } from '../types.js';
import { type CheckedModel, type ModelRunner, source } from './model-runner.js';
import {
  type FormComparison,
  figure,
  LONG_TEXT,
  LONG_TOKENS,
  SHORT_TOKENS,
  type TokenReport,
  type Trial,
} from './model-trial.js';
import { compareScores, compareTokens, compareVectors, maxSim, type Tokenised } from './parity.js';
import type { LateInteractionFixture, ParityConfig } from './parity-fixture.js';
import { paritySamples } from './parity-samples.js';

/**
 * Largest difference of a MaxSim score per query vector. Float32 differs in the order of sums; quantised
 * forms in what their kernels make of activations (0.006 was seen of the embedded model).
 */
const TOLERANCE = { float32: 2e-5, other: 0.01 } as const;
const LEAST_MEAN_COSINE = 0.98;
/** Share of the sample's queries that must keep their best document. */
const LEAST_SAME_BEST = 0.9;
const SAMPLES = { queries: 10, documents: 20 } as const;

type Encoded = { queries: EncodedText[]; documents: EncodedText[]; scores: number[][] };

/** Texts, how they are encoded, and what is expected; null: what the reference form gives. */
type Case = {
  config: string;
  recipe: Recipe;
  queries: readonly string[];
  documents: readonly string[];
  expected: ParityConfig | null;
};

export class LateInteractionTrial implements Trial {
  private reference: Promise<Encoded> | undefined;

  private constructor(
    readonly against: string,
    private readonly model: CheckedModel,
    private readonly cases: readonly Case[],
    private readonly referenceGraph: GraphSpec | null,
    private readonly tolerance: number | undefined,
  ) {}

  /** Without a fixture, `referenceFile` is the form that the others are compared with. */
  static async open(
    model: CheckedModel,
    referenceFile: string,
    fixture: LateInteractionFixture | null,
    tolerance: number | undefined,
  ): Promise<LateInteractionTrial> {
    if (fixture === null) {
      const { recipe, graph } = await loadRecipe({ ...source(model), file: referenceFile });
      const samples = await paritySamples(SAMPLES.queries, SAMPLES.documents);
      const cases = [{ config: 'samples', recipe, ...samples, expected: null }];
      return new LateInteractionTrial(referenceFile, model, cases, graph, tolerance);
    }
    const { queries, documents } = fixture;
    const cases: Case[] = [];
    for (const expected of fixture.configs) {
      const recipe = await recipeOf(model, referenceFile, expected);
      const config = expected.queryExpansion ? 'with expansion' : 'without expansion';
      cases.push({ config, recipe, queries, documents, expected });
    }
    return new LateInteractionTrial(fixture.peer, model, cases, null, tolerance);
  }

  async tokens(): Promise<TokenReport[]> {
    const reports: TokenReport[] = [];
    for (const { config, recipe, queries, documents, expected } of this.cases) {
      if (expected === null) continue;
      const tokenizer = await TextTokenizer.open(this.model.directory, tokenizerOptions(recipe));
      const found = (kind: TextKind, texts: readonly string[]): Tokenised[] =>
        texts.map((text) => tokenise(text, kind, recipe, tokenizer));
      const wantedQueries = expected.queries.map(({ ids, attended, vectors }) => ({
        ids,
        attended,
        kept: Array.from({ length: vectors }, (_, i) => i),
      }));
      const wantedDocuments = expected.documents.map(({ ids, keep }) => ({
        ids,
        kept: [...keep].flatMap((bit, i) => (bit === '1' ? [i] : [])),
      }));
      for (const comparison of [
        compareTokens('query', wantedQueries, found('query', queries)),
        compareTokens('document', wantedDocuments, found('document', documents)),
      ]) {
        const texts = comparison.kind === 'query' ? queries : documents;
        reports.push({ ...comparison, config, failures: tokenFailures(comparison, texts) });
      }
    }
    return reports;
  }

  async compare(runner: ModelRunner, graph: GraphSpec, kind: FormKind): Promise<FormComparison[]> {
    const comparisons: FormComparison[] = [];
    const encodedDocuments = new Map<string, EncodedText[]>();
    for (const one of this.cases) {
      const found = await this.encode(runner, graph, one, encodedDocuments);
      if (one.expected === null && this.reference === undefined) {
        this.reference = this.encode(runner, this.referenceGraph as GraphSpec, one, new Map());
      }
      const reference = await this.reference;
      const scores = compareScores(
        one.expected?.scores ?? reference?.scores ?? [],
        found.scores,
        found.queries.map(({ tokenCount }) => tokenCount),
      );
      const pairs =
        one.expected === null ? aligned(reference, found) : sampled(one.expected, found);
      const tolerance =
        kind === 'float32' ? TOLERANCE.float32 : (this.tolerance ?? TOLERANCE.other);
      const comparison: FormComparison = {
        config: one.config,
        against: this.against,
        scores,
        cosines: pairs.length === 0 ? null : compareVectors(pairs, one.recipe.dim),
        tolerance,
        failures: [],
      };
      comparison.failures = failuresOf(comparison, one);
      comparisons.push(comparison);
    }
    return comparisons;
  }

  async runShort(runner: ModelRunner, graph: GraphSpec): Promise<void> {
    const { recipe } = this.cases[0] as Case;
    // Cut to length by hand: with expansion, 32 tokens would be 32 of the model's own choice.
    const short = { ...recipe, expansion: null, queryLength: SHORT_TOKENS };
    await runner.encode(this.job(short, graph), 'query', [LONG_TEXT]);
  }

  async runLong(runner: ModelRunner, graph: GraphSpec): Promise<void> {
    const { recipe } = this.cases[0] as Case;
    const long: Recipe = {
      ...recipe,
      documentLength: Math.min(LONG_TOKENS, recipe.documentLength),
      longDocuments: 'truncate',
    };
    await runner.encode(this.job(long, graph), 'document', [LONG_TEXT]);
  }

  private job(
    recipe: Recipe,
    graph: GraphSpec,
  ): { recipe: Recipe; directory: string; graph: GraphSpec } {
    return { recipe, directory: this.model.directory, graph };
  }

  /** Documents are the same with and without expansion: they are encoded once per graph. */
  private async encode(
    runner: ModelRunner,
    graph: GraphSpec,
    { recipe, queries, documents }: Case,
    known: Map<string, EncodedText[]>,
  ): Promise<Encoded> {
    const job = this.job(recipe, graph);
    const encodedQueries = await runner.encode(job, 'query', queries);
    const { documentMarkerId, documentLength, skiplistIds } = recipe;
    const key = JSON.stringify([documentMarkerId, documentLength, skiplistIds]);
    const encodedDocuments = known.get(key) ?? (await runner.encode(job, 'document', documents));
    known.set(key, encodedDocuments);
    const scores = encodedQueries.map((query) =>
      encodedDocuments.map((document) => maxSim(query.vectors, document.vectors, recipe.dim)),
    );
    return { queries: encodedQueries, documents: encodedDocuments, scores };
  }
}

/** What a folder says counts; where it says nothing, what the fixture was made with. */
async function recipeOf(model: CheckedModel, file: string, config: ParityConfig): Promise<Recipe> {
  const { recipe } = await loadRecipe({
    ...source(model),
    file,
    queryExpansion: config.queryExpansion,
    specialTokens: 'as-written',
  });
  if (recipe.layout !== 'by-hand') return recipe;
  const { queryMarkerId, documentMarkerId, queryLength, documentLength, skiplistIds } = config;
  const expansion = recipe.expansion === null ? null : { ...recipe.expansion, length: queryLength };
  return {
    ...recipe,
    queryMarkerId,
    documentMarkerId,
    queryLength,
    documentLength,
    skiplistIds,
    expansion,
  };
}

function tokenise(
  text: string,
  kind: TextKind,
  recipe: Recipe,
  tokenizer: TextTokenizer,
): Tokenised {
  const steps = piecesOf(text, kind, recipe, tokenizer);
  let step = steps.next();
  while (!step.done) step = steps.next();
  const { sequences } = toSequences(step.value, kind, recipe, tokenizer);
  const [{ ids, attended, kept } = { ids: [], attended: 0, kept: [] }] = sequences;
  return kind === 'query' ? { ids, attended, kept } : { ids, kept };
}

export function tokenFailures(
  { kind, texts, equalIds, equalKept, first }: Omit<TokenReport, 'config' | 'failures'>,
  all: readonly string[],
): string[] {
  if (first === null) return [];
  const { what, text, position, expected, found } = first;
  const begin = JSON.stringify((all[text] ?? '').slice(0, 40));
  const equal = Math.min(equalIds, equalKept);
  return [
    `${texts - equal} of ${texts} texts of the kind ${kind} are tokenised otherwise; the first is number ${text}, ${begin}: its ${what} differ at position ${position}, where ${expected ?? 'nothing'} was expected and ${found ?? 'nothing'} found`,
  ];
}

/** The vectors that a fixture holds of some texts, and those found. */
function sampled({ samples }: ParityConfig, found: Encoded): [number[], Float32Array][] {
  return samples.map(({ kind, index, rows }) => {
    const expected = rows.flat();
    const { vectors } = (kind === 'query' ? found.queries : found.documents)[index] as EncodedText;
    return [expected, vectors.subarray(0, expected.length)];
  });
}

function aligned(reference: Encoded | undefined, found: Encoded): [Float32Array, Float32Array][] {
  const all = ({ queries, documents }: Encoded): EncodedText[] => [...queries, ...documents];
  const ours = all(found);
  return reference === undefined
    ? []
    : all(reference).map(({ vectors }, i) => [vectors, (ours[i] as EncodedText).vectors]);
}

function failuresOf(
  { scores, cosines, tolerance, against }: FormComparison,
  { expected }: Case,
): string[] {
  const failures: string[] = [];
  const { maxPerQueryVector, sameBest, queries, worst } = scores;
  // Negated, so that what is no number fails.
  if (!((maxPerQueryVector ?? 0) <= tolerance)) {
    failures.push(
      `scores differ from ${against} by ${figure(maxPerQueryVector ?? 0)} per query vector, where ${figure(tolerance)} is allowed; most for query ${worst?.query} and document ${worst?.document}: ${worst?.expected.toFixed(5)} was expected, ${worst?.found.toFixed(5)} found`,
    );
  }
  if (cosines !== null && !(cosines.mean >= LEAST_MEAN_COSINE)) {
    failures.push(
      `token vectors have a mean cosine of ${cosines.mean.toFixed(4)} with those of ${against}, where ${LEAST_MEAN_COSINE} is needed`,
    );
  }
  // Fixtures hold texts that are made to tie; their tolerance is that of scores.
  if (expected === null && sameBest !== null && !(sameBest >= LEAST_SAME_BEST * queries)) {
    failures.push(
      `${sameBest} of ${queries} queries keep their best document, where ${Math.ceil(LEAST_SAME_BEST * queries)} are needed`,
    );
  }
  return failures;
}
