/** A model for onnxruntime in, the file of a native encoder out. */
import { readFile, rm } from 'node:fs/promises';
import { MaxSimError } from '../errors.js';
import { loadAddon, native, nativeAsync } from '../runtime/addon.js';
import type { EncoderShape, EncoderTensors } from '../runtime/native-encoder.js';
import { type Bert, type BertBlock, readBert } from './bert.js';
import { type ConversionError, compareWithGraph } from './compare.js';
import { readGraph } from './onnx.js';

export type TokenSequence = { ids: Uint32Array; types: Uint32Array };

export type ConvertOptions = {
  /** The ONNX file. */
  graph: string;
  /** Which of its outputs the file is compared with; default: the first. */
  output?: string | null;
  /** The file to write. */
  to: string;
  /** Attention heads and LayerNorm's epsilon, by config.json: a graph does not say them in one place. */
  heads: number | null;
  epsilon: number | null;
  /** Refuse a graph whose weights would have to be rounded. */
  exactOnly?: boolean;
  /** Stored with the weights. */
  recipe?: Uint8Array;
  /** Where the graph ends with token vectors and others pool them. */
  pooling?: 'first' | 'mean';
  normalise?: boolean;
  /**
   * Ordinary texts: they choose the channels that get more inputs (encoder/kernel.h), and some are
   * compared with onnxruntime.
   */
  samples?: readonly TokenSequence[];
};

export type Conversion = {
  shape: EncoderShape;
  /** Outputs of linear layers, and those that kept their integers. */
  outputs: number;
  exact: number;
  /** Null without samples, or where the encoder pools vectors that the graph does not. */
  error: ConversionError | null;
};

/** Added inputs per LayerNorm: 2 % more products for a third of the error. */
const SLOTS = 8;

/** Throws INVALID_MODEL for a graph that cannot be represented; nothing stays at `to` then. */
export async function convertModel(options: ConvertOptions): Promise<Conversion> {
  const bert = readBert(readGraph(await readFile(options.graph), options.graph));
  const samples = options.samples ?? [];
  const layers = bert.blocks.flatMap(linearsOf);
  const outputs = layers.reduce((sum, layer) => sum + layer.outputs, 0);
  const exact = layers.reduce((sum, layer) => sum + layer.exact, 0);
  if (options.exactOnly === true && exact < outputs) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `The native encoder would have to round the weights of ${outputs - exact} of the ${outputs} outputs of linear layers in ${options.graph}.`,
    );
  }
  const { heads, epsilon } = options;
  if (heads === null || epsilon === null) {
    throw new MaxSimError(
      'INVALID_MODEL',
      `config.json beside ${options.graph} must give num_attention_heads and layer_norm_eps, but does not.`,
    );
  }
  const shape = shapeOf(bert, { ...options, heads, epsilon }, samples.length > 0 ? SLOTS : 0);
  const tensors = tensorsOf(bert, shape, options.recipe ?? new Uint8Array());
  const addon = loadAddon();
  await nativeAsync(() => addon.writeEncoder(options.to, shape, tensors));
  if (samples.length > 0) {
    tensors.channels = await chooseChannels(options.to, shape, samples);
    await nativeAsync(() => addon.writeEncoder(options.to, shape, tensors));
  }
  const alike =
    samples.length > 0 && options.pooling === undefined && shape.normalise === bert.normalise;
  let error: ConversionError | null = null;
  try {
    if (alike)
      error = await compareWithGraph(options.graph, options.output ?? null, options.to, samples);
  } catch (cause) {
    await rm(options.to, { force: true });
    throw cause;
  }
  return { shape, outputs, exact, error };
}

/** In the order of the file. */
function linearsOf(block: BertBlock) {
  return [block.query, block.key, block.value, block.attentionOutput, block.up, block.down];
}

function shapeOf(
  bert: Bert,
  options: Omit<ConvertOptions, 'heads' | 'epsilon'> & { heads: number; epsilon: number },
  slots: number,
): EncoderShape {
  const [first] = bert.blocks;
  const { hidden } = bert.words;
  return {
    hidden,
    layers: bert.blocks.length,
    heads: options.heads,
    intermediate: first?.up.outputs ?? 0,
    vocabulary: bert.words.rows,
    positions: bert.positions.length / hidden,
    types: bert.types.length / hidden,
    slots,
    activation: first?.activation ?? 'gelu',
    pooling: options.pooling ?? bert.pooling,
    dense: bert.dense.map(({ outputs, activation }) => ({ outputs, activation })),
    normalise: options.normalise ?? bert.normalise,
    epsilon: options.epsilon,
  };
}

function tensorsOf(bert: Bert, shape: EncoderShape, recipe: Uint8Array): EncoderTensors {
  const norms = [bert.norm];
  for (const block of bert.blocks) norms.push(block.attentionNorm, block.norm);
  const columns: Float32Array[] = [];
  for (const block of bert.blocks) {
    const { query, key, value, attentionOutput, up, down } = block;
    columns.push(query.scale, key.scale, value.scale, query.bias, key.bias, value.bias);
    for (const layer of [attentionOutput, up, down]) columns.push(layer.scale, layer.bias);
  }
  const weights = bert.blocks.flatMap(linearsOf).map((layer) => layer.weights);
  return {
    recipe,
    words: bert.words.bytes,
    wordScales: bert.words.scale,
    positions: bert.positions,
    types: bert.types,
    norms: joined(norms.flatMap(({ gamma, beta }) => [gamma, beta])),
    channels: new Uint32Array(shape.layers * 2 * shape.slots).fill(0xffffffff),
    weights: new Uint8Array(Buffer.concat(weights.map((w) => Buffer.from(w.buffer)))),
    columns: joined(columns),
    dense: joined(bert.dense.flatMap(padded)),
  };
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}

/** Weights and bias, outputs filled up to a multiple of 32. */
function padded({ inputs, outputs, weights, bias }: Bert['dense'][number]): Float32Array[] {
  const width = Math.ceil(outputs / 32) * 32;
  const wide = new Float32Array((inputs + 1) * width);
  for (let k = 0; k < inputs; k++)
    wide.set(weights.subarray(k * outputs, (k + 1) * outputs), k * width);
  wide.set(bias, inputs * width);
  return [wide];
}

/**
 * One by one, slots go to the channel with the largest magnitude per copy, the median over the samples
 * of the largest of a sample. The choice costs accuracy when it is wrong, never correctness.
 */
async function chooseChannels(
  file: string,
  shape: EncoderShape,
  samples: readonly TokenSequence[],
): Promise<Uint32Array> {
  const encoder = await nativeAsync(() => loadAddon().openEncoder(file));
  const seen: Float32Array[] = [];
  for (const { ids, types } of samples) {
    const lengths = Uint32Array.of(ids.length);
    const batch = { ids, types, lengths, attended: new Uint32Array() };
    seen.push(native(() => encoder.observe(batch, 1)));
  }
  const channels = new Uint32Array(shape.layers * 2 * shape.slots);
  const middle = Math.floor(seen.length / 2);
  for (let place = 0; place < shape.layers * 2; place++) {
    const magnitude = Float32Array.from({ length: shape.hidden }, (_, channel) => {
      const values = seen.map((of) => of[place * shape.hidden + channel] ?? 0);
      return values.sort((a, b) => a - b)[middle] ?? 0;
    });
    const copies = new Uint32Array(shape.hidden).fill(1);
    for (let slot = 0; slot < shape.slots; slot++) {
      let best = 0;
      const share = (channel: number): number => (magnitude[channel] ?? 0) / (copies[channel] ?? 1);
      for (let channel = 1; channel < shape.hidden; channel++) {
        if (share(channel) > share(best)) best = channel;
      }
      copies[best] = (copies[best] ?? 1) + 1;
      channels[place * shape.slots + slot] = best;
    }
  }
  return channels;
}
