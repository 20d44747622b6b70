/**
 * A report as one page that asks the network for nothing: text, tables and charts, in light and dark, for
 * screens of any width and for paper. Every chart has its table.
 */
import { chartsOf, renderSvg } from './charts.js';
import type { ComparisonReport, SystemReport } from './report.js';
import { interval, percent, pText, signed } from './verdict.js';

type Table = { caption: string; head: string[]; rows: string[][]; numbersFrom: number };

/** Throws MISSING_DEPENDENCY where the charts' libraries are not installed. */
export async function renderPage(report: ComparisonReport): Promise<string> {
  const figures = new Map<string, string>();
  for (const chart of chartsOf(report)) {
    figures.set(chart.id, figure(chart.title, chart.description, await renderSvg(chart)));
  }
  const chart = (id: string): string => figures.get(id) ?? '';
  const { data, settings } = report;
  const title = `${data.name}: which reranker, if any`;
  const sections = [
    section('What the numbers say', [list(report.verdict), list(report.notes)]),
    section('Quality', [chart('quality'), table(qualityTable(report))]),
    section('Which differences are real', [chart('differences'), table(differenceTable(report))]),
    ...(figures.has('depth')
      ? [section('How deep', [chart('depth'), table(depthTable(report))])]
      : []),
    section('At what cost', [
      chart('latency'),
      table(timeTable(report)),
      chart('stages'),
      table(stageTable(report)),
    ]),
    section('Agreement', [table(agreementTable(report)), ...report.agreement.map(flips)]),
    ...(settings.slice === null
      ? []
      : [section(`By ${settings.slice}`, [table(sliceTable(report, settings.slice))])]),
    section('What was measured, on what', [table(factTable(report))]),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${data.queries} judged queries${data.split === null ? '' : ` of the split ${escapeHtml(data.split)}`}, ${data.documents} documents. Measures by trec_eval's definitions; intervals are 95 % BCa bootstrap over queries.</p>
${sections.filter((one) => one !== '').join('\n')}
</main>
</body>
</html>
`;
}

/** Colours of one scheme; contrast with `page` is at least 4.5 for ink and 3 for series (a test). */
export const SCHEMES = {
  light: {
    page: '#ffffff',
    ink: '#1a1a1a',
    rule: '#6b6b6b',
    grid: '#e3e3e3',
    series: ['#0b6bcb', '#b3430f', '#11733c', '#7d3fb2', '#8a6100', '#b0206b'],
  },
  dark: {
    page: '#15181c',
    ink: '#e8e8e8',
    rule: '#9a9a9a',
    grid: '#33383f',
    series: ['#5fb0ff', '#ff9561', '#5fcf8f', '#c79bff', '#e5b94a', '#ff86bd'],
  },
} as const;

function variables({
  page,
  ink,
  rule,
  grid,
  series,
}: (typeof SCHEMES)[keyof typeof SCHEMES]): string {
  const own = `--page:${page};--ink:${ink};--rule:${rule};--grid:${grid};`;
  return own + series.map((value, i) => `--series-${i + 1}:${value};`).join('');
}

const STYLE = `
:root{${variables(SCHEMES.light)}}
@media screen and (prefers-color-scheme:dark){:root{${variables(SCHEMES.dark)}}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.25rem;margin-top:2.5rem}h3{font-size:1rem}
figure{margin:1rem 0;overflow-x:auto}figcaption{font-size:.9rem}
/* On a phone a chart scrolls: shrunk, nobody could read it. */
svg{max-width:100%;min-width:36rem;height:auto}
.table{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem;padding:.25rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--grid);text-align:left;white-space:nowrap}
td.text{white-space:normal;min-width:12rem}
.number{text-align:right}
thead th{border-bottom-color:var(--rule)}
@media print{main{max-width:none}section,figure,tr{break-inside:avoid}.table,figure{overflow:visible}th,td{white-space:normal}}
`;

function section(title: string, parts: readonly string[]): string {
  const body = parts.filter((part) => part !== '').join('\n');
  return body === '' ? '' : `<section>\n<h2>${escapeHtml(title)}</h2>\n${body}\n</section>`;
}

function figure(title: string, description: string, svg: string): string {
  const label = escapeHtml(`${title}. ${description}`);
  const drawn = svg.replace('<svg ', `<svg role="img" aria-label="${label}" `);
  return `<figure>\n${drawn}\n<figcaption>${label}</figcaption>\n</figure>`;
}

function list(items: readonly string[]): string {
  if (items.length === 0) return '';
  return `<ul>\n${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('\n')}\n</ul>`;
}

function table({ caption, head, rows, numbersFrom }: Table): string {
  if (rows.length === 0) return '';
  const kind = (i: number): string => (i >= numbersFrom ? ' class="number"' : '');
  const cells = (row: readonly string[]): string =>
    row
      .map((cell, i) =>
        i === 0
          ? `<th scope="row">${escapeHtml(cell)}</th>`
          : `<td${kind(i) || (cell.length > 40 ? ' class="text"' : '')}>${escapeHtml(cell)}</td>`,
      )
      .join('');
  return `<div class="table" tabindex="0" role="region" aria-label="${escapeHtml(caption)}">
<table>
<caption>${escapeHtml(caption)}</caption>
<thead><tr>${head.map((cell, i) => `<th scope="col"${kind(i)}>${escapeHtml(cell)}</th>`).join('')}</tr></thead>
<tbody>
${rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n')}
</tbody>
</table>
</div>`;
}

function qualityTable({ systems }: ComparisonReport): Table {
  const measures = Object.keys(systems[0]?.measures ?? {}).slice(1);
  return {
    caption: 'Means over queries; oracle: the best order of the candidates',
    head: ['system', 'nDCG@10', 'oracle', 'better', 'worse', ...measures],
    rows: systems.map((system) => [
      system.name,
      interval(system.interval),
      system.headroom === null ? '' : system.headroom.oracle.toFixed(3),
      system.effect === null ? '' : percent(system.effect.better / system.effect.queries),
      system.effect === null ? '' : percent(system.effect.harmRate),
      ...measures.map((measure) => (system.measures[measure] ?? 0).toFixed(3)),
    ]),
    numbersFrom: 1,
  };
}

function differenceTable({ comparisons, settings }: ComparisonReport): Table {
  return {
    caption: `Paired randomisation tests, adjusted by Holm; outcome at a margin of ${settings.margin}`,
    head: ['nDCG@10 of', 'minus that of', 'outcome', 'difference', 'p', 'p (Holm)', 'detectable'],
    rows: comparisons.map(
      ({ system, against, difference, p, pHolm, minimumDetectable, outcome }) => [
        system,
        against,
        outcome,
        `${signed(difference.mean)} [${signed(difference.low)} to ${signed(difference.high)}]`,
        pText(p).replace('= ', ''),
        pText(pHolm).replace('= ', ''),
        minimumDetectable?.toFixed(3) ?? '',
      ],
    ),
    numbersFrom: 3,
  };
}

function depthTable({ systems, settings }: ComparisonReport): Table {
  const rerankers = [
    ...new Set(systems.filter(({ depth }) => depth !== null).map((one) => one.system)),
  ];
  const cell = (system: string, depth: number, value: (one: SystemReport) => number): string => {
    const found = systems.find((one) => one.system === system && one.depth === depth);
    return found === undefined ? '' : value(found).toFixed(3);
  };
  return {
    caption: 'nDCG@10 by depth, and what any order of the candidates could reach',
    head: ['system', ...settings.depths.flatMap((depth) => [`@${depth}`, `oracle@${depth}`])],
    rows: rerankers.map((system) => [
      system,
      ...settings.depths.flatMap((depth) => [
        cell(system, depth, ({ interval: { mean } }) => mean),
        cell(system, depth, ({ headroom }) => headroom?.oracle ?? 0),
      ]),
    ]),
    numbersFrom: 1,
  };
}

function timeTable({ systems }: ComparisonReport): Table {
  return {
    caption: 'Milliseconds of one query at a time',
    head: ['system', 'nDCG@10', 'mean', 'p50', 'p99'],
    rows: systems.flatMap(({ name, ms, interval: { mean } }) =>
      ms === null ? [] : [[name, mean.toFixed(3), ...[ms.mean, ms.p50, ms.p99].map(figures)]],
    ),
    numbersFrom: 1,
  };
}

function stageTable({ systems }: ComparisonReport): Table {
  const stages = [...new Set(systems.flatMap(({ ms }) => Object.keys(ms?.stages ?? {})))];
  return {
    caption: 'Mean milliseconds by stage',
    head: ['system', ...stages],
    rows: systems.flatMap(({ name, ms }) =>
      ms === null
        ? []
        : [
            [
              name,
              ...stages.map((stage) =>
                ms.stages[stage] === undefined ? '' : figures(ms.stages[stage]),
              ),
            ],
          ],
    ),
    numbersFrom: 1,
  };
}

function agreementTable({ agreement }: ComparisonReport): Table {
  return {
    caption:
      "Kendall's tau, rank-biased overlap (persistence 0.9), shared documents among the first five",
    head: ['system', 'and', 'tau', 'RBO', 'top 5'],
    rows: agreement.map(({ systems: [a, b], tau, rbo, top5 }) => [
      a,
      b,
      tau === null ? '' : interval(tau),
      interval(rbo),
      interval(top5),
    ]),
    numbersFrom: 2,
  };
}

function flips({ systems: [a, b], flips: found }: ComparisonReport['agreement'][number]): string {
  return table({
    caption: `Where ${a} and ${b} part most`,
    head: ['query', 'text', `best of ${a}`, `best of ${b}`, `nDCG@10 of ${a}`, `of ${b}`],
    rows: found.map(({ query, text, best, values }) => [
      query,
      text,
      best[0] ?? '',
      best[1] ?? '',
      values[0].toFixed(3),
      values[1].toFixed(3),
    ]),
    numbersFrom: 4,
  });
}

function sliceTable({ systems }: ComparisonReport, field: string): Table {
  const shown = [...new Map(systems.map((system) => [system.system, system])).values()];
  return {
    caption: `nDCG@10 by ${field}, rerankers at their deepest; slices are small, and nothing is tested on them`,
    head: [field, 'queries', ...shown.map(({ name }) => name)],
    rows: (shown[0]?.slices ?? []).map(({ name, queries }, i) => [
      name,
      String(queries),
      ...shown.map(({ slices }) => (slices[i]?.value ?? 0).toFixed(3)),
    ]),
    numbersFrom: 1,
  };
}

function factTable({ environment, models, settings, indexing, data }: ComparisonReport): Table {
  const facts: [string, string][] = [
    ['data', `${data.name}${data.split === null ? '' : `, ${data.split}`}`],
    ...Object.entries(environment).map(([name, value]): [string, string] => [name, String(value)]),
    ...models.map(({ role, name, license, codec, fingerprint }): [string, string] => [
      role,
      `${name}, ${license ?? 'licence unknown'}${codec === null ? '' : `, stored as ${codec}`}, ${fingerprint}`,
    ]),
    ...(indexing === null
      ? []
      : [
          [
            'index',
            `${indexing.documents} documents, ${indexing.tokens} tokens, ${indexing.sizeBytes} bytes`,
          ] as [string, string],
        ]),
    ...Object.entries(settings).map(([name, value]): [string, string] => [name, String(value)]),
  ];
  return {
    caption: 'Machine, models and settings',
    head: ['what', 'value'],
    rows: facts,
    numbersFrom: 9,
  };
}

function figures(ms: number): string {
  return ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : String(Math.round(ms));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character] as string);
}
