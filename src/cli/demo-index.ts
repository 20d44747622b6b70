/** The demo's index: kept in a cache and brought up to date, or made in a temporary folder. */
import { access, constants, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CorpusDocument } from '../evaluate/collection.js';
import { Engine, MaxSimError, type MaxSimErrorCode } from '../maxsim.js';
import { Indexing, type IndexingReport } from './indexing.js';
import { Progress } from './progress.js';
import { openSource } from './source.js';

const PACKAGE = fileURLToPath(new URL('../../', import.meta.url));

/** Where the cache cannot be used as it is, it is made anew: nothing in it is anybody's work. */
const STALE: ReadonlySet<MaxSimErrorCode> = new Set<MaxSimErrorCode>([
  'CORRUPT_INDEX',
  'MODEL_MISMATCH',
  'UNSUPPORTED_FORMAT',
]);

export type DemoIndex = { engine: Engine; report: IndexingReport; close(): Promise<void> };

/** An index of exactly this corpus. `cached: false` leaves nothing behind. */
export async function openDemoIndex(
  directory: string,
  corpus: readonly CorpusDocument[],
  { cached, json, signal }: { cached: boolean; json: boolean; signal: AbortSignal },
): Promise<DemoIndex> {
  const place = cached ? await openCache() : await openTemporary();
  const { engine } = place;
  try {
    await removeOthers(engine, corpus);
    const progress = new Progress({ unit: 'documents', json });
    progress.setTotal(corpus.length);
    const indexing = new Indexing(engine, {
      batchSize: 32,
      signal,
      onProgress: (_, done) => progress.update(done),
      onRefused: ({ file, line, reason }) => {
        throw new MaxSimError('INVALID_SOURCE', `${file}:${line} ${reason}`);
      },
      onEmptyFile: () => {},
    });
    const report = await indexing.run([await openSource(directory)]).finally(() => progress.end());
    return { engine, report, close: place.close };
  } catch (error) {
    await place.close();
    throw error;
  }
}

type Place = { engine: Engine; close(): Promise<void> };

async function openCache(): Promise<Place> {
  const directory = await cacheDirectory();
  try {
    return keep(await Engine.open(directory, { warmUp: true }));
  } catch (error) {
    const code = error instanceof MaxSimError ? error.code : null;
    // Another demo is at it.
    if (code === 'INDEX_LOCKED') return await openTemporary();
    if (code === null || !STALE.has(code)) throw error;
    await rm(directory, { recursive: true, force: true });
    return keep(await Engine.open(directory, { warmUp: true }));
  }
}

function keep(engine: Engine): Place {
  return { engine, close: () => engine.close() };
}

async function openTemporary(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'maxsim-demo-'));
  const engine = await Engine.open(join(directory, 'index'), { warmUp: true });
  return {
    engine,
    close: async () => {
      await engine.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function cacheDirectory(): Promise<string> {
  const beside = join(PACKAGE, '.cache');
  try {
    await mkdir(beside, { recursive: true });
    await access(beside, constants.W_OK);
    return join(beside, 'demo');
  } catch {
    return join(tmpdir(), `maxsim-demo-${userInfo().username}`);
  }
}

/** Passages of an earlier corpus would be found and judged by nobody. */
async function removeOthers(engine: Engine, corpus: readonly CorpusDocument[]): Promise<void> {
  const wanted = new Set(corpus.map((document) => document.id));
  const others: string[] = [];
  for await (const { id } of engine.index.documents()) if (!wanted.has(id)) others.push(id);
  if (others.length > 0) await engine.delete(others);
}
