/** Hits on a terminal: the ranking as a table, and the evidence behind each hit. */
import type { Hit, RerankResult, SearchResult, TokenMatch } from '../maxsim.js';
import { formatMs, paint, printable, printLine, renderTable, snippet, warn } from './output.js';

export function printResult(query: string, result: SearchResult | RerankResult): void {
  printLine(
    result.hits.length === 0
      ? 'no hits'
      : renderTable(
          [
            { title: 'rank', align: 'right' },
            { title: 'id' },
            { title: 'score', align: 'right' },
            { title: 'stage' },
            { title: 'text', wrap: true },
          ],
          result.hits.map((hit, i) => [
            String(i + 1),
            paint.bold(printable(hit.id)),
            hit.score === null ? '' : hit.score.toFixed(3),
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
  if ('unknownIds' in result && result.unknownIds.length > 0) {
    warn(`not in the index: ${result.unknownIds.map(printable).join(', ')}`);
  }
  if ('excludedIds' in result && result.excludedIds.length > 0) {
    warn(`kept out by the filter: ${result.excludedIds.map(printable).join(', ')}`);
  }
  if (result.degraded !== null) warn(result.degraded.message);
}

function printExplanation(query: string, rank: number, hit: Hit): void {
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
  printLine(`${rank}. ${paint.bold(printable(hit.id))}`);
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
