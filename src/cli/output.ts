/**
 * What commands print: tables and lines for people, one JSON document for programs. Results go to
 * standard output; progress, warnings and errors to standard error.
 */
import Table from 'cli-table3';
import pc from 'picocolors';

/** Colour for a stream: only on a terminal, and never with NO_COLOR; FORCE_COLOR overrides both. */
function paletteOf(stream: NodeJS.WriteStream): ReturnType<typeof pc.createColors> {
  const { NO_COLOR, FORCE_COLOR, TERM } = process.env;
  const forced = FORCE_COLOR !== undefined && FORCE_COLOR !== '' && FORCE_COLOR !== '0';
  return pc.createColors(forced || (stream.isTTY === true && !NO_COLOR && TERM !== 'dumb'));
}

export const paint = paletteOf(process.stdout);
export const paintError = paletteOf(process.stderr);

export function printLine(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** One JSON document: indented on a terminal, a single line in a pipe. */
export function printJson(value: unknown): void {
  printLine(JSON.stringify(value, null, process.stdout.isTTY ? 2 : undefined));
}

export function warn(line: string): void {
  process.stderr.write(`${paintError.yellow('warning')} ${line}\n`);
}

export type Column = {
  title: string;
  align?: 'left' | 'right';
  /** The one column that takes the width that is left and wraps. */
  wrap?: boolean;
};

const GAP = 2;
const MIN_WRAPPED = 24;

/** A table without frames; columns are as wide as their content, the wrapped one gets the rest. */
export function renderTable(columns: readonly Column[], rows: readonly string[][]): string {
  const widthOf = (column: number): number =>
    Math.max(
      displayWidth(columns[column]?.title ?? ''),
      ...rows.map((row) => displayWidth(row[column] ?? '')),
    );
  // In a pipe a row is a line.
  const available = process.stdout.columns ?? Number.POSITIVE_INFINITY;
  const used = columns.reduce((sum, column, i) => sum + (column.wrap ? 0 : widthOf(i) + GAP), 0);
  const wrapped = Math.max(MIN_WRAPPED, available - used);
  const table = new Table({
    head: columns.map(({ title }) => paint.dim(title)),
    colAligns: columns.map(({ align }) => align ?? 'left'),
    colWidths: columns.map(({ wrap }, i) => (wrap ? Math.min(widthOf(i) + GAP, wrapped) : null)),
    style: { 'padding-left': 0, 'padding-right': GAP, head: [], border: [] },
    chars: NO_FRAME,
  });
  for (const row of rows) {
    table.push(row.map((content, i) => ({ content, wordWrap: columns[i]?.wrap === true })));
  }
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

/** "name   value" lines. */
export function renderFacts(facts: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return facts.map(([name, value]) => `${paint.dim(name.padEnd(width + GAP))}${value}`).join('\n');
}

/** The beginning of a text on one line. */
export function snippet(text: string, length = 80): string {
  const line = printable(text).trim();
  if (line.length <= length) return line;
  const cut = line.slice(0, length).toWellFormed().replace('\uFFFD', '');
  const space = cut.lastIndexOf(' ');
  return `${space > length * 0.6 ? cut.slice(0, space) : cut}…`;
}

/** Lines of at most `width` characters, broken at spaces. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of printable(text).trim().split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** White space is one space, and control characters, which a terminal would obey, are gone. */
export function printable(text: string): string {
  return text.replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ');
}

export function formatMs(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : String(Math.round(ms))} ms`;
}

export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${power === 0 ? bytes : (bytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** "1:05" or "2:03:04". */
export function formatDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

function displayWidth(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes take no room
  return text.replace(/\u001b\[\d+m/g, '').length;
}

const NO_FRAME = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};
