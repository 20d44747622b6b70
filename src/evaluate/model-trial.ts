/**
 * What is asked of every model under check, late-interaction or cross-encoder: are its token ids those of
 * the fixture, does a graph agree with the fixture or with the reference form, and one run of each of the
 * two loads that its speed is measured by.
 */
import type { FormKind } from '../runtime/graph-forms.js';
import type { GraphSpec } from '../runtime/session.js';
import type { ModelRunner } from './model-runner.js';
import type { CosineComparison, ScoreComparison, TokenComparison } from './parity.js';

export type TokenReport = TokenComparison & {
  /** Which way to encode: 'with expansion'. */
  config: string;
  /** In words; empty where all is the same. */
  failures: string[];
};

export type FormComparison = {
  config: string;
  /** The peer that made the fixture, or the file of the reference form. */
  against: string;
  scores: ScoreComparison;
  /** Of token vectors; null for cross-encoders, and where the fixture holds none. */
  cosines: CosineComparison | null;
  /** What the largest difference per query vector may be; for logits, the mean difference. */
  tolerance: number;
  failures: string[];
};

export type Trial = {
  /** What every other form is compared with. */
  readonly against: string;
  tokens(): Promise<TokenReport[]>;
  compare(runner: ModelRunner, graph: GraphSpec, kind: FormKind): Promise<FormComparison[]>;
  /** One short text, for its latency. */
  runShort(runner: ModelRunner, graph: GraphSpec): Promise<void>;
  /** One long text, for throughput. */
  runLong(runner: ModelRunner, graph: GraphSpec): Promise<void>;
};

/** Tokens of the short and the long text. */
export const SHORT_TOKENS = 32;
export const LONG_TOKENS = 256;

/** More words than any of them takes: what is beyond is cut. */
export const LONG_TEXT = 'late interaction keeps one vector for every token of a text '.repeat(40);

/** "0.00512": enough digits to see a difference by. */
export function figure(value: number): string {
  return String(Number(value.toPrecision(3)));
}
