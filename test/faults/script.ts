/** The scripted workload: every kind of change that an index knows, and the states between them. */
import type { CodecOption, Index } from '../../dist/index/store.js';
import { documentOf, type State } from './documents.js';

/** Documents as `id@version`. */
export type Step =
  | { add?: readonly string[]; delete?: readonly string[] }
  | { compact: true }
  | { build: true }
  | { recode: CodecOption & object };

/** Steps of one group are called at once, one after the other, and awaited together. */
export type Script = {
  codec: CodecOption;
  groups: readonly (readonly Step[])[];
};

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export const WHOLE: Script = {
  codec: { name: 'int8', range: 1 },
  groups: [
    [{ add: range(7).map((i) => `long${i}@1`) }],
    [{ add: range(5).map((i) => `a${i}@1`) }],
    [{ add: ['a0@2', 'a1@2'] }],
    [{ delete: ['a2'] }],
    [{ add: ['b0@1', 'b1@1', 'a3@2'], delete: ['a4', 'long5'] }],
    [
      { add: ['c0@1', 'c1@1', 'c2@1'] },
      { delete: ['b0'] },
      { add: ['d0@1', 'long0@2'] },
      { add: ['e0@1'], delete: ['a0'] },
      { add: ['f0@1'] },
      { add: ['f1@1'] },
    ],
    [{ build: true }],
    ...range(9).map((i) => [{ add: [`g${i}@1`] }]),
    [{ delete: ['g3', 'a1', 'nothing'] }],
    [{ compact: true }],
    [{ add: ['h0@1', 'g0@2'] }, { compact: true }, { add: ['h1@1'] }, { delete: ['c0'] }],
    [{ recode: { name: 'r4', centroids: 16 } }],
    [{ add: ['i0@1', 'i1@1', 'a3@3'] }],
    [{ delete: ['g1', 'long1'] }, { build: true }],
    [
      { add: ['j0@1'] },
      { add: ['j1@1'], delete: ['f0'] },
      { delete: ['g2'] },
      { add: ['j2@1', 'long0@3'] },
    ],
    ...range(8).map((i) => [{ add: [`k${i}@1`], delete: [`c${i}`] }]),
    [{ compact: true }, { add: ['l0@1'] }],
    [{ add: ['l1@1'] }],
  ],
};

/** Few operations, one of each kind: each of them fails in many ways. */
export const SHORT: Script = {
  codec: 'f32',
  groups: [
    [{ add: ['a0@1', 'a1@1', 'a2@1'] }],
    [{ add: ['a0@2', 'b0@1'], delete: ['a1'] }],
    [{ add: ['c0@1'] }, { delete: ['b0'] }, { add: ['c1@1'] }],
    [{ compact: true }],
    [{ recode: { name: 'int8', range: 1 } }],
    [{ add: ['d0@1'] }],
  ],
};

/** The eighth segment calls for a merge beside the commits. */
export const MERGING: Script = {
  codec: 'f32',
  groups: [
    ...range(8).map((i) => [{ add: [`m${i}@1`] }]),
    [{ add: ['m1@2'], delete: ['m0'] }],
    [{ add: ['m8@1'] }],
  ],
};

/** The states after creation and after each step, in the order of the calls. */
export function statesOf({ codec, groups }: Script): State[] {
  const name = typeof codec === 'string' ? codec : codec.name;
  const states: State[] = [{ codec: name, documents: new Map() }];
  for (const step of groups.flat()) states.push(after(states.at(-1) as State, step));
  return states;
}

export function after({ codec, documents }: State, step: Step): State {
  const next = new Map(documents);
  if ('recode' in step) return { codec: step.recode.name, documents };
  if ('compact' in step || 'build' in step) return { codec, documents };
  for (const id of step.delete ?? []) next.delete(id);
  for (const entry of step.add ?? []) next.set(...parse(entry));
  return { codec, documents: next };
}

export async function run(index: Index, step: Step): Promise<void> {
  if ('recode' in step) await index.recode(step.recode);
  else if ('compact' in step) await index.compact();
  else if ('build' in step) {
    // New centroids take more tokens than there are later on.
    await index.buildSearch(index.stats().search === null ? { centroids: 16 } : {});
  } else {
    await index.commit({
      add: (step.add ?? []).map((entry) => documentOf(...parse(entry))),
      delete: step.delete ?? [],
    });
  }
}

function parse(entry: string): [id: string, version: number] {
  const [id, version] = entry.split('@');
  return [id, Number(version)];
}
