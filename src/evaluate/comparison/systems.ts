/**
 * What is compared, as a command line says it: `bm25,colbert,cross-encoder:hybrid,./mine.trec`. First
 * stages find; rerankers order what a first stage found, as many of it as the depths say.
 */
import { basename, extname } from 'node:path';
import { MaxSimError, show } from '../../errors.js';

/** colbert-search: late interaction over the whole index. hybrid: that and BM25, fused. */
export const FIRST_STAGES = ['bm25', 'colbert-search', 'hybrid'] as const;
/** cascade: late interaction, then the cross-encoder on its best. */
export const RERANKERS = ['colbert', 'cross-encoder', 'cascade'] as const;

export type FirstStageName = (typeof FIRST_STAGES)[number];
export type RerankerName = (typeof RERANKERS)[number];

/** `file`: of an imported TREC run. */
export type FirstStageSpec =
  | { name: FirstStageName; kind: FirstStageName }
  | { name: string; kind: 'run'; file: string };

/** `over`: the name of its first stage. */
export type RerankerSpec = { name: string; kind: RerankerName; over: string };

export type Systems = { firstStages: FirstStageSpec[]; rerankers: RerankerSpec[] };

/**
 * A reranker without a first stage of its own takes `over`, or the first one that is named, or BM25. First
 * stages that are only reranked are compared too: they are what reranking is measured against. Throws
 * INVALID_ARGUMENT.
 */
export function parseSystems(list: string, over?: string): Systems {
  const parts = list
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
  if (parts.length === 0) throw unknown(list);
  const firstStages = new Map<string, FirstStageSpec>();
  const take = (text: string): string => {
    const spec = firstStage(text);
    const before = firstStages.get(spec.name);
    if (before !== undefined && fileOf(before) !== fileOf(spec)) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `Two runs have the name ${show(spec.name)}, ${fileOf(before)} and ${fileOf(spec)}: rename one of the files.`,
      );
    }
    firstStages.set(spec.name, spec);
    return spec.name;
  };
  const asked: { kind: RerankerName; over: string | null }[] = [];
  for (const part of parts) {
    const colon = part.indexOf(':');
    const kind = RERANKERS.find((one) => one === (colon < 0 ? part : part.slice(0, colon)));
    if (kind === undefined) take(part);
    else asked.push({ kind, over: colon < 0 ? null : take(part.slice(colon + 1)) });
  }
  const usual = (): string => take(over ?? [...firstStages.keys()][0] ?? 'bm25');
  const rerankers = new Map<string, RerankerSpec>();
  const standard =
    asked.some((one) => one.over === null) || firstStages.size === 0 ? usual() : null;
  for (const one of asked) {
    const first = one.over ?? (standard as string);
    const name = `${one.kind}:${first}`;
    rerankers.set(name, { name, kind: one.kind, over: first });
  }
  return { firstStages: [...firstStages.values()], rerankers: [...rerankers.values()] };
}

function firstStage(text: string): FirstStageSpec {
  const kind = FIRST_STAGES.find((one) => one === text);
  if (kind !== undefined) return { name: kind, kind };
  // A run is a path: with a folder or an ending, which no system has in its name.
  if (!/[\\/.]/.test(text)) throw unknown(text);
  const name = basename(text, extname(text));
  const taken = [...FIRST_STAGES, ...RERANKERS].some((one) => one === name);
  return {
    // A run that an earlier comparison wrote has the name of a system: it keeps its ending.
    name: (taken ? basename(text) : name).replace(/[\s\p{Cc}\p{Cf}]/gu, '_'),
    kind: 'run',
    file: text,
  };
}

function fileOf(spec: FirstStageSpec): string | null {
  return spec.kind === 'run' ? spec.file : null;
}

function unknown(text: string): MaxSimError {
  return new MaxSimError(
    'INVALID_ARGUMENT',
    `systems must be some of ${[...FIRST_STAGES, ...RERANKERS].join(', ')} or paths of TREC runs, separated by commas, but ${show(text)} was given.`,
  );
}
