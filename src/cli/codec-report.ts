/** What `maxsim calibrate codec` prints: what was measured on, a row per codec, a recommendation, notes. */
import type { CalibrationSample, QueryOrigin } from '../evaluate/calibration-sample.js';
import type { CodecCalibration } from '../evaluate/codec-calibration.js';
import type { CodecRecommendation } from '../evaluate/codec-recommendation.js';
import { CODECS, type CodecName } from '../maxsim.js';
import { formatCount, paint, printLine, renderFacts, renderTable } from './output.js';

export type CodecReport = Omit<CodecCalibration, 'recommendation'> & {
  directory: string;
  /** The index's own codec. */
  current: CodecName;
  sample: Pick<CalibrationSample, 'indexDocuments' | 'vectors' | 'relevantLeftOut'> & {
    queries: QueryOrigin;
  };
  recommendation: CodecRecommendation & { inUse: boolean };
};

const ORIGINS: Readonly<Record<QueryOrigin, string>> = {
  given: '',
  text: ' made from titles and sentences of the documents',
  tokens: ' made from tokens of the documents',
};

export function printCodecReport(report: CodecReport): void {
  const { sample, current, recommendation } = report;
  const judged = report.judgedQueries > 0 ? `, ${formatCount(report.judgedQueries)} judged` : '';
  printLine(
    renderFacts([
      [
        'documents',
        `${formatCount(report.documents)} of ${formatCount(sample.indexDocuments)}, ${formatCount(report.tokens)} tokens of dim ${report.dim}, ${originOf(sample.vectors)}`,
      ],
      ['queries', `${formatCount(report.queries)}${ORIGINS[sample.queries]}${judged}`],
    ]),
  );
  printLine();
  printTable(report);
  for (const row of report.codecs) {
    if ('refused' in row) printLine(`${row.codec} was not measured: ${row.refused.message}`);
  }
  printLine();
  printLine(
    renderFacts([
      ['recommended', paint.bold(recommendation.codec)],
      ['why', recommendation.reason],
      ['in use', `${current}: ${changeTo(recommendation.codec, report)}`],
    ]),
  );
  const notes = notesOn(report);
  if (notes.length > 0) printLine();
  for (const note of notes) printLine(`${paint.dim('note')} ${note}`);
}

function changeTo(codec: CodecName, { directory, current }: CodecReport): string {
  if (codec === current) return 'nothing to change';
  // What `recode` takes: down the ladder, and from a residual codec nowhere.
  const isResidual = /^r\d$/.test(current);
  return CODECS.indexOf(codec) > CODECS.indexOf(current) && !isResidual
    ? `maxsim recode ${directory} ${codec} makes it smaller in place`
    : `index into another directory with --codec ${codec}`;
}

/** What a reader must know to trust the figures no further than they go. */
export function notesOn({ sample, documents, judgedQueries, codecs }: CodecReport): string[] {
  const notes: string[] = [];
  const { decoded } = sample.vectors;
  if (decoded > 0) {
    notes.push(
      `${formatCount(decoded)} documents cannot be encoded again (no model or text that gives their vectors): their stored vectors were taken for exact, so the loss that is already in the index is not counted.`,
    );
  }
  if (sample.queries !== 'given') {
    notes.push(
      'Queries made from documents are easier than real ones: give --queries if you have any.',
    );
  }
  if (judgedQueries === 0) {
    notes.push(
      'Nothing is judged: overlap and tau compare with f32, whether that was right or not.',
    );
  }
  if (sample.relevantLeftOut > 0) {
    notes.push(
      `${formatCount(sample.relevantLeftOut)} relevant documents found no room in the sample: give more --documents.`,
    );
  }
  if (documents < sample.indexDocuments) {
    notes.push(
      'The sample has the best documents of each query, as the index ranks them, as far as there was room; below those it is thinner than the whole.',
    );
  }
  if (documents < sample.indexDocuments && codecs.some(hasCodebook)) {
    notes.push(
      'The residual codecs learned their centroids from the sample: a larger index learns more of them, and their codebook weighs less than "in all" says.',
    );
  }
  return notes;
}

function hasCodebook(row: CodecCalibration['codecs'][number]): boolean {
  return !('refused' in row) && row.codebookBytes > 0;
}

function originOf({ stored, encoded, decoded }: CalibrationSample['vectors']): string {
  const parts = [
    [stored, 'stored as f32'],
    [encoded, 'encoded again'],
    [decoded, 'decoded from the index'],
  ] as const;
  const there = parts.filter(([count]) => count > 0);
  if (there.length === 1) return there[0]?.[1] ?? '';
  return there.map(([count, what]) => `${formatCount(count)} ${what}`).join(', ');
}

function printTable({ codecs, judgedQueries, recommendation }: CodecReport): void {
  const judged = judgedQueries > 0;
  const right = (title: string) => ({ title, align: 'right' as const });
  const columns = [
    { title: 'codec' },
    right('bytes/token'),
    right('in all'),
    right('error'),
    right('of sd'),
    right('top 10 kept'),
    right('tau'),
    ...(judged ? [right('nDCG@10'), right('lost')] : []),
    right('rerank 100'),
    right('v int8'),
  ];
  const rows = codecs.flatMap((row) => {
    if ('refused' in row) return [];
    const { scoreError, overlap, tau, ndcg, rerank } = row;
    return [
      [
        row.codec === recommendation.codec ? paint.bold(row.codec) : row.codec,
        row.bytesPerToken.toFixed(1),
        row.totalBytesPerToken.toFixed(1),
        scoreError.meanAbsolute.toFixed(4),
        `${(100 * scoreError.relative).toFixed(1)}%`,
        interval(overlap),
        tau === null ? '' : tau.mean.toFixed(3),
        ...(judged
          ? [ndcg?.mean.toFixed(3) ?? '', ndcg === null ? '' : interval(ndcg.loss, 4)]
          : []),
        `${Math.round(rerank.micros)} µs`,
        rerank.ratioToInt8 === null ? '' : `${rerank.ratioToInt8.toFixed(2)}x`,
      ],
    ];
  });
  printLine(renderTable(columns, rows));
}

function interval(
  { mean, low, high }: { mean: number; low: number; high: number },
  digits = 3,
): string {
  return `${mean.toFixed(digits)} [${low.toFixed(digits)} to ${high.toFixed(digits)}]`;
}
