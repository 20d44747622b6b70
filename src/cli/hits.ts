/** Hits on a terminal: the ranking as a table, and the evidence behind each hit. */
import type {
  Hit,
  RerankResult,
  SearchPlan,
  SearchResult,
  StageReport,
  StageScore,
  TokenMatch,
} from '../maxsim.js';
import {
  formatCount,
  formatMs,
  paint,
  printable,
  printLine,
  renderFacts,
  renderTable,
  snippet,
  warn,
} from './output.js';

export function printResult(
  query: string,
  result: SearchResult | RerankResult,
  explainPlan = false,
): void {
  const calibrated = result.hits.some(({ probability }) => probability !== undefined);
  printLine(
    result.hits.length === 0
      ? result.verdict === 'nothing-relevant'
        ? 'nothing relevant: the best candidate is below the floor'
        : 'no hits'
      : renderTable(
          [
            { title: 'rank', align: 'right' },
            { title: 'id' },
            { title: 'score', align: 'right' },
            ...(calibrated ? [{ title: 'p', align: 'right' } as const] : []),
            { title: 'stage' },
            { title: 'text', wrap: true },
          ],
          result.hits.map((hit, i) => [
            String(i + 1),
            paint.bold(printable(hit.id)),
            hit.score === null ? '' : hit.score.toFixed(3),
            ...(calibrated ? [hit.probability?.toFixed(2) ?? ''] : []),
            hit.stage,
            hit.text === null ? paint.dim('(vectors only)') : snippet(hit.text),
          ]),
        ),
  );
  for (const [i, hit] of result.hits.entries()) printExplanation(query, i + 1, hit);
  const { encodeMs, scoreMs, crossEncoderMs, totalMs } = result.timings;
  const crossEncoder = crossEncoderMs > 0 ? ` · cross-encoder ${formatMs(crossEncoderMs)}` : '';
  printLine();
  printLine(
    paint.dim(
      `${formatMs(totalMs)}: encode ${formatMs(encodeMs)} · score ${formatMs(scoreMs)}${crossEncoder}`,
    ),
  );
  if (result.stages.length > 1) printLine(paint.dim(result.stages.map(stageLine).join(' > ')));
  if (result.gate !== null) {
    const what = result.gate.skipped ? 'sure' : 'not sure';
    printLine(paint.dim(`gate: ${what}, ${result.gate.score.toFixed(3)}`));
  }
  if ('plan' in result) printPlan(result.plan, explainPlan);
  if ('unknownIds' in result && result.unknownIds.length > 0) {
    warn(`not in the index: ${result.unknownIds.map(printable).join(', ')}`);
  }
  if ('excludedIds' in result && result.excludedIds.length > 0) {
    warn(`kept out by the filter: ${result.excludedIds.map(printable).join(', ')}`);
  }
  if (result.degraded !== null) warn(result.degraded.message);
}

function stageLine({ stage, candidates, scored, outcome, ms }: StageReport): string {
  if (outcome === 'skipped') return `${stage} skipped`;
  return `${stage} ${formatCount(scored)} of ${formatCount(candidates)} in ${formatMs(ms)}`;
}

/** How the hits were found: one line, or all that is known. */
function printPlan(plan: SearchPlan, all: boolean): void {
  const { method, reason, certified, documents, depth, codes, postings, scored, excluded } = plan;
  const of = `${formatCount(scored)} of ${formatCount(documents)} documents scored`;
  const found = certified ? 'exact' : `the best ${formatCount(depth)} candidates`;
  printLine(paint.dim(`${method}: ${of}, ${found}`));
  if (!all) return;
  const { exhaustive, scan, lists } = plan.estimatesMs;
  const { table, candidates, scoring } = plan.timingsMs;
  const estimate = (name: string, ms: number | null): string =>
    `${name} ${ms === null ? 'not to be had' : formatMs(ms)}`;
  printLine();
  printLine(
    renderFacts([
      ['method', `${method}: ${reason}`],
      ['depth', `${formatCount(depth)} candidates`],
      ['looked at', `${formatCount(codes)} codes, ${formatCount(postings)} list entries`],
      ['scored', `${of}, ${formatCount(excluded)} kept out by a bound`],
      ['exact', certified ? 'yes, proven' : 'not proven'],
      [
        'estimates',
        [estimate('exhaustive', exhaustive), estimate('scan', scan), estimate('lists', lists)].join(
          ' · ',
        ),
      ],
      [
        'time',
        `table ${formatMs(table)} · candidates ${formatMs(candidates)} · scoring ${formatMs(scoring)}`,
      ],
    ]),
  );
}

function printExplanation(query: string, rank: number, hit: Hit): void {
  if (hit.reason !== undefined) printLine(`${rank}. ${printable(hit.reason)}`);
  if (hit.explanation === undefined) return;
  const { words, markers } = byWord(hit.explanation);
  const rows = words.map(({ match, contribution }) => [
    wordAt(query, match.querySpan),
    match.documentSpan === null
      ? paint.dim(match.documentToken)
      : context(hit.text ?? '', match.documentSpan),
    contribution.toFixed(3),
  ]);
  if (markers.count > 0) {
    rows.push([paint.dim(`${markers.count} markers`), '', markers.contribution.toFixed(3)]);
  }
  printLine();
  printLine(
    `${rank}. ${paint.bold(printable(hit.id))}  ${paint.dim(hit.scores.map(scoreOf).join(' · '))}`,
  );
  printLine(
    renderTable(
      [
        { title: 'query' },
        { title: 'best in the passage', wrap: true },
        { title: 'adds', align: 'right' },
      ],
      rows,
    ),
  );
}

function scoreOf({ stage, score, rank }: StageScore): string {
  return `${stage} ${score.toFixed(3)}, rank ${rank}`;
}

/** Tokens with a place in the query, and the sum of those without: [CLS], the query marker, [MASK]s. */
function byWord(matches: readonly TokenMatch[]): {
  words: { match: TokenMatch; contribution: number }[];
  markers: { count: number; contribution: number };
} {
  const words = [];
  const markers = { count: 0, contribution: 0 };
  for (const match of matches) {
    if (match.querySpan !== null) words.push({ match, contribution: match.contribution });
    else {
      markers.count += 1;
      markers.contribution += match.contribution;
    }
  }
  return { words, markers };
}

function wordAt(text: string, span: TokenMatch['querySpan']): string {
  return span === null ? '' : printable(text.slice(span[0], span[1]));
}

const AROUND = 24;

/** The document token in bold with some text on both sides. */
function context(text: string, [start, end]: readonly [number, number]): string {
  const before = text.slice(Math.max(0, start - AROUND), start);
  const after = text.slice(end, end + AROUND);
  return `${start > AROUND ? '…' : ''}${printable(before)}${paint.bold(`[${printable(text.slice(start, end))}]`)}${printable(after)}${end + AROUND < text.length ? '…' : ''}`;
}
