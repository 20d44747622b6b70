import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { chartsOf, renderSvg, SERIES } from '../../dist/evaluate/comparison/charts.js';
import { renderPage, SCHEMES } from '../../dist/evaluate/comparison/page.js';
import type { ComparisonReport } from '../../dist/evaluate/comparison/report.js';

/** What `maxsim compare` wrote for the challenge set: bm25, colbert, cross-encoder, depths 10 and 50. */
const report = JSON.parse(
  readFileSync(new URL('../golden/comparison.json', import.meta.url), 'utf8'),
) as ComparisonReport;

describe('the page of a report', async () => {
  const page = await renderPage(report);

  it('asks the network for nothing, and runs nothing', () => {
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
    expect(page).not.toMatch(/<(script|link|img|iframe|object|embed)\b/i);
    expect(page).not.toMatch(/\b(src|href|xlink:href)=/i);
    expect(page).not.toMatch(/url\((?!#)|@import/i);
    // Names of namespaces are no addresses.
    expect(page.replace(/xmlns(:xlink)?="[^"]*"/g, '')).not.toMatch(/https?:/);
  });

  it('draws every chart, and each has its table', () => {
    expect(page.match(/<svg role="img" aria-label="[^"]+"/g)).toHaveLength(5);
    const sections = page.split('<section>').filter((part) => part.includes('<svg'));
    for (const part of sections) {
      const [charts, tables] = [part.split('<svg ').length, part.split('<table>').length];
      expect(tables).toBeGreaterThanOrEqual(charts);
    }
    for (const { name } of report.systems) expect(page).toContain(`<th scope="row">${name}</th>`);
    for (const sentence of report.verdict) {
      expect(page).toContain(sentence.replaceAll('>', '&gt;').replaceAll('<', '&lt;'));
    }
  });

  it('has colours for both schemes, and no others', () => {
    const drawn = page.slice(page.indexOf('<svg'));
    const colours = new Set(
      [...drawn.matchAll(/\b(?:fill|stroke)="([^"]+)"/g)].map(([, value]) => value),
    );
    for (const value of colours) expect(value).toMatch(/^(none|transparent|var\(--[\w-]+\))$/);
    for (const [, name] of drawn.matchAll(/var\((--[\w-]+)\)/g)) {
      expect(page.split(`${name}:#`).length, name).toBe(3);
    }
  });

  it('text is text, whatever it holds', async () => {
    const [first, ...others] = report.agreement;
    const flip = { query: '<q>', text: '"a" & <script>', values: [0, 1], best: [null, 'x'] };
    const agreement = [{ ...first, flips: [flip] }, ...others] as ComparisonReport['agreement'];
    const other = await renderPage({ ...report, agreement });
    expect(other).toContain('&quot;a&quot; &amp; &lt;script&gt;');
    expect(other).not.toContain('<script>');
  });

  it('has no chart where there is nothing to draw', async () => {
    const alone = {
      ...report,
      systems: report.systems.slice(0, 1),
      comparisons: [],
      agreement: [],
    };
    expect(chartsOf(alone).map(({ id }) => id)).toEqual(['quality', 'stages']);
    expect(await renderPage(alone)).not.toContain('How deep');
    for (const chart of chartsOf(alone)) expect(await renderSvg(chart)).toMatch(/^<svg /);
  });
});

/** Relative luminance and contrast of WCAG 2.2. */
function contrast(a: string, b: string): number {
  const luminance = (colour: string): number => {
    const [r = 0, g = 0, blue = 0] = [1, 3, 5].map((at) => {
      const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

it.each(Object.entries(SCHEMES))('%s has the contrast that WCAG asks for', (_, scheme) => {
  expect(scheme.series).toHaveLength(SERIES);
  expect(contrast(scheme.ink, scheme.page)).toBeGreaterThan(7);
  expect(contrast(scheme.rule, scheme.page)).toBeGreaterThan(3);
  for (const colour of scheme.series) expect(contrast(colour, scheme.page)).toBeGreaterThan(4.5);
});
