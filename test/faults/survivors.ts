/** Readers whose files go away: by compaction, by recode, with the whole directory. */
import { readdirSync, rmSync } from 'node:fs';
import { MaxSimError } from '../../dist/errors.js';
import type { DocumentView } from '../../dist/index/document-view.js';
import { Index } from '../../dist/index/store.js';
import { documentOf } from './documents.js';
import { type Known, knownOf, questions } from './questions.js';
import { makeSample, SAMPLE_CODECS } from './sample.js';
import type { Tally } from './tally.js';

export async function survivors(tally: Tally): Promise<void> {
  for (const codec of SAMPLE_CODECS) {
    const { directory } = await makeSample(codec);
    const reader = await Index.open(directory, { mode: 'read' });
    // Of this one nothing has been touched before its files are gone.
    const untouched = await Index.open(directory, { mode: 'read' });
    const known = await knownOf(reader);
    const before = readdirSync(directory);

    const writer = await Index.open(directory);
    const snapshot = writer.snapshot();
    await writer.compact();
    const left = readdirSync(directory);
    const removed = before.filter((name) => name.endsWith('.maxsim') && !left.includes(name));
    if (removed.length === 0) tally.harm('wrongScores', `${codec}: compact has removed no file`);
    await expectKnown(tally, reader, known, `${codec}, compacted`);
    await expectKnown(tally, untouched, known, `${codec}, compacted, untouched until then`);
    await expectKnown(tally, snapshot, known, `${codec}, compacted, a snapshot of the writer`);
    if (!(await reader.refresh())) tally.harm('lostWrites', `${codec}: refresh sees no compaction`);
    await expectKnown(tally, reader, known, `${codec}, compacted and refreshed`);
    tally.count('readers', 2);

    if (codec !== 'r4') {
      await writer.add(Array.from({ length: 6 }, (_, i) => documentOf(`long${i}`, 1)));
      await reader.refresh();
      const all = await knownOf(reader);
      await writer.recode({ name: 'r2', centroids: 16 });
      await expectKnown(tally, reader, all, `${codec}, recoded`);
      await reader.refresh();
      await expectKnown(tally, reader, await knownOf(writer), `${codec}, recoded and refreshed`);
      tally.count('readers');
    }
    await writer.close();

    const last = await knownOf(reader);
    rmSync(directory, { recursive: true });
    await expectKnown(tally, reader, last, `${codec}, directory removed`);
    await expectKnown(tally, untouched, known, `${codec}, directory removed, never refreshed`);
    await expectRefusal(tally, reader, `${codec}, refresh without a directory`);
    await expectKnown(tally, reader, last, `${codec}, directory removed and refresh refused`);
    await expectKnown(tally, snapshot, known, `${codec}, directory removed, a snapshot`);
    tally.count('readers', 3);
    await reader.close();
    await untouched.close();
    snapshot.close();
  }
}

async function expectKnown(
  tally: Tally,
  index: DocumentView,
  known: Known,
  what: string,
): Promise<void> {
  for (const { question, ask, same } of questions(known)) {
    try {
      if (!same(await ask(index))) {
        tally.harm('wrongScores', `${what}: ${question} has another answer`);
      }
    } catch (error) {
      tally.harm('lostWrites', `${what}, ${question}: ${(error as Error).message}`);
    }
  }
}

async function expectRefusal(tally: Tally, index: Index, what: string): Promise<void> {
  try {
    await index.refresh();
    tally.harm('wrongScores', `${what} resolves`);
  } catch (error) {
    if (!(error instanceof MaxSimError && ['NOT_AN_INDEX', 'IO_ERROR'].includes(error.code))) {
      tally.harm('wrongScores', `${what}: ${(error as Error).stack}`);
    }
  }
}
