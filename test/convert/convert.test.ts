import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readBert } from '../../dist/convert/bert.js';
import { type Conversion, convertModel } from '../../dist/convert/convert.js';
import { type Graph, readGraph } from '../../dist/convert/onnx.js';
import { seededRandom } from '../../dist/random.js';
import { loadAddon } from '../../dist/runtime/addon.js';
import type { NativeEncoder } from '../../dist/runtime/native-encoder.js';
import { NativeSession } from '../../dist/runtime/native-session.js';
import { OnnxSession } from '../../dist/runtime/onnx-session.js';
import type { GraphSpec } from '../../dist/runtime/session.js';

type Fixture = {
  configs: {
    query_tokens: { input_ids: number[]; attention_mask: number[] }[];
    document_tokens: { input_ids: number[]; keep: string }[];
    scores: number[][];
  }[];
};
type Pairs = { pairs: { input_ids: number[]; token_type_ids: string; logit: number }[] };

const parity = <T>(name: string): T =>
  JSON.parse(
    readFileSync(new URL(`../../models/${name}/parity.json`, import.meta.url), 'utf8'),
  ) as T;
const model = (name: string): string =>
  fileURLToPath(new URL(`../../models/${name}/model.onnx`, import.meta.url));

const COLBERT = model('answerai-colbert-small-v1-int8-pca96');
const CROSS_ENCODER = model('ms-marco-MiniLM-L-12-v2-int8');

const directory = mkdtempSync(join(tmpdir(), 'maxsim-convert-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const none = new Uint32Array();
const sequenceOf = (ids: number[]) => ({ ids: Uint32Array.from(ids), types: none });

function encode(encoder: NativeEncoder, sequences: number[][], threads = 1): Float32Array {
  const lengths = Uint32Array.from(sequences, ({ length }) => length);
  const ids = Uint32Array.from(sequences.flat());
  return encoder.encode({ ids, types: none, lengths, attended: none }, threads);
}

describe('a ColBERT', () => {
  const [config] = parity<Fixture>('answerai-colbert-small-v1-int8-pca96').configs;
  const queries = (config?.query_tokens ?? [])
    .slice(0, 6)
    .map((q) => q.input_ids.filter((_, i) => q.attention_mask[i] === 1));
  const documents = config?.document_tokens ?? [];
  let conversion: Conversion;
  let encoder: NativeEncoder;

  beforeAll(async () => {
    const to = join(directory, 'colbert');
    // Any texts would do; these are not compared below.
    const samples = documents.slice(40, 48).map(({ input_ids }) => sequenceOf(input_ids));
    conversion = await convertModel({ graph: COLBERT, to, heads: 12, epsilon: 1e-12, samples });
    encoder = await loadAddon().openEncoder(to);
  });

  it('keeps every integer of its weights', () => {
    expect(conversion.outputs).toBe(12 * (4 * 384 + 1536 + 384));
    expect(conversion.exact).toBe(conversion.outputs);
    expect(conversion.error?.compared).toBeGreaterThan(100);
    expect(conversion.error?.mean).toBeLessThan(1e-3);
    expect(conversion.shape).toMatchObject({ layers: 12, activation: 'gelu', pooling: 'tokens' });
    expect(encoder.shape).toMatchObject({ outputs: 96, slots: 8 });
  });

  it('scores documents as unrounded activations do', () => {
    const texts = documents.slice(0, 40);
    const vectors = encode(encoder, [...queries, ...texts.map((d) => d.input_ids)]);
    const rows = (from: number, count: number): Float32Array[] =>
      Array.from({ length: count }, (_, i) =>
        vectors.subarray((from + i) * 96, (from + i + 1) * 96),
      );
    const starts: number[] = [0];
    for (const ids of [...queries, ...texts.map((d) => d.input_ids)]) {
      starts.push((starts.at(-1) ?? 0) + ids.length);
    }
    let sum = 0;
    for (const [q, ids] of queries.entries()) {
      for (const [d, document] of texts.entries()) {
        const of = rows(starts[queries.length + d] ?? 0, document.input_ids.length).filter(
          (_, i) => document.keep[i] === '1',
        );
        let score = 0;
        for (const query of rows(starts[q] ?? 0, ids.length)) {
          score += Math.max(
            ...of.map((token) => token.reduce((s, v, i) => s + v * (query[i] ?? 0), 0)),
          );
        }
        sum += Math.abs(score - (config?.scores[q]?.[d] ?? 0));
      }
    }
    // onnxruntime's mean on the same file is 0.014.
    expect(sum / (queries.length * texts.length)).toBeLessThan(0.014);
  }, 20_000);

  it('gives the same bits alone, in a batch and on two threads', () => {
    const sequences = documents.slice(0, 5).map((d) => d.input_ids);
    const packed = encode(encoder, sequences);
    expect(encode(encoder, sequences, 2)).toEqual(packed);
    const alone: number[] = [];
    for (const sequence of sequences) alone.push(...encode(encoder, [sequence]));
    expect(Float32Array.from(alone)).toEqual(packed);
  });

  it('takes the place of an onnxruntime session, padding and expansion included', async () => {
    const spec = { file: COLBERT, output: null, head: [], width: 96, threads: 1 };
    const graph: GraphSpec = { ...spec, sha256: null, optimisation: 'all' };
    const own = await NativeSession.open(join(directory, 'colbert'), graph);
    const other = await OnnxSession.open(graph);
    // A query of 9 tokens and 4 that expand it unattended, beside a longer one.
    const short = [...(queries[1] ?? []).slice(0, 9), 103, 103, 103, 103];
    const long = queries[0] ?? [];
    const sequences = [
      { ids: long, attended: long.length },
      { ids: short, attended: 9 },
    ];
    const together = await own.run(sequences);
    expect(together.dims).toEqual([long.length + short.length, 96]);
    const apart: number[] = [];
    for (const sequence of sequences) apart.push(...(await other.run([sequence])).data);
    for (let at = 0; at < apart.length; at += 96) {
      const vector = together.data.subarray(at, at + 96);
      const product = vector.reduce((sum, value, d) => sum + value * (apart[at + d] ?? 0), 0);
      expect(product).toBeGreaterThan(0.995);
    }
    for (const session of [own, other]) await session.close();
  });

  it('refuses what is no batch of its own', () => {
    expect(() => encode(encoder, [[101, 30522]])).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    expect(() => encode(encoder, [Array(513).fill(101)])).toThrow('513 tokens');
    const batch = { ids: none, types: none, attended: none };
    expect(() => encoder.encode({ ...batch, lengths: Uint32Array.of(3) }, 1)).toThrow('3 tokens');
    const cells = new Int32Array(new SharedArrayBuffer(8));
    expect(() => encoder.encode({ ...batch, lengths: none }, 1, { cell: cells, value: 1 })).toThrow(
      'one element',
    );
  });

  it('stops between layers when another thread says so', () => {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    const ids = Uint32Array.from(documents.slice(0, 3).flatMap((d) => d.input_ids));
    const lengths = Uint32Array.from(documents.slice(0, 3), (d) => d.input_ids.length);
    const batch = { ids, types: none, lengths, attended: none };
    cell[0] = 7;
    expect(() => encoder.encode(batch, 1, { cell, value: 7 })).toThrow(
      expect.objectContaining({ code: 'ABORTED' }),
    );
    expect(encoder.encode(batch, 1, { cell, value: 8 })).toEqual(encoder.encode(batch, 1));
  });
});

describe('a cross-encoder', () => {
  it('ranks as unrounded activations do', async () => {
    const { pairs } = parity<Pairs>('ms-marco-MiniLM-L-12-v2-int8');
    const to = join(directory, 'cross-encoder');
    const { shape } = await convertModel({
      graph: CROSS_ENCODER,
      to,
      heads: 12,
      epsilon: 1e-12,
      samples: [sequenceOf(pairs[0]?.input_ids ?? [])],
    });
    expect(shape).toMatchObject({
      pooling: 'first',
      dense: [
        { outputs: 384, activation: 'tanh' },
        { outputs: 1, activation: 'none' },
      ],
    });
    const encoder = await loadAddon().openEncoder(to);
    const logits = encoder.encode(
      {
        ids: Uint32Array.from(pairs.flatMap((pair) => pair.input_ids)),
        types: Uint32Array.from(pairs.flatMap((pair) => [...pair.token_type_ids].map(Number))),
        lengths: Uint32Array.from(pairs, (pair) => pair.input_ids.length),
        attended: none,
      },
      1,
    );
    const error = pairs.map((pair, i) => Math.abs((logits[i] ?? 0) - pair.logit));
    // onnxruntime's mean on the same file is 0.055.
    expect(error.reduce((sum, value) => sum + value) / pairs.length).toBeLessThan(0.055);
  }, 20_000);
});

describe('what cannot be converted', () => {
  const whole = readGraph(readFileSync(COLBERT), COLBERT);
  const graph = (): Graph => ({ ...whole, nodes: whole.nodes.map((node) => ({ ...node })) });
  const change = (of: Graph, operator: string, node: Partial<Graph['nodes'][number]>): void => {
    Object.assign(of.nodes.find((n) => n.operator === operator) ?? {}, node);
  };

  it('is refused by the name of its node', () => {
    const rotary = graph();
    change(rotary, 'Erf', { operator: 'com.microsoft.RotaryEmbedding', name: '/rotary' });
    expect(() => readBert(rotary)).toThrow('Node /rotary (com.microsoft.RotaryEmbedding)');
    const silent = graph();
    for (const node of silent.nodes) if (node.operator === 'Erf') node.operator = 'Sqrt';
    expect(() => readBert(silent)).toThrow('the activation of its block');
    const further = graph();
    const [linear] = further.nodes.filter((n) => n.operator.endsWith('MatMulNBits'));
    if (linear !== undefined)
      further.nodes.push({ ...linear, name: '/adapter', outputs: ['more'] });
    expect(() => readBert(further)).toThrow('Node /adapter');
  });

  it('is refused in other families and with weights of other sizes, but not for its masks', () => {
    const of = (name: string): Graph => {
      const file = fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
      return readGraph(readFileSync(file), file);
    };
    expect(() => readBert(of('encoders/pylate-modernbert/model.onnx'))).toThrow('Split');
    expect(() => readBert(of('forms/model_q4.onnx'))).toThrow('4 bits');
    for (const form of ['encoders/pylate-bert/model.onnx', 'forms/model_fp16.onnx']) {
      expect(readBert(of(form))).toMatchObject({ pooling: 'tokens', blocks: { length: 2 } });
    }
    const { blocks } = readBert(of('forms/model_int8.onnx'));
    expect(blocks[0]?.up).toMatchObject({ inputs: 32, exact: blocks[0]?.up.outputs });
  });

  it('is refused without the tables it needs', () => {
    const positionless = graph();
    positionless.nodes = positionless.nodes.filter((n) => !n.name.includes('position_embeddings'));
    expect(() => readBert(positionless)).toThrow('positions');
  });

  it('is refused where it is no ONNX file', async () => {
    const broken = join(directory, 'broken.onnx');
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('{}'),
      readFileSync(COLBERT).subarray(0, 1e6),
    ]) {
      writeFileSync(broken, bytes);
      const to = join(directory, 'broken');
      await expect(
        convertModel({ graph: broken, to, heads: 12, epsilon: 1e-12 }),
      ).rejects.toMatchObject({ code: 'INVALID_MODEL' });
    }
  });

  it('is refused in words, or read, however its bytes were changed', () => {
    const next = seededRandom(1);
    const below = (count: number): number => Math.floor(next() * count);
    for (const name of ['encoders/pylate-bert/model.onnx', 'forms/model_int8.onnx']) {
      const file = fileURLToPath(new URL(`../golden/${name}`, import.meta.url));
      const whole = readFileSync(file);
      for (let round = 0; round < 150; round++) {
        const bytes = Buffer.from(whole);
        for (let i = below(6); i >= 0; i--) {
          // Names and shapes are at either end, weights between.
          const near = below(2) === 0 ? 4000 : bytes.length;
          const at = below(Math.min(near, bytes.length));
          bytes[below(2) === 0 ? at : bytes.length - 1 - at] = below(256);
        }
        const cut = below(3) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes;
        try {
          readBert(readGraph(cut, file));
        } catch (error) {
          expect(error, `${name}, round ${round}`).toMatchObject({ code: 'INVALID_MODEL' });
        }
      }
    }
  });

  it('is refused where onnxruntime gives other vectors', async () => {
    const to = join(directory, 'six-heads');
    const ids = Array.from({ length: 40 }, (_, i) => 2000 + i * 97);
    const samples = [sequenceOf([101, 2, ...ids, 102])];
    await expect(
      convertModel({ graph: COLBERT, to, heads: 6, epsilon: 1e-12, samples }),
    ).rejects.toThrow('onnxruntime gives other vectors');
    expect(existsSync(to)).toBe(false);
  });

  it('is refused with heads that do not divide it', async () => {
    const to = join(directory, 'heads');
    await expect(
      convertModel({ graph: COLBERT, to, heads: 7, epsilon: 1e-12 }),
    ).rejects.toMatchObject({ code: 'INVALID_MODEL' });
  });

  it('is no encoder for the addon either', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, 'MAXSIMEN');
    await expect(loadAddon().openEncoder(file)).rejects.toMatchObject({ code: 'INVALID_MODEL' });
    await expect(loadAddon().openEncoder(join(directory, 'absent'))).rejects.toMatchObject({
      code: 'IO_ERROR',
    });
  });
});
