/** How the demo's comparisons look on a terminal and in JSON. */
import { isAnswerable, type Question } from './challenge.js';
import { type Comparison, DEPTH, type ModeMeasures, type Ranking } from './comparison.js';
import { formatMs, paint, printLine, renderTable, wrap } from './output.js';

const SHOWN = 5;
const LABEL = 8;

export function printQuestion(question: Question, comparison: Comparison): void {
  const width = process.stdout.columns ?? 100;
  printLine();
  printLine(`${paint.bold(question.text)}  ${paint.dim(question.mode)}`);
  if (question.answer !== null) printLine(labelled('answer', question.answer, width));
  else if (question.grades.size > 0) {
    printLine(
      labelled(
        'answer',
        'none: nothing in the corpus answers this. Every ranking still has a top.',
        width,
      ),
    );
  }
  if (question.trap !== null) printLine(labelled('trap', question.trap, width));
  printRankings(comparison, question.grades, width);
}

/** A question of one's own: no judgements, so the best passage is shown instead. */
export function printOwnQuestion(text: string, comparison: Comparison, best: string | null): void {
  const width = process.stdout.columns ?? 100;
  printLine();
  printLine(paint.bold(text));
  printRankings(comparison, new Map(), width);
  if (best !== null) {
    printLine();
    printLine(labelled('best', best, width));
  }
}

function printRankings(
  { bm25, lateInteraction, crossEncoder }: Comparison,
  grades: ReadonlyMap<string, number>,
  width: number,
): void {
  const stages = [
    { name: 'BM25', ranking: bm25 },
    { name: 'late interaction', ranking: lateInteraction },
    ...(crossEncoder === null ? [] : [{ name: 'cross-encoder', ranking: crossEncoder }]),
  ];
  // Rank and gaps take 6 columns; marks and gaps 4 a stage.
  const room = Math.max(16, Math.floor((width - 6) / stages.length) - 4);
  const rows = Array.from({ length: SHOWN }, (_, i) => [
    String(i + 1),
    ...stages.map(({ ranking }) => cell(ranking.ids[i], grades, room)),
  ]);
  printLine(
    renderTable(
      [
        { title: '', align: 'right' },
        ...stages.map(({ name, ranking }) => ({ title: `  ${name}, ${formatMs(ranking.ms)}` })),
      ],
      rows,
    ),
  );
}

function cell(id: string | undefined, grades: ReadonlyMap<string, number>, room: number): string {
  if (id === undefined) return '';
  const shown = id.length > room ? `${id.slice(0, room - 1)}…` : id;
  switch (grades.get(id)) {
    case undefined:
      return `  ${shown}`;
    case 0:
      return paint.red(`✗ ${shown}`);
    case 1:
      return paint.yellow(`~ ${shown}`);
    default:
      return paint.green(`✔ ${shown}`);
  }
}

function labelled(label: string, text: string, width: number): string {
  const lines = wrap(text, Math.max(24, width - LABEL));
  return lines
    .map((line, i) => `${paint.dim((i === 0 ? label : '').padEnd(LABEL))}${line}`)
    .join('\n');
}

export function printLegend(): void {
  printLine(
    paint.dim(
      `✔ answers  ~ helps  ✗ known near-miss.  Late interaction searches the whole index; the cross-encoder reorders its best ${DEPTH.crossEncoder}.`,
    ),
  );
}

export function printMeasures(rows: readonly ModeMeasures[], unanswerable: number): void {
  const withCrossEncoder = rows.every((row) => row.crossEncoder !== null);
  const names = ['BM25', 'late int.', ...(withCrossEncoder ? ['cross-enc.'] : [])];
  const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' });
  const stagesOf = (row: ModeMeasures) =>
    [row.bm25, row.lateInteraction, row.crossEncoder].filter((stage) => stage !== null);
  const total = rows.at(-1);
  printLine();
  printLine(
    renderTable(
      [
        { title: 'failure mode' },
        right('questions'),
        ...names.map((name) => right(`nDCG@10 ${name}`)),
        ...names.map((name) => right(`P@1 ${name}`)),
      ],
      rows.map((row) => [
        row === total ? paint.bold(row.mode) : row.mode,
        String(row.questions),
        ...best(stagesOf(row).map((stage) => stage.ndcg10)),
        ...best(stagesOf(row).map((stage) => stage.p1)),
      ]),
    ),
  );
  printLine();
  if (total !== undefined) {
    const times = stagesOf(total).map((stage, i) => `${names[i]} ${formatMs(stage.ms)}`);
    printLine(`time a question: ${times.join(' · ')}`);
  }
  printLine(
    paint.dim(
      `Means over the answerable questions; ${unanswerable} that nothing answers have no ranking measure.${withCrossEncoder ? '' : ' --all adds the cross-encoder.'}`,
    ),
  );
}

function best(values: readonly number[]): string[] {
  const top = Math.max(...values);
  return values.map((value) => (value === top ? paint.bold(value.toFixed(3)) : value.toFixed(3)));
}

/** A question and its rankings for programs; grade null: not judged. */
export function questionJson(question: Question, comparison: Comparison): object {
  const { id, text, mode, answer } = question;
  const top = (ranking: Ranking): object => ({
    ms: ranking.ms,
    hits: ranking.ids
      .slice(0, SHOWN)
      .map((passage) => ({ id: passage, grade: question.grades.get(passage) ?? null })),
  });
  return {
    id,
    text,
    mode,
    answer,
    answerable: isAnswerable(question),
    bm25: top(comparison.bm25),
    lateInteraction: top(comparison.lateInteraction),
    crossEncoder: comparison.crossEncoder === null ? null : top(comparison.crossEncoder),
  };
}
