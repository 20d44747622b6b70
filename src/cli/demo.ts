/**
 * `maxsim demo`: indexes the challenge set and lays three rankings side by side, question by question,
 * then measures them over all questions.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { passageText } from '../evaluate/collection.js';
import { Bm25 } from '../retrieve/bm25.js';
import { type Challenge, isAnswerable, readChallenge } from './challenge.js';
import { type Comparison, compare, measureModes } from './comparison.js';
import { type DemoIndex, openDemoIndex } from './demo-index.js';
import {
  printLegend,
  printMeasures,
  printOwnQuestion,
  printQuestion,
  questionJson,
} from './demo-report.js';
import { Interrupt } from './interrupt.js';
import { formatCount, formatDuration, printJson, printLine } from './output.js';

type DemoOptions = { all: boolean; question?: string; challenge?: string; json: boolean };

const CHALLENGE = fileURLToPath(new URL('../../challenge/', import.meta.url));

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('compare BM25, late interaction and cross-encoder on the challenge set')
    .option('--all', 'show every question, and measure the cross-encoder on all of them', false)
    .option('--question <text>', 'rank for a question of your own')
    .option('--challenge <dir>', 'another set in the same layout (see challenge/README.md)')
    .option('--json', 'print JSON', false)
    .action(runDemo);
}

async function runDemo(options: DemoOptions): Promise<void> {
  const directory = options.challenge === undefined ? CHALLENGE : resolve(options.challenge);
  const challenge = await readChallenge(directory);
  const interrupt = new Interrupt();
  const { signal } = interrupt;
  try {
    const demo = await openDemoIndex(directory, challenge.corpus, {
      cached: options.challenge === undefined,
      json: options.json,
      signal,
    });
    try {
      if (!signal.aborted) await showDemo(challenge, demo, options, signal);
    } finally {
      await demo.close();
    }
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

async function showDemo(
  { corpus, questions }: Challenge,
  { engine, report }: DemoIndex,
  { all, question: own, json }: DemoOptions,
  signal: AbortSignal,
): Promise<void> {
  const passages = corpus.map((document) => ({ id: document.id, text: passageText(document) }));
  const stages = { bm25: new Bm25(passages), engine };
  // The first pairs load the cross-encoder: its time is nobody's question.
  await compare('warm up', { ...stages, crossEncoder: true });
  if (!json) {
    const fresh = report.added + report.replaced;
    printLine(
      `${formatCount(corpus.length)} passages, ${formatCount(engine.index.tokenCount)} tokens, ${fresh === 0 ? 'indexed before' : `${formatCount(fresh)} indexed in ${formatDuration(report.elapsedMs)}`}`,
    );
  }
  if (own !== undefined) {
    const comparison = await compare(own, { ...stages, crossEncoder: true });
    const best = comparison.crossEncoder?.ids[0];
    const text = passages.find((passage) => passage.id === best)?.text ?? null;
    if (json) printJson({ text: own, ...comparison });
    else printOwnQuestion(own, comparison, text);
    return;
  }
  if (!json) printLegend();
  const comparisons = new Map<string, Comparison>();
  const shown: object[] = [];
  for (const question of questions) {
    if (signal.aborted) return;
    if (!all && !question.demo) continue;
    const comparison = await compare(question.text, { ...stages, crossEncoder: true });
    comparisons.set(question.id, comparison);
    if (json) shown.push(questionJson(question, comparison));
    else printQuestion(question, comparison);
  }
  const others = questions.filter((question) => !comparisons.has(question.id));
  for (const question of others) {
    if (signal.aborted) return;
    comparisons.set(question.id, await compare(question.text, { ...stages, crossEncoder: false }));
  }
  const measures = measureModes(questions, comparisons);
  const unanswerable = questions.filter((question) => !isAnswerable(question)).length;
  if (json) {
    const { documentCount: documents, tokenCount: tokens } = engine.index;
    printJson({ index: { documents, tokens }, questions: shown, measures, unanswerable });
  } else printMeasures(measures, unanswerable);
}
