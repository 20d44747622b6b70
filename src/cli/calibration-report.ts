/** What `maxsim calibrate gate|floor|cascade` found, on a terminal. */
import type { Interval } from '../evaluate/bootstrap.js';
import type { CascadeCalibration } from '../evaluate/cascade-calibration.js';
import type { FloorCalibration } from '../evaluate/floor-calibration.js';
import type { GateCalibration } from '../evaluate/gate-calibration.js';
import { formatCount, formatMs, paint, printLine, renderFacts, renderTable } from './output.js';

const right = (title: string) => ({ title, align: 'right' as const });
const percent = (share: number | null): string =>
  share === null ? '' : `${(100 * share).toFixed(1)} %`;

export function printGate(
  report: Omit<GateCalibration, 'gate'> & { queries: number; epsilon: number },
  written: string | null,
): void {
  printLine(renderFacts([['queries', `${formatCount(report.queries)}, one half of them to test`]]));
  printLine();
  printLine(
    renderTable(
      ['skipped', 'lost', 'at most', 'net', 'net at most'].map(right),
      report.curve.map((point) =>
        [
          percent(point.skipShare),
          point.loss.toFixed(4),
          point.lossBound.toFixed(4),
          point.netLoss.toFixed(4),
          point.netLossBound.toFixed(4),
        ].map((cell) => (point === report.chosen ? paint.bold(cell) : cell)),
      ),
    ),
  );
  conclude(report.verdict, [written]);
}

export function printFloor(
  report: FloorCalibration,
  alpha: number,
  written: readonly (string | null)[],
): void {
  const { answerable, notFound, unanswerable, curve, floor, reliability } = report;
  printLine(
    renderFacts([
      [
        'queries',
        `${formatCount(answerable)} with a relevant candidate, ${formatCount(notFound)} without, ${formatCount(unanswerable)} unanswerable`,
      ],
      ['floor', `${floor.value.toFixed(3)} at alpha ${alpha}`],
      ...(reliability === null
        ? []
        : [
            [
              'calibrator',
              `Brier ${reliability.brier.toFixed(4)}, expected calibration error ${reliability.ece.toFixed(4)} on the other half`,
            ] as const,
          ]),
    ]),
  );
  printLine();
  printLine(
    renderTable(
      ['alpha', 'floor', 'caught', 'lost', 'lost at most'].map(right),
      curve.map((point) =>
        [
          String(point.alpha),
          point.floor === null ? `needs ${2 * point.needed} queries` : point.floor.toFixed(3),
          percent(point.caught),
          percent(point.lost),
          percent(point.lostBound),
        ].map((cell) => (point.alpha === alpha ? paint.bold(cell) : cell)),
      ),
    ),
  );
  conclude(report.verdict, written);
}

export function printCascade(
  { queries, first, late, stageMs, points, chosen, verdict }: CascadeCalibration,
  stages: readonly string[],
  written: string | null,
): void {
  const times = stages.map((stage, i) => `${stage} ${formatMs(stageMs[i] ?? 0)}`);
  printLine(
    renderFacts([
      ['queries', formatCount(queries)],
      ['time', `${times.join(', ')} a query, at the most candidates`],
    ]),
  );
  printLine();
  const blank = ['', '', '', '', ''];
  printLine(
    renderTable(
      [
        { title: 'order' },
        ...['nDCG@10', 'P@5', 'gain', 'lost', 'better', 'worse', 'reads'].map(right),
      ],
      [
        ['first stage', first.ndcg.toFixed(4), first.precision5.toFixed(3), ...blank],
        ['late interaction', late.ndcg.toFixed(4), late.precision5.toFixed(3), ...blank],
        ...points.map((point) =>
          [
            `${stages[1] ?? ''} on ${point.keep}`,
            point.ndcg.toFixed(4),
            point.precision5.toFixed(3),
            interval(point.gain),
            interval(point.loss),
            percent(point.better),
            percent(point.worse),
            percent(point.share),
          ].map((cell) => (point === chosen ? paint.bold(cell) : cell)),
        ),
      ],
    ),
  );
  conclude(verdict, [written]);
}

function conclude(verdict: string, written: readonly (string | null)[]): void {
  printLine();
  printLine(verdict);
  for (const file of written) if (file !== null) printLine(paint.dim(`written to ${file}`));
}

function interval({ mean, low, high }: Interval): string {
  return `${mean.toFixed(4)} [${low.toFixed(4)} to ${high.toFixed(4)}]`;
}
