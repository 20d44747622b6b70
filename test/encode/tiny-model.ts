/**
 * Made-up models: a folder with a small vocabulary and a graph that looks up one row of numbers per
 * token. Real files, for the real tokenizer and onnxruntime.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const WORDS = [
  ...['[PAD]', '[unused0]', '[unused1]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'],
  ...['[', ']', '!', ',', '.', 'mask', 'unused', '##0', '##1', 'cls', 'one', 'two', 'three'],
];

export const idOf = (word: string): number => WORDS.indexOf(word);

export type TinyModel = {
  /** Values per token that the graph gives. */
  width?: number;
  /** The graph ends with an L2 norm, as exporters write it. */
  normalised?: boolean;
  /** Where the graph lies. */
  graph?: string;
  /** The output is float16. */
  half?: boolean;
  /** The output's last dim is left open. */
  open?: boolean;
  /** File to JSON, text or bytes; undefined leaves one of the usual files out. */
  files?: Record<string, unknown>;
};

const folders: string[] = [];

/** A new folder in a temporary directory; `removeModels` takes all of them away. */
export function tinyModel(options: TinyModel = {}): string {
  const { width = 8, graph = 'model.onnx' } = options;
  const folder = mkdtempSync(join(tmpdir(), 'maxsim-model-'));
  folders.push(folder);
  const files: Record<string, unknown> = {
    'tokenizer.json': wordPiece(),
    'tokenizer_config.json': {
      cls_token: '[CLS]',
      sep_token: '[SEP]',
      mask_token: '[MASK]',
      pad_token: '[PAD]',
      unk_token: '[UNK]',
    },
    'config.json': { model_type: 'bert', hidden_size: 8, max_position_embeddings: 512 },
    [graph]: lookUpGraph(width, options),
    ...options.files,
  };
  for (const [name, value] of Object.entries(files)) {
    if (value === undefined) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    const isRaw = typeof value === 'string' || value instanceof Uint8Array;
    writeFileSync(join(folder, name), isRaw ? value : JSON.stringify(value));
  }
  return folder;
}

export function removeModels(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
}

export function wordPiece(): Record<string, unknown> {
  return {
    added_tokens: ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'].map((content) => ({
      id: idOf(content),
      content,
      special: true,
      normalized: false,
    })),
    normalizer: { type: 'BertNormalizer', clean_text: true, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', cls: ['[CLS]', 4], sep: ['[SEP]', 5] },
    decoder: null,
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
    },
  };
}

/** The row of a token id: what the graph gives for it, before any norm. */
export function rowOf(id: number, width: number): number[] {
  return Array.from({ length: width }, (_, k) => Math.sin(1 + id * 7 + k * 3));
}

function lookUpGraph(
  width: number,
  { normalised = false, open = false, half = false }: TinyModel,
): Buffer {
  const rows = Float32Array.from(WORDS.flatMap((_, id) => rowOf(id, width)));
  const node = (op: string, inputs: string[], output: string, ...more: WireField[]): WireField => [
    1,
    [...inputs.map((name): WireField => [1, name]), [2, output], [4, op], ...more],
  ];
  const axes: WireField = [
    5,
    [
      [1, 'axes'],
      [8, 2],
      [20, 7],
    ],
  ];
  const states = normalised || half ? 'states' : 'output';
  const tensor = (name: string, type: number, dims: (string | number)[]): WireField[] => [
    [1, name],
    [
      2,
      [
        [
          1,
          [
            [1, type],
            [2, dims.map((dim): WireField => [1, [typeof dim === 'string' ? [2, dim] : [1, dim]]])],
          ],
        ],
      ],
    ],
  ];
  const graph: WireField[] = [
    node('Gather', ['rows', 'input_ids'], states),
    ...(normalised
      ? [node('ReduceL2', ['states'], 'norm', axes), node('Div', ['states', 'norm'], 'output')]
      : []),
    ...(half
      ? [
          node('Cast', ['states'], 'output', [
            5,
            [
              [1, 'to'],
              [3, 10],
              [20, 2],
            ],
          ]),
        ]
      : []),
    [2, 'tiny'],
    [
      5,
      [
        [1, WORDS.length],
        [1, width],
        [2, 1],
        [8, 'rows'],
        [9, new Uint8Array(rows.buffer)],
      ],
    ],
    [11, tensor('input_ids', 7, ['batch', 'tokens'])],
    [11, tensor('attention_mask', 7, ['batch', 'tokens'])],
    [12, tensor('output', half ? 10 : 1, ['batch', 'tokens', open ? 'width' : width])],
  ];
  return encodeMessage([
    [1, 8],
    [7, graph],
    [8, [[2, 17]]],
  ]);
}

/** A safetensors file of float32 tensors. */
export function safetensors(
  tensors: Record<string, { shape: number[]; values: number[] }>,
): Buffer {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + values.length * 4] };
    at += values.length * 4;
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  const data = Object.values(tensors).flatMap(({ values }) => values);
  return Buffer.concat([size, json, new Uint8Array(Float32Array.from(data).buffer)]);
}

/** GPT-2's letter for each byte. */
export const BYTE_LETTERS: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : next++);
  });
})();

/** As ModernBERT's: byte-level BPE, with runs of spaces among the added tokens. */
export function byteLevel(): Record<string, unknown> {
  const merges = ['t h', 'th e', 'Ġ the', 'o n', 'on e', 'Ġ one'];
  const pieces = [...BYTE_LETTERS, ...merges.map((merge) => merge.replace(' ', ''))];
  const vocab = Object.fromEntries(pieces.map((piece, id) => [piece, id]));
  const added = (content: string, id: number, special: boolean): Record<string, unknown> => ({
    ...{ id: 300 + id, content, special, normalized: !special, lstrip: content === '[MASK]' },
  });
  return {
    added_tokens: [
      added('[CLS]', 0, true),
      added('[SEP]', 1, true),
      added('[MASK]', 2, true),
      added('[PAD]', 3, true),
      added('   ', 4, false),
      added('[unused0]', 5, false),
      added('[Q] ', 6, false),
    ],
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [300], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [301], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges, unk_token: null },
  };
}

/** As XLM-R's: Unigram, whose vocabulary holds its special tokens as pieces too. */
export function unigram(): Record<string, unknown> {
  const pieces = ['▁the', '▁one', '▁', '<', '>', 's', '/', 'm', 'a', 'k', 't', 'h', 'e', 'o', 'n'];
  const vocab = [
    ...['<s>', '<pad>', '</s>', '<unk>'].map((piece) => [piece, 0]),
    ...pieces.map((piece, i) => [piece, -2 - i / 10]),
    ['<mask>', 0],
  ];
  const added = ['<s>', '<pad>', '</s>', '<unk>', '<mask>'];
  return {
    added_tokens: added.map((content) => ({
      id: vocab.findIndex(([piece]) => piece === content),
      content,
      special: true,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '<s>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
      ],
      pair: [
        { SpecialToken: { id: '<s>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
        { Sequence: { id: 'B', type_id: 0 } },
        { SpecialToken: { id: '</s>', type_id: 0 } },
      ],
      special_tokens: {
        '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] },
        '</s>': { id: '</s>', ids: [2], tokens: ['</s>'] },
      },
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    model: { type: 'Unigram', unk_id: 3, vocab },
  };
}

/** A field of a Protocol Buffers message: a whole number, bytes, text, or a message of fields. */
type WireField = readonly [field: number, value: number | Uint8Array | string | WireField[]];

function encodeMessage(fields: readonly WireField[]): Buffer {
  const parts = fields.flatMap(([field, value]): Uint8Array[] => {
    if (typeof value === 'number') return [varint(field * 8), varint(value)];
    const bytes =
      typeof value === 'string'
        ? Buffer.from(value)
        : value instanceof Uint8Array
          ? value
          : encodeMessage(value);
    return [varint(field * 8 + 2), varint(bytes.length), bytes];
  });
  return Buffer.concat(parts);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.from([...bytes, rest]);
}
