/**
 * What stages have computed, a line of JSON per query, so that a comparison that was cut goes on where
 * it was. Lines are only added; the last one of a query counts, and a torn one is none. Every depth of a
 * line knows by hash what it was computed from: other texts or candidates find nothing.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { MaxSimError } from '../../errors.js';

/** `ms` is how long the stage took for the first `count` candidates. */
export type Mark = { count: number; ms: number };

export type StageRow = {
  /** By place among the candidates, or of the ids that were found. */
  scores: number[];
  marks: Mark[];
  /** What a first stage found; absent for rerankers. */
  ids?: string[];
  /** Of the query's encoding, which is part of every mark. */
  encodeMs?: number;
};

type StoredMark = Mark & { hash: string };
type StoredRow = Omit<StageRow, 'marks'> & { query: string; marks: StoredMark[] };

export class ScoreCache {
  private constructor(
    private readonly file: FileHandle,
    private readonly path: string,
    private readonly rows: Map<string, StoredRow>,
  ) {}

  /** Throws IO_ERROR. */
  static async open(path: string): Promise<ScoreCache> {
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(path, 'a+');
      const text = await file.readFile('utf8');
      const rows = new Map<string, StoredRow>();
      for (const line of text.split('\n')) {
        const row = parse(line);
        if (row !== null) rows.set(row.query, row);
      }
      // What follows a torn line would be torn too.
      if (text !== '' && !text.endsWith('\n')) await file.appendFile('\n');
      return new ScoreCache(file, path, rows);
    } catch (cause) {
      throw failed(path, cause);
    }
  }

  /** What is known of a query and the first of these candidates, as deep as they are the same. */
  get(query: { id: string; text: string }, candidates: readonly string[]): StageRow | undefined {
    const row = this.rows.get(query.id);
    if (row === undefined) return undefined;
    const { ids, scores, encodeMs } = row;
    const known = row.marks.filter(
      ({ count, hash }) =>
        (ids !== undefined || count <= candidates.length) &&
        hash === hashOf(query.text, candidates.slice(0, count)),
    );
    const end = known.at(-1);
    if (end === undefined) return undefined;
    return {
      scores: scores.slice(0, end.count),
      marks: known.map(({ count, ms }) => ({ count, ms })),
      ...(ids === undefined ? {} : { ids }),
      ...(encodeMs === undefined ? {} : { encodeMs }),
    };
  }

  async set(
    query: { id: string; text: string },
    candidates: readonly string[],
    row: StageRow,
  ): Promise<void> {
    const marks = row.marks.map(({ count, ms }) => ({
      count,
      ms,
      hash: hashOf(query.text, candidates.slice(0, count)),
    }));
    const stored: StoredRow = { query: query.id, ...row, marks };
    this.rows.set(query.id, stored);
    await this.file.appendFile(`${JSON.stringify(stored)}\n`).catch((cause: unknown) => {
      throw failed(this.path, cause);
    });
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function parse(line: string): StoredRow | null {
  try {
    const row = JSON.parse(line) as Partial<StoredRow> | null;
    return row !== null && Array.isArray(row.scores) && Array.isArray(row.marks)
      ? (row as StoredRow)
      : null;
  } catch {
    return null;
  }
}

function hashOf(text: string, candidates: readonly string[]): string {
  return createHash('sha256')
    .update(JSON.stringify([text, candidates]))
    .digest('hex')
    .slice(0, 16);
}

function failed(path: string, cause: unknown): MaxSimError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MaxSimError('IO_ERROR', `${path} cannot be used: ${reason}`, { cause });
}
