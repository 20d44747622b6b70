/**
 * `repairIndex`: keeps what is whole of a damaged index. What has to be made anew is written aside, and
 * counts from the rename of the manifest on; until then the damaged files are as they were, and
 * afterwards they are set aside.
 */
import { link, rename, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { checkBoolean, checkString } from '../check.js';
import { MaxSimError } from '../errors.js';
import {
  type FieldColumn,
  loadAddon,
  type NativeLock,
  native,
  nativeAsync,
  type SegmentEntry,
  type SegmentExamination,
} from '../runtime/addon.js';
import type { FieldValue } from '../types.js';
import { unpackRecord } from './document.js';
import {
  type ExaminedIndex,
  type ExaminedSegment,
  examineIndex,
  type Problem,
  SET_ASIDE,
} from './examination.js';
import { fieldValues, toColumns } from './fields.js';
import { filesOf, formatOf, openGeneration, removeFiles } from './generation.js';
import { MANIFEST_FILE, type Manifest, writeManifest } from './manifest.js';
import { LOCK_FILE } from './open.js';
import { Pace } from './pace.js';
import { withLimits } from './scoring.js';
import { tenantOf } from './tenant.js';
import { checkExaminationOptions, checkSignal, findRepeats, type VerifyOptions } from './verify.js';

export type RepairOptions = VerifyOptions & {
  /** Say what would be done, and do nothing. Default: false. */
  dryRun?: boolean;
};

/** Documents of a segment whose tombstones are lost. */
export type Undeleted = {
  file: string;
  /** How many were dead, and how many of these are known: another segment has a live version. */
  dead: number;
  known: number;
  /** All that are live now: dead - known of them had been deleted. */
  ids: string[];
};

export type RepairReport = {
  /** 'whole': nothing was wrong, and nothing was done. 'planned': a dry run. */
  outcome: 'whole' | 'planned' | 'repaired';
  /** The current one. */
  generation: number;
  /** What was wrong, as `verifyIndex` says it. */
  problems: Problem[];
  /** Live documents afterwards. */
  documents: number;
  /** Documents that could not be kept and whose ids are known, all of them. */
  lost: { file: string; id: string }[];
  /** The others that could not be kept. */
  lostUnknown: { file: string; documents: number }[];
  undeleted: Undeleted[];
  /** Damaged files that count no more, under the names that they have now. */
  setAside: string[];
};

/** What becomes of a segment. */
type Plan = {
  segment: ExaminedSegment;
  dead: Uint32Array;
  /** Live ones that are whole. */
  kept: number;
  rewrite: boolean;
  bury: boolean;
};

/**
 * Puts a damaged index right: flipped bits are corrected, tables made anew, and documents that are not
 * whole dropped and reported. Takes the writer's lock. Throws INDEX_LOCKED, NOT_AN_INDEX,
 * UNSUPPORTED_FORMAT, IO_ERROR, ABORTED, and CORRUPT_INDEX where the manifest or the codebook is damaged
 * beyond one bit, without which nothing can be told; then nothing has changed.
 */
export async function repairIndex(
  directory: string,
  options?: RepairOptions,
): Promise<RepairReport> {
  const path = resolve(checkString('directory', directory));
  const {
    signal,
    onProgress,
    dryRun = false,
  } = checkExaminationOptions<RepairOptions>(options, ['signal', 'onProgress', 'dryRun']);
  checkBoolean('dryRun', dryRun);
  // Not before there is an index: a lock file is not left in somebody's directory.
  if ((await stat(join(path, MANIFEST_FILE)).catch(() => null)) === null) {
    await examineIndex(path, { limits: {}, check: () => {} });
    throw beyondRepair(path, `${MANIFEST_FILE} is not there`);
  }
  const lock: NativeLock = native(() => loadAddon().lockIndex(join(path, LOCK_FILE)));
  try {
    return await withLimits(signal, undefined, async (limits) => {
      const check = () => checkSignal(signal);
      const found = await examineIndex(path, { limits, check, onProgress });
      return await new Repair(path, found, check).run(dryRun);
    });
  } finally {
    lock.release();
  }
}

class Repair {
  private readonly manifest: Manifest;
  private readonly report: RepairReport;
  private readonly generation: number;
  private readonly written: string[] = [];

  constructor(
    private readonly path: string,
    private readonly found: ExaminedIndex,
    private readonly check: () => void,
  ) {
    const { manifest, codebook, problems } = found;
    const [first] = problems;
    if (manifest === null) throw beyondRepair(path, `${MANIFEST_FILE}: ${first?.message}`);
    if (manifest.codec.codebook != null && codebook === null) {
      const { file, message } = problems.at(-1) as Problem;
      throw beyondRepair(path, `${file}: ${message}, and no document can be read without it`);
    }
    this.manifest = manifest;
    this.generation = manifest.generation + 1;
    this.report = {
      outcome: 'whole',
      generation: manifest.generation,
      problems,
      documents: 0,
      lost: [],
      lostUnknown: [],
      undeleted: [],
      setAside: [],
    };
  }

  async run(dryRun: boolean): Promise<RepairReport> {
    const { report, found } = this;
    const plans = await this.plan();
    report.documents = plans.reduce((sum, { kept }) => sum + kept, 0);
    if (found.problems.length === 0 && plans.every(({ rewrite, bury }) => !rewrite && !bury)) {
      return report;
    }
    report.outcome = 'planned';
    if (dryRun) return report;
    try {
      const manifest = await this.write(plans);
      await this.publish(manifest);
    } catch (error) {
      await removeFiles(this.path, this.written);
      throw error;
    }
    report.outcome = 'repaired';
    report.generation = this.generation;
    return report;
  }

  private async plan(): Promise<Plan[]> {
    const { segments } = this.found;
    const superseded = await this.findSuperseded();
    const repeats = await findRepeats(this.path, this.found, this.check);
    const plans: Plan[] = [];
    for (const segment of segments) {
      const { entry, examination, tombstones } = segment;
      const repeated = repeats.get(entry.file) ?? new Uint32Array(0);
      const known = tombstones.dead ?? (superseded.get(segment) as Superseded).dead;
      const dead = new Uint32Array(known.length + repeated.length);
      dead.set(known);
      dead.set(repeated, known.length);
      const gone = new Set(dead);
      let lost = 0;
      let unknown = 0;
      for (const [i, ordinal] of examination.lost.entries()) {
        if (gone.has(ordinal)) continue;
        lost += 1;
        const id = examination.lostIds[i];
        if (id == null) unknown += 1;
        else this.report.lost.push({ file: entry.file, id });
      }
      if (unknown > 0) this.report.lostUnknown.push({ file: entry.file, documents: unknown });
      const kept = entry.documents - gone.size - lost;
      plans.push({
        segment,
        dead,
        kept,
        rewrite: examination.problems.length > 0,
        bury: tombstones.problems.length > 0 || repeated.length > 0,
      });
      if (tombstones.dead !== null) continue;
      this.report.undeleted.push({
        file: entry.file,
        dead: entry.dead?.count ?? 0,
        known: known.length,
        ids: (superseded.get(segment) as Superseded).live,
      });
    }
    return plans;
  }

  /**
   * Of segments whose tombstones are lost: documents of which another segment has a live version are
   * dead. Between two such segments the later one counts.
   */
  private async findSuperseded(): Promise<Map<ExaminedSegment, Superseded>> {
    const { segments } = this.found;
    const result = new Map<ExaminedSegment, Superseded>();
    const doubtful = segments.filter(({ tombstones }) => tombstones.dead === null);
    if (doubtful.length === 0) return result;
    const live = new Set<string>();
    for (const segment of segments) {
      const { dead } = segment.tombstones;
      if (dead === null) continue;
      const gone = new Set(dead);
      for (const [ordinal, id] of (await this.idsOf(segment)).entries()) {
        if (id !== null && !gone.has(ordinal)) live.add(id);
      }
    }
    for (const segment of doubtful.reverse()) {
      const { lost, lostIds } = segment.examination;
      const ids = await this.idsOf(segment);
      // What is lost and superseded is no loss.
      for (const [i, ordinal] of lost.entries()) ids[ordinal] = lostIds[i] ?? null;
      const superseded: Superseded = { dead: [], live: [] };
      const notWhole = new Set(lost);
      for (const [ordinal, id] of ids.entries()) {
        if (id === null) continue;
        if (live.has(id)) superseded.dead.push(ordinal);
        else if (!notWhole.has(ordinal)) {
          superseded.live.push(id);
          live.add(id);
        }
      }
      result.set(segment, superseded);
    }
    return result;
  }

  /** By ordinal; null for what is not whole. */
  private async idsOf({ entry }: ExaminedSegment): Promise<(string | null)[]> {
    this.check();
    const format = formatOf(this.manifest, this.found.codebook);
    const { ids } = await nativeAsync(() =>
      loadAddon().examineSegment(join(this.path, entry.file), format, entry, 'ids'),
    );
    return ids as (string | null)[];
  }

  /** What documents are filtered by, taken anew from the payloads of those that are kept. */
  private async fieldsOf(
    { entry }: ExaminedSegment,
    dead: Uint32Array,
  ): Promise<{ documents: number; columns: FieldColumn[] }> {
    this.check();
    const { fields, tenants } = this.manifest;
    const format = formatOf(this.manifest, this.found.codebook);
    const { ids, records } = (await nativeAsync(() =>
      loadAddon().examineSegment(join(this.path, entry.file), format, entry, 'records'),
    )) as Required<SegmentExamination>;
    const gone = new Set(dead);
    const documents: { fields: FieldValue[][] }[] = [];
    const pace = new Pace();
    for (const [ordinal, id] of ids.entries()) {
      if (id === null || gone.has(ordinal)) continue;
      const { payload } = unpackRecord(records[ordinal] as Buffer, id);
      const values = fieldValues(fields, payload, 'payload');
      documents.push({ fields: tenants ? [[tenantOf(id)], ...values] : values });
      await pace.rest();
    }
    return { documents: documents.length, columns: toColumns(this.manifest, documents) };
  }

  /** Everything but the manifest, which is resolved with, and opened to be sure. */
  private async write(plans: readonly Plan[]): Promise<Manifest> {
    const addon = loadAddon();
    const { found, path } = this;
    const number = String(this.generation).padStart(8, '0');
    let { codec } = this.manifest;
    if (found.correctedCodebook !== null && codec.codebook != null) {
      const file = this.newFile(`codebook-${number}.maxsim`);
      await nativeAsync(() =>
        addon.writeFileDurably(join(path, file), found.correctedCodebook as Buffer),
      );
      codec = { ...codec, codebook: { ...codec.codebook, file } };
    }
    const search = this.searchWith(codec);
    const damaged = new Set(found.files.flatMap(({ file, whole }) => (whole ? [] : [file])));
    const format = formatOf(this.manifest, found.codebook);
    const segments: SegmentEntry[] = [];
    for (const { segment, dead, kept, rewrite, bury } of plans) {
      this.check();
      const { codes, ...bare } = segment.entry;
      // A document that was dead when they were made, and is not any more, has none.
      const isCoded =
        codes !== undefined &&
        search !== undefined &&
        !damaged.has(codes.file) &&
        segment.tombstones.dead !== null;
      const entry = isCoded ? { ...bare, codes } : bare;
      if (kept === 0) continue;
      if (rewrite) {
        const fields = segment.examination.hasFields
          ? undefined
          : await this.fieldsOf(segment, dead);
        // 0 and 1 are for commits and merges.
        const file = this.newFile(`segment-${number}-${2 + this.written.length}.maxsim`);
        const source = join(path, entry.file);
        const { documents, tokens, headerCrc } = await nativeAsync(() =>
          addon.salvageSegment(join(path, file), source, format, entry, dead, fields),
        );
        segments.push({ file, documents, tokens, headerCrc });
      } else if (bury) {
        const { dead: _, ...rest } = entry;
        if (dead.length === 0) {
          segments.push(rest);
          continue;
        }
        const file = this.newFile(`${entry.file}.${this.generation}.dead`);
        const count = await nativeAsync(() =>
          addon.writeTombstones(join(path, file), entry.documents, dead),
        );
        segments.push({ ...rest, dead: { file, count } });
      } else {
        segments.push(entry);
      }
    }
    const { search: _, ...others } = this.manifest;
    const manifest = {
      ...others,
      generation: this.generation,
      codec,
      segments,
      ...(search === undefined ? {} : { search }),
    };
    const { snapshot } = await openGeneration(path, manifest, null, { verify: 'at-open' });
    const { documentCount } = snapshot;
    snapshot.close();
    if (documentCount !== this.report.documents) {
      throw new MaxSimError(
        'INTERNAL',
        `${path}: the repair was to keep ${this.report.documents} documents, but wrote ${documentCount}.`,
      );
    }
    return manifest;
  }

  /** What searches have when the codec is stored so: nothing without centroids. */
  private searchWith({ codebook }: Manifest['codec']): Manifest['search'] {
    const { search, codec } = this.manifest;
    if (search === undefined || this.found.searchCodebook === null) return undefined;
    const isOfCodec = search.codebook.file === codec.codebook?.file;
    return isOfCodec && codebook != null ? { ...search, codebook } : search;
  }

  private newFile(file: string): string {
    this.written.push(file);
    return file;
  }

  /** A second name for each damaged file first: whatever happens afterwards, it stays. */
  private async publish(manifest: Manifest): Promise<void> {
    const { path, found, report } = this;
    const addon = loadAddon();
    this.check();
    if (found.damagedManifest !== null) {
      const name = `${MANIFEST_FILE}.${this.manifest.generation}${SET_ASIDE}`;
      const bytes = found.damagedManifest;
      await nativeAsync(() => addon.writeFileDurably(join(path, name), bytes));
      report.setAside.push(name);
    }
    const damaged = found.files.filter(
      ({ file, whole, sizeBytes }) => !whole && sizeBytes > 0 && file !== MANIFEST_FILE,
    );
    const aside: SetAside[] = [];
    try {
      for (const { file } of damaged) aside.push(await setAside(path, file));
      await nativeAsync(() => addon.flushDirectory(path));
    } catch (error) {
      await removeFiles(
        path,
        aside.filter(({ isNew }) => isNew).map(({ name }) => name),
      );
      throw error;
    }
    await this.commit(manifest);
    for (const { file, name, isLinked } of aside) {
      if (!isLinked) await rename(join(path, file), join(path, name));
      report.setAside.push(name);
    }
    const needed = filesOf(manifest);
    await removeFiles(
      path,
      [...filesOf(this.manifest)].filter((file) => !needed.has(file)),
    );
  }

  private async commit(manifest: Manifest): Promise<void> {
    try {
      await writeManifest(this.path, manifest);
    } catch (error) {
      // Whether it is there now is not known, so nothing may be removed any more.
      this.written.splice(0);
      throw error;
    }
  }
}

/** Ordinals of documents that are dead, and ids of those that may be. */
type Superseded = { dead: number[]; live: string[] };

type SetAside = {
  file: string;
  name: string;
  /** Has both names already; else it is to be renamed, once it counts no more. */
  isLinked: boolean;
  /** The second name was made just now. */
  isNew: boolean;
};

async function setAside(path: string, file: string): Promise<SetAside> {
  const { ino } = await stat(join(path, file));
  for (let number = 1; ; number++) {
    const name = `${file}${number === 1 ? '' : `.${number}`}${SET_ASIDE}`;
    try {
      await link(join(path, file), join(path, name));
      return { file, name, isLinked: true, isNew: true };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A file system without second names.
      if (code !== 'EEXIST') return { file, name, isLinked: false, isNew: false };
      // A repair that was interrupted has done so before.
      const same = (await stat(join(path, name))).ino === ino;
      if (same) return { file, name, isLinked: true, isNew: false };
    }
  }
}

function beyondRepair(path: string, why: string): MaxSimError {
  return new MaxSimError(
    'CORRUPT_INDEX',
    `${path} cannot be repaired: ${why}. Restore it from a backup, or index again.`,
    { details: { directory: path } },
  );
}
