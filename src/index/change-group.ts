/**
 * Commits that are written together: what their calls, one after the other, would leave behind, and what
 * each of them would have reported.
 */
import { type NativeSnapshot, native, UNKNOWN_REF } from '../runtime/addon.js';
import type { PreparedDocument } from './document.js';
import { Pace } from './pace.js';

/** What one call asks for. */
export type Changes = {
  add: ReadonlyMap<string, PreparedDocument>;
  /** Ids that are not in `add`, each once. */
  delete: readonly string[];
  /** Documents that a later one of the same call has replaced. */
  repeats: number;
};

export type CommitCounts = {
  added: number;
  replaced: number;
  deleted: number;
  unknownIds: string[];
  /** Components of documents of this call that were stored and clamped to the int8 range. */
  clippedComponents: number;
};

/** A group as one set of changes to a snapshot. */
export type ChangeGroup = {
  documents: PreparedDocument[];
  /** Of each document, the place of its call in the group. */
  callers: number[];
  /** What a later call of the group has deleted or replaced: not stored, but it must be fit to be. */
  passing: PreparedDocument[];
  /** Refs of stored documents that are deleted or replaced. */
  dead: Uint32Array;
  /** One per call. */
  counts: CommitCounts[];
};

// A lookup takes up to a few microseconds where there are many segments.
const LOOKUPS_AT_ONCE = 512;

export async function combine(
  calls: readonly Changes[],
  snapshot: NativeSnapshot,
): Promise<ChangeGroup> {
  const pace = new Pace();
  const stored = await findAll(calls, snapshot, pace);
  const added = new Map<string, { document: PreparedDocument; caller: number }>();
  const dead = new Map<string, number>();
  const passing: PreparedDocument[] = [];
  const isThere = (id: string): boolean => added.has(id) || (stored.has(id) && !dead.has(id));
  const bury = (id: string): void => {
    const ref = stored.get(id);
    if (ref !== undefined) dead.set(id, ref);
    const earlier = added.get(id);
    if (earlier === undefined) return;
    passing.push(earlier.document);
    added.delete(id);
  };
  const counts: CommitCounts[] = [];
  for (const [caller, changes] of calls.entries()) {
    const count: CommitCounts = {
      added: 0,
      replaced: changes.repeats,
      deleted: 0,
      unknownIds: [],
      clippedComponents: 0,
    };
    counts.push(count);
    for (const id of changes.delete) {
      if (isThere(id)) {
        count.deleted += 1;
        bury(id);
      } else {
        count.unknownIds.push(id);
      }
      if (pace.due) await pace.rest();
    }
    for (const [id, document] of changes.add) {
      count[isThere(id) ? 'replaced' : 'added'] += 1;
      // Buried first: the last one also takes the last place.
      bury(id);
      added.set(id, { document, caller });
      if (pace.due) await pace.rest();
    }
  }
  const documents: PreparedDocument[] = [];
  const callers: number[] = [];
  for (const { document, caller } of added.values()) {
    documents.push(document);
    callers.push(caller);
    if (pace.due) await pace.rest();
  }
  return { documents, callers, passing, dead: Uint32Array.from(dead.values()), counts };
}

/** Refs of the documents that the calls name and the snapshot holds. */
async function findAll(
  calls: readonly Changes[],
  snapshot: NativeSnapshot,
  pace: Pace,
): Promise<Map<string, number>> {
  const refs = new Map<string, number>();
  if (snapshot.documentCount === 0) return refs;
  let ids: string[] = [];
  const look = (): void => {
    for (const [i, ref] of native(() => snapshot.find(ids)).entries()) {
      if (ref !== UNKNOWN_REF) refs.set(ids[i] as string, ref);
    }
    ids = [];
  };
  for (const changes of calls) {
    for (const names of [changes.delete, changes.add.keys()]) {
      for (const id of names) {
        if (ids.push(id) < LOOKUPS_AT_ONCE) continue;
        look();
        await pace.rest();
      }
    }
  }
  look();
  return refs;
}
