/** Lines of a text file, one by one; only the line at hand is held. */
import { createReadStream } from 'node:fs';
import { refused, unreadable } from './source-file.js';

/** Half of what a JavaScript string can hold: a document of 65,535 tokens of 1,024 dims has 358 MB. */
const MAX_LINE_BYTES = 500_000_000;

/** Numbered from 1, without their line feeds; empty ones are left out. */
export async function* readLines(file: string): AsyncGenerator<{ number: number; text: string }> {
  let number = 0;
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  const finish = (): string => {
    const bytes = pending.length === 1 ? (pending[0] as Buffer) : Buffer.concat(pending);
    pending = [];
    pendingBytes = 0;
    number += 1;
    const text = bytes.toString('utf8');
    return (number === 1 ? text.replace(/^\uFEFF/, '') : text).replace(/\r$/, '');
  };
  try {
    for await (const piece of createReadStream(file, { highWaterMark: 1 << 20 })) {
      const bytes = piece as Buffer;
      let from = 0;
      for (let to = bytes.indexOf(0x0a); to >= 0; to = bytes.indexOf(0x0a, from)) {
        pending.push(bytes.subarray(from, to));
        from = to + 1;
        const text = finish();
        if (text.trim() !== '') yield { number, text };
      }
      pending.push(bytes.subarray(from));
      pendingBytes += bytes.length - from;
      if (pendingBytes > MAX_LINE_BYTES) {
        throw refused(`Line ${number + 1} of ${file}`, `has more than ${MAX_LINE_BYTES} bytes`);
      }
    }
  } catch (cause) {
    throw (cause as { code?: unknown }).code === 'INVALID_SOURCE' ? cause : unreadable(file, cause);
  }
  const text = finish();
  if (text.trim() !== '') yield { number, text };
}

/** The first of them. */
export async function firstLine(file: string): Promise<string> {
  for await (const { text } of readLines(file)) return text;
  return '';
}
