/**
 * What comes after the graph of a cross-encoder that sentence-transformers has made of modules: its
 * pooling, which must be [CLS], and the layers that make a logit of it (the ettin rerankers: Dense,
 * LayerNorm, Dense).
 */
import { join } from 'node:path';
import { MaxSimError } from '../errors.js';
import { type HeadLayer, widthsOf } from '../runtime/head-graph.js';
import {
  Config,
  type Module,
  readDense,
  readLayerNorm,
  readModules,
} from '../runtime/model-files.js';
import { describeGraph } from '../runtime/onnx-file.js';

/** None where the folder names none, or the graph itself ends in logits. Throws INVALID_MODEL. */
export async function readScoreHead(directory: string, graph: string): Promise<HeadLayer[]> {
  const modules = (await readModules(directory)) ?? [];
  const layers: HeadLayer[] = [];
  for (const module of modules) {
    const layer = await readLayer(module);
    if (layer !== null) layers.push(layer);
  }
  const last = layers.at(-1);
  if (last === undefined) return [];
  if (widthsOf(last)[1] !== 1) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `${join(directory, 'modules.json')} must end in one logit, but ends in ${widthsOf(last)[1]}.`,
    );
  }
  // States are [batch, tokens, features]; logits [batch, 1].
  const { outputs } = await describeGraph(graph);
  return outputs[0]?.dims.length === 2 ? [] : layers;
}

/** Null for what changes nothing, or is in the graph. */
async function readLayer({ name, type, directory }: Module): Promise<HeadLayer | null> {
  if (name === 'Transformer' || name === 'Dropout') return null;
  if (name === 'Dense') return await readDense(directory);
  if (name === 'LayerNorm') return await readLayerNorm(directory);
  if (name === 'Pooling') {
    const config = await Config.read(directory, 'config.json');
    const mode = config?.string('pooling_mode') ?? null;
    if (mode === null ? config?.boolean('pooling_mode_cls_token') === true : mode === 'cls')
      return null;
    throw new MaxSimError('INVALID_MODEL', `${directory} must pool by its [CLS] token.`);
  }
  throw new MaxSimError(
    'INVALID_MODEL',
    `A cross-encoder with the module ${type} is not supported.`,
  );
}
