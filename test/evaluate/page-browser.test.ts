import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderPage } from '../../dist/evaluate/comparison/page.js';
import type { ComparisonReport } from '../../dist/evaluate/comparison/report.js';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];

/** Of CHROMIUM, or the first on the path: nothing is downloaded for a test. */
function findChromium(): string | null {
  const { CHROMIUM, PATH = '' } = process.env;
  if (CHROMIUM) return CHROMIUM;
  const files = PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return files.find((file) => existsSync(file)) ?? null;
}

const executable = findChromium();
const why = executable === null ? ' (skipped: no Chromium on the path, none in CHROMIUM)' : '';

describe.skipIf(executable === null)(`the page of a report in a browser${why}`, () => {
  let folder: string;
  let browser: Browser;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'maxsim-page-'));
    const report = JSON.parse(
      readFileSync(new URL('../golden/comparison.json', import.meta.url), 'utf8'),
    ) as ComparisonReport;
    await writeFile(join(folder, 'report.html'), await renderPage(report));
    browser = await chromium.launch({
      executablePath: executable ?? '',
      // Containers run as root, which Chromium's sandbox refuses.
      args: ['--no-sandbox'],
    });
  });

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it.each([
    ['light', 1200],
    ['dark', 1200],
    ['dark', 390],
  ] as const)('draws all charts in %s at %d px, in silence', async (colorScheme, width) => {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 } });
    const page = await context.newPage();
    const requests: string[] = [];
    const complaints: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    const address = pathToFileURL(join(folder, 'report.html')).href;
    await page.goto(address);
    expect(requests).toEqual([address]);
    expect(complaints).toEqual([]);
    const seen = await page.evaluate<{ scroll: number; sizes: number[]; ink: string }>(`({
      scroll: document.documentElement.scrollWidth,
      sizes: [...document.querySelectorAll('svg')].map((svg) => svg.getBoundingClientRect().width),
      ink: getComputedStyle(document.querySelector('svg text')).fill,
    })`);
    expect(seen.scroll).toBeLessThanOrEqual(width);
    expect(seen.sizes).toHaveLength(5);
    for (const size of seen.sizes) expect(size).toBeGreaterThan(300);
    expect(seen.ink).toBe(colorScheme === 'light' ? 'rgb(26, 26, 26)' : 'rgb(232, 232, 232)');
    await context.close();
  });
});
