/** Lines of text files, one by one, and the errors that name the bad ones. */
import { createReadStream } from 'node:fs';
import { MaxSimError, show } from '../errors.js';

/** A line of a jsonl file: what it holds, or what is wrong with it. */
export type Line<T> =
  | { ok: true; line: number; value: T }
  | { ok: false; line: number; error: MaxSimError };

/** Lines of a jsonl file that hold something, one by one; `parse` throws for a record it cannot use. */
export async function* readJsonLines<T>(
  file: string,
  parse: (record: Record<string, unknown>) => T,
): AsyncGenerator<Line<T>> {
  for await (const { line, text } of readLines(file)) yield parseLine(file, line, text, parse);
}

/** Lines that hold more than white space, with their numbers from 1, without line ends. */
export async function* readLines(file: string): AsyncGenerator<{ line: number; text: string }> {
  let line = 0;
  try {
    for await (const raw of splitLines(file)) {
      line += 1;
      const text = (line === 1 ? raw.replace(/^\uFEFF/, '') : raw).replace(/\r$/, '');
      if (text.trim() !== '') yield { line, text };
    }
  } catch (cause) {
    throw cause instanceof MaxSimError ? cause : unreadable(file, cause);
  }
}

/** Splits at line feeds only: readline also breaks at U+2028 (Node 24), which JSON strings may hold. */
async function* splitLines(file: string): AsyncGenerator<string> {
  let pending: string[] = [];
  for await (const piece of createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 18 })) {
    const [end = '', ...rest] = (piece as string).split('\n');
    pending.push(end);
    for (const start of rest) {
      yield pending.join('');
      pending = [start];
    }
  }
  yield pending.join('');
}

function parseLine<T>(
  file: string,
  line: number,
  text: string,
  parse: (record: Record<string, unknown>) => T,
): Line<T> {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return { ok: false, line, error: badLine(file, line, `is not valid JSON (${reason})`) };
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    return {
      ok: false,
      line,
      error: badLine(file, line, `must hold a JSON object, but holds ${show(record)}`),
    };
  }
  try {
    return { ok: true, line, value: parse(record as Record<string, unknown>) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return {
      ok: false,
      line,
      error: badLine(file, line, `is not usable: ${reason.replace(/\.$/, '')}`),
    };
  }
}

/** "Line 3 of qrels.tsv <problem>." */
export function badLine(file: string, line: number, problem: string): MaxSimError {
  return new MaxSimError('INVALID_SOURCE', `Line ${line} of ${file} ${problem}.`, {
    details: { file, line },
  });
}

export function unreadable(file: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('INVALID_SOURCE', `${file} cannot be read: ${reason}`, {
    cause,
    details: { file },
  });
}
