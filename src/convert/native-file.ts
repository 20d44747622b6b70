/**
 * The native encoder in the place of a graph. The file that it runs is made once, when the graph is
 * first used, and kept in the cache folder by what it was made of.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { MaxSimError } from '../errors.js';
import { loadAddon, type NativeLock, native } from '../runtime/addon.js';
import { cacheFolder } from '../runtime/cache-folder.js';
import { graphSha256 } from '../runtime/choice.js';
import { type FormKind, formKind } from '../runtime/graph-forms.js';
import { NativeSession } from '../runtime/native-session.js';
import { describeGraph } from '../runtime/onnx-file.js';
import type { GraphSpec } from '../runtime/session.js';
import { readJson } from '../runtime/tokenizer.js';
import type { Conversion } from './convert.js';
import { sampleSequences } from './samples.js';

/** Kernels that are faster than onnxruntime's, as measured: those that multiply bytes four at a time. */
const FAST_KERNELS: readonly string[] = ['avx512', 'avxvnni'];
/** Forms of floats: their weights would be rounded. */
const FLOAT_FORMS: readonly FormKind[] = ['float32', 'float16', 'bnb4'];
/** Counts up with what a conversion makes of a graph. */
const CONVERTER = 1;
const DAMAGED: readonly string[] = ['INVALID_MODEL', 'UNSUPPORTED_FORMAT'];
const LOOK_EVERY_MS = 100;

/** Why a graph stays with onnxruntime. */
export type Refusal = {
  why: string;
  /** Not by rule, but for what is in the graph or on the disk. */
  surprising: boolean;
};

/**
 * Of a graph in the model folder `directory`. `always`: also where weights are rounded, and with slow
 * kernels.
 */
export async function openNative(
  graph: GraphSpec,
  directory: string,
  always: boolean,
): Promise<NativeSession | Refusal> {
  const kernels = native(() => loadAddon().encoderKernels());
  if (!always && !FAST_KERNELS.includes(kernels)) {
    return byRule(
      `this CPU has no VNNI, without which the native encoder may be the slower one (its kernels: ${kernels})`,
    );
  }
  try {
    const place = await placeOf(graph, directory);
    if (!always && !existsSync(place.exact)) {
      const kind = formKind(await describeGraph(graph.file));
      if (FLOAT_FORMS.includes(kind)) {
        return byRule(`its weights are ${kind}, and the native encoder would round them to int8`);
      }
    }
    const file = await nativeFile(place, graph, directory, always);
    try {
      return await NativeSession.open(file, graph);
    } catch (error) {
      if (!isDamage(error)) throw error;
      return await remade(place, file, graph, directory);
    }
  } catch (error) {
    // Whatever it is, onnxruntime can do without.
    const why = error instanceof Error ? error.message : String(error);
    return { why: why.replace(/\.$/, ''), surprising: true };
  }
}

/** It is derived, so a damaged one is made again: once, by whoever finds it so first. */
async function remade(
  place: Place,
  file: string,
  graph: GraphSpec,
  directory: string,
): Promise<NativeSession> {
  const lock = await lockOf(place);
  try {
    return await NativeSession.open(file, graph).catch(async (error: unknown) => {
      if (!isDamage(error)) throw error;
      return await NativeSession.open(
        (await convertTo(place, graph, directory, false)).file,
        graph,
      );
    });
  } finally {
    lock.release();
  }
}

function isDamage(error: unknown): boolean {
  return error instanceof MaxSimError && DAMAGED.includes(error.code);
}

function byRule(why: string): Refusal {
  return { why, surprising: false };
}

/**
 * Path of the converted graph; made where it is not there. Throws INVALID_MODEL for a graph that cannot be
 * converted, and IO_ERROR.
 */
async function nativeFile(
  place: Place,
  graph: GraphSpec,
  directory: string,
  always: boolean,
): Promise<string> {
  const refused = `${place.exact}${always ? '' : '.exact'}.refused`;
  const found = async (): Promise<string | null> => {
    if (existsSync(place.exact)) return place.exact;
    if (always && existsSync(place.rounded)) return place.rounded;
    const why = await readFile(refused, 'utf8').catch(() => null);
    if (why !== null) throw new MaxSimError('INVALID_MODEL', why);
    return null;
  };
  const before = await found();
  if (before !== null) return before;
  const lock = await lockOf(place);
  try {
    return (await found()) ?? (await convertTo(place, graph, directory, !always)).file;
  } catch (error) {
    // What is in the graph stays there; a full disk does not.
    if (error instanceof MaxSimError && error.code === 'INVALID_MODEL') {
      await writeFile(refused, error.message).catch(() => {});
    }
    throw error;
  } finally {
    lock.release();
  }
}

/** Converts a graph anew, whatever is kept of it. Throws INVALID_MODEL and IO_ERROR. */
export async function convertGraph(graph: GraphSpec, directory: string): Promise<Converted> {
  const place = await placeOf(graph, directory);
  const lock = await lockOf(place);
  try {
    return await convertTo(place, graph, directory, false);
  } finally {
    lock.release();
  }
}

export type Converted = Conversion & { file: string };

/** Where the file of a graph is kept, and what it was made of. */
type Place = {
  folder: string;
  record: {
    sha256: string;
    output: string | null;
    heads: number | null;
    epsilon: number | null;
    converter: number;
  };
  /** With the weights of the graph as they are. */
  exact: string;
  /** With some rounded: for who asks for it. */
  rounded: string;
};

async function placeOf(graph: GraphSpec, directory: string): Promise<Place> {
  const shape = await readShape(directory);
  const sha256 = graph.sha256 ?? (await graphSha256(directory, relative(directory, graph.file)));
  const record = { sha256, output: graph.output, ...shape, converter: CONVERTER };
  const key = createHash('sha256').update(JSON.stringify(record)).digest('hex').slice(0, 32);
  const folder = join(cacheFolder(), 'encoders');
  const exact = join(folder, key);
  return { folder, record, exact, rounded: `${exact}.rounded` };
}

async function convertTo(
  { record, exact, rounded }: Place,
  { file: graph, output, width }: GraphSpec,
  directory: string,
  exactOnly: boolean,
): Promise<Converted> {
  // One at a time, by the lock: what a process that was killed left is written over.
  const aside = `${exact}.partial`;
  const { heads, epsilon } = record;
  try {
    // With onnxruntime, which nothing else needs where the file is there already.
    const { convertModel } = await import('./convert.js');
    const conversion = await convertModel({
      graph,
      output,
      to: aside,
      heads,
      epsilon,
      exactOnly,
      recipe: Buffer.from(JSON.stringify(record)),
      samples: await sampleSequences(directory, width === null),
    });
    const file = conversion.exact === conversion.outputs ? exact : rounded;
    await rename(aside, file);
    return { ...conversion, file };
  } finally {
    await rm(aside, { force: true });
  }
}

/** Waits for whoever converts the same: another thread, or another process. Throws IO_ERROR. */
async function lockOf({ folder, exact }: Place): Promise<NativeLock> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new MaxSimError(
      'IO_ERROR',
      `${folder} cannot be made: ${cause instanceof Error ? cause.message : String(cause)}; MAXSIM_CACHE names another folder.`,
      { cause },
    );
  }
  for (;;) {
    try {
      return native(() => loadAddon().lockIndex(`${exact}.lock`));
    } catch (error) {
      if (!(error instanceof MaxSimError) || error.code !== 'INDEX_LOCKED') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** What a graph does not say in one place; null where config.json does not either. */
async function readShape(
  directory: string,
): Promise<{ heads: number | null; epsilon: number | null }> {
  const file = join(directory, 'config.json');
  const config = ((await readJson(file)) ?? {}) as Record<string, unknown>;
  const { num_attention_heads: heads, layer_norm_eps: epsilon } = config;
  return {
    heads: typeof heads === 'number' ? heads : null,
    epsilon: typeof epsilon === 'number' ? epsilon : null,
  };
}
