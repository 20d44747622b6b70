/**
 * Lines of a body that is a stream, as they arrive: nothing is read ahead of whoever takes them, so a
 * client that is faster than the index is held up by TCP. UTF-8; the last line needs no line feed.
 */
import type { Readable } from 'node:stream';
import { RequestError } from './failure.js';

export type Line = { number: number; text: string };

export type LineLimits = {
  /** Of one line. */
  maxBytes: number;
  /** How long the next piece may take. */
  timeoutMs: number;
};

const LINE_FEED = 0x0a;

/** Empty lines are counted and left out. Throws TOO_LARGE, TIMEOUT, INVALID_ARGUMENT (no UTF-8). */
export async function* readLines(
  source: Readable,
  { maxBytes, timeoutMs }: LineLimits,
): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let number = 0;
  let pieces: Buffer[] = [];
  let sizeBytes = 0;
  const line = (): Line | null => {
    number += 1;
    const bytes = Buffer.concat(pieces);
    pieces = [];
    sizeBytes = 0;
    try {
      const text = decoder.decode(bytes);
      return text.trim() === '' ? null : { number, text };
    } catch {
      throw lineError(number, 'INVALID_ARGUMENT', 'is not UTF-8');
    }
  };
  for await (const chunk of inTime(source, timeoutMs)) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      pieces.push(chunk.subarray(from, end));
      from = end + 1;
      const whole = line();
      if (whole !== null) yield whole;
    }
    const rest = chunk.subarray(from);
    sizeBytes += rest.byteLength;
    if (sizeBytes > maxBytes)
      throw lineError(number + 1, 'TOO_LARGE', `is longer than ${maxBytes} bytes`);
    if (rest.byteLength > 0) pieces.push(rest);
  }
  if (pieces.length > 0) {
    const last = line();
    if (last !== null) yield last;
  }
}

export function lineError(
  number: number,
  code: 'INVALID_ARGUMENT' | 'TOO_LARGE',
  what: string,
): RequestError {
  const status = code === 'TOO_LARGE' ? 413 : 400;
  return new RequestError(status, code, `Line ${number} ${what}.`, null, { line: number });
}

/** Only the client's time counts, not that of whoever takes the pieces. */
async function* inTime(source: Readable, timeoutMs: number): AsyncGenerator<Buffer> {
  const pieces = source.iterator({ destroyOnReturn: false });
  for (;;) {
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `Nothing of the body came for ${timeoutMs} ms.`;
        reject(new RequestError(408, 'TIMEOUT', message));
      }, timeoutMs);
    });
    try {
      const next = await Promise.race([pieces.next(), tooLate]);
      if (next.done === true) return;
      yield next.value as Buffer;
    } finally {
      clearTimeout(timer);
    }
  }
}
