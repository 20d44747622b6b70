/**
 * The charts of a report as SVG, drawn by vega without a browser. Colours are CSS variables of the page,
 * so that one drawing serves light and dark. vega and vega-lite are optional: 24 MB that only a report
 * needs.
 */
import { MaxSimError } from '../../errors.js';
import type { ComparisonReport, SystemReport } from './report.js';

export type Chart = {
  id: string;
  title: string;
  /** What it shows, for those who do not see it. */
  description: string;
  spec: Record<string, unknown>;
};

/** Series in the order in which they get their colours; the page defines as many. */
export const SERIES = 6;

const WIDTH = 540;
const ROW = 24;

const colour = (i: number): string => `var(--series-${(i % SERIES) + 1})`;
const PALETTE = Array.from({ length: SERIES }, (_, i) => colour(i));

const CONFIG = {
  background: null,
  font: 'system-ui, sans-serif',
  view: { stroke: null },
  axis: {
    labelColor: 'var(--ink)',
    titleColor: 'var(--ink)',
    gridColor: 'var(--grid)',
    domainColor: 'var(--rule)',
    tickColor: 'var(--rule)',
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    labelLimit: 0,
  },
  legend: {
    labelColor: 'var(--ink)',
    titleColor: 'var(--ink)',
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    labelLimit: 260,
    orient: 'bottom',
    columns: 2,
  },
};

export function chartsOf(report: ComparisonReport): Chart[] {
  return [
    qualityChart(report),
    differenceChart(report),
    depthChart(report),
    latencyChart(report),
    stageChart(report),
  ].filter((chart) => chart !== null);
}

/** Throws MISSING_DEPENDENCY where vega or vega-lite are not installed. */
export async function renderSvg({ spec }: Chart): Promise<string> {
  const { vega, vegaLite } = await load();
  const { spec: compiled } = vegaLite.compile({ config: CONFIG, ...spec } as never);
  const view = new vega.View(vega.parse(compiled), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

async function load() {
  try {
    const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
    return { vega, vegaLite };
  } catch (cause) {
    throw new MaxSimError(
      'MISSING_DEPENDENCY',
      'report.html needs vega and vega-lite to draw its charts: npm install vega@6.4.0 vega-lite@6.4.3',
      { cause },
    );
  }
}

const names = (systems: readonly SystemReport[]): string[] => systems.map(({ name }) => name);

/** Dots with their intervals, a row per system. */
function qualityChart({ systems }: ComparisonReport): Chart {
  return {
    id: 'quality',
    title: 'nDCG@10 and its 95 % interval',
    description: 'A dot and an interval for each system.',
    spec: intervals(
      systems.map(({ name, interval: { mean, low, high } }) => ({ name, mean, low, high })),
      names(systems),
      'nDCG@10',
    ),
  };
}

function intervals(
  values: { name: string; mean: number; low: number; high: number }[],
  order: string[],
  title: string,
): Record<string, unknown> {
  const y = { field: 'name', type: 'nominal', sort: order, title: null };
  const x = (field: string): object => ({
    field,
    type: 'quantitative',
    title,
    scale: { zero: false, nice: true },
  });
  return {
    width: WIDTH,
    height: { step: ROW },
    data: { values },
    encoding: { y },
    layer: [
      {
        mark: { type: 'rule', color: colour(0), strokeWidth: 2 },
        encoding: { x: x('low'), x2: { field: 'high' } },
      },
      {
        mark: { type: 'point', filled: true, size: 70, color: colour(0), opacity: 1 },
        encoding: { x: x('mean') },
      },
    ],
  };
}

/** The tests, with a line at no difference and one at the margin. */
function differenceChart({ comparisons, settings }: ComparisonReport): Chart | null {
  if (comparisons.length === 0) return null;
  const values = comparisons.map(({ system, against, difference }) => ({
    name: `${system} v ${against}`,
    ...difference,
  }));
  const order = values.map(({ name }) => name);
  const spec = intervals(values, order, 'difference in nDCG@10');
  const line = (at: number, dash: number[]): object => ({
    mark: { type: 'rule', color: 'var(--ink)', strokeDash: dash },
    encoding: { x: { datum: at }, y: null },
  });
  return {
    id: 'differences',
    title: 'Differences',
    description: `A dot and an interval for each test; a line at 0, a dashed one at a loss of ${settings.margin}.`,
    spec: {
      ...spec,
      layer: [line(0, [1, 0]), line(-settings.margin, [4, 4]), ...(spec['layer'] as object[])],
    },
  };
}

/** nDCG@10 by depth, a line per reranker, with the oracle of its candidates. */
function depthChart({ systems, settings }: ComparisonReport): Chart | null {
  if (settings.depths.length < 2) return null;
  const rerankers = systems.filter(({ depth }) => depth !== null);
  const values = rerankers.map(({ system, depth, interval: { mean } }) => ({
    system,
    depth,
    value: mean,
  }));
  for (const { firstStage, depth, headroom } of rerankers) {
    const system = `oracle of ${firstStage}`;
    const known = values.some((one) => one.system === system && one.depth === depth);
    if (!known && headroom !== null) values.push({ system, depth, value: headroom.oracle });
  }
  const series = [...new Set(values.map(({ system }) => system))];
  if (values.length === 0 || series.length > SERIES) return null;
  return {
    id: 'depth',
    title: 'nDCG@10 by depth',
    description: 'A line for each reranker over the number of candidates that it reads.',
    spec: {
      width: WIDTH,
      height: 260,
      data: { values },
      mark: { type: 'line', point: { size: 60 }, strokeWidth: 2 },
      encoding: {
        x: {
          field: 'depth',
          type: 'quantitative',
          title: 'candidates read',
          scale: { type: 'log', nice: false, padding: 20 },
          axis: { values: settings.depths, format: 'd', grid: false },
        },
        y: { field: 'value', type: 'quantitative', title: 'nDCG@10', scale: { zero: false } },
        ...bySeries('system', series),
      },
    },
  };
}

function bySeries(field: string, series: string[]): object {
  const scale = { domain: series, range: PALETTE.slice(0, series.length) };
  return {
    color: { field, type: 'nominal', title: null, scale },
    // Not by colour alone.
    shape: { field, type: 'nominal', title: null, scale: { domain: series } },
  };
}

/** Quality against the time of a query. */
function latencyChart({ systems }: ComparisonReport): Chart | null {
  const timed = systems.filter(({ ms }) => ms !== null && ms.p50 > 0);
  if (timed.length < 2) return null;
  const values = timed.map(({ name, ms, interval: { mean } }) => ({
    name,
    ms: ms?.p50 ?? 0,
    value: mean,
  }));
  const axes = {
    x: {
      field: 'ms',
      type: 'quantitative',
      title: 'ms a query, p50',
      scale: { type: 'log' },
      axis: { grid: false },
    },
    y: { field: 'value', type: 'quantitative', title: 'nDCG@10', scale: { zero: false } },
  };
  return {
    id: 'latency',
    title: 'Quality against time',
    description: 'A dot for each system; better is higher, faster is further left.',
    spec: {
      width: WIDTH,
      height: 300,
      data: { values },
      encoding: axes,
      layer: [
        { mark: { type: 'point', filled: true, size: 70, color: colour(0), opacity: 1 } },
        {
          mark: { type: 'text', align: 'left', dx: 8, fontSize: 11, fill: 'var(--ink)' },
          encoding: { text: { field: 'name' } },
        },
      ],
    },
  };
}

/** Where a query's time goes, a bar per system. */
function stageChart({ systems }: ComparisonReport): Chart | null {
  const values = systems.flatMap(({ name, ms }) =>
    Object.entries(ms?.stages ?? {}).map(([stage, mean]) => ({ name, stage, mean })),
  );
  const series = [...new Set(values.map(({ stage }) => stage))];
  if (values.length === 0 || series.length > SERIES) return null;
  const scale = { domain: series, range: PALETTE.slice(0, series.length) };
  return {
    id: 'stages',
    title: 'Mean time by stage',
    description: 'A bar for each system, divided by stage.',
    spec: {
      width: WIDTH,
      height: { step: ROW },
      data: { values },
      mark: { type: 'bar', stroke: 'var(--page)', strokeWidth: 1 },
      encoding: {
        y: { field: 'name', type: 'nominal', sort: names(systems), title: null },
        x: { field: 'mean', type: 'quantitative', title: 'ms a query, mean' },
        color: { field: 'stage', type: 'nominal', title: null, scale },
        order: { field: 'stage', sort: series },
      },
    },
  };
}
