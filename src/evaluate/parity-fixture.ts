/**
 * What another implementation made of a model: token ids, kept tokens and MaxSim scores of a
 * late-interaction model, or the logits of a cross-encoder. Read from JSON and checked whole; docs/models.md
 * has the format.
 */
import { readFile } from 'node:fs/promises';
import { MaxSimError, show } from '../errors.js';

/** One way to encode the texts, and what came out. */
export type ParityConfig = {
  queryExpansion: boolean;
  /** Token ids right after [CLS]; null: none. */
  queryMarkerId: number | null;
  documentMarkerId: number | null;
  queryLength: number;
  documentLength: number;
  skiplistIds: number[];
  queries: { ids: number[]; attended: number; vectors: number }[];
  /** `keep`: a 1 or a 0 per token id, 1 where its vector is kept. */
  documents: { ids: number[]; keep: string }[];
  /** MaxSim by query and document. */
  scores: number[][];
  /** The first vectors of some texts. */
  samples: { kind: 'query' | 'document'; index: number; rows: number[][] }[];
};

export type LateInteractionFixture = {
  kind: 'late-interaction';
  peer: string;
  queries: string[];
  documents: string[];
  configs: ParityConfig[];
};

export type CrossEncoderFixture = {
  kind: 'cross-encoder';
  peer: string;
  pairs: { query: string; document: string; ids: number[]; types: number[]; logit: number }[];
};

export type ParityFixture = LateInteractionFixture | CrossEncoderFixture;

/** Throws INVALID_SOURCE for a file that is no fixture, with the field that is wrong. */
export async function readParityFixture(file: string): Promise<ParityFixture> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MaxSimError('INVALID_SOURCE', `${file} cannot be read as JSON: ${reason}.`, {
      cause,
    });
  }
  const root = new Field(file, '', value);
  return root.has('pairs') ? crossEncoderFixture(root) : lateInteractionFixture(root);
}

function lateInteractionFixture(root: Field): LateInteractionFixture {
  const queries = root.at('queries').strings();
  const documents = root.at('documents').strings();
  return {
    kind: 'late-interaction',
    peer: peerOf(root),
    queries,
    documents,
    configs: root
      .at('configs')
      .items()
      .map((config) => parityConfig(config, queries.length, documents.length)),
  };
}

function parityConfig(config: Field, queryCount: number, documentCount: number): ParityConfig {
  const marker = (name: string): number | null =>
    config.at(name).value === null ? null : config.at(name).integer();
  return {
    queryExpansion: config.at('do_query_expansion').boolean(),
    queryMarkerId: marker('query_prefix_id'),
    documentMarkerId: marker('document_prefix_id'),
    queryLength: config.at('query_length').integer(),
    documentLength: config.at('document_length').integer(),
    skiplistIds: config.at('skiplist_ids').integers(),
    queries: config
      .at('query_tokens')
      .items(queryCount)
      .map((tokens) => ({
        ids: tokens.at('input_ids').integers(),
        attended: tokens
          .at('attention_mask')
          .integers()
          .filter((one) => one === 1).length,
        vectors: tokens.at('vectors').integer(),
      })),
    documents: config
      .at('document_tokens')
      .items(documentCount)
      .map((tokens) => ({
        ids: tokens.at('input_ids').integers(),
        keep: tokens.at('keep').digits(),
      })),
    scores: config
      .at('scores')
      .items(queryCount)
      .map((row) => row.numbers(documentCount)),
    samples: config.has('sample_embeddings')
      ? config
          .at('sample_embeddings')
          .items()
          .map((sample) => sampleOf(sample, queryCount, documentCount))
      : [],
  };
}

function sampleOf(
  sample: Field,
  queryCount: number,
  documentCount: number,
): ParityConfig['samples'][number] {
  const kind = sample.at('kind').value === 'query' ? 'query' : 'document';
  const index = sample.at('index').integer();
  if (index >= (kind === 'query' ? queryCount : documentCount)) {
    throw sample.at('index').wrong(`the number of a ${kind}`);
  }
  const rows = sample
    .at('rows')
    .items()
    .map((row) => row.numbers());
  return { kind, index, rows };
}

function crossEncoderFixture(root: Field): CrossEncoderFixture {
  return {
    kind: 'cross-encoder',
    peer: peerOf(root),
    pairs: root
      .at('pairs')
      .items()
      .map((pair) => ({
        query: pair.at('query').string(),
        document: pair.at('document').string(),
        ids: pair.at('input_ids').integers(),
        types: [...pair.at('token_type_ids').digits()].map(Number),
        logit: pair.at('logit').number(),
      })),
  };
}

/** "PyLate 1.6.0": the library, and its version where versions are told. */
function peerOf(root: Field): string {
  const { library, versions } = (root.has('peer') ? root.at('peer').fields() : {}) as {
    library?: unknown;
    versions?: Record<string, unknown>;
  };
  if (typeof library !== 'string') return 'another implementation';
  const [name = library] = library.split(',');
  const [first = name] = name.toLowerCase().replaceAll('-', '_').split(' ');
  const version = versions?.[first];
  return typeof version === 'string' ? `${name} ${version}` : name;
}

/** A value within the file, with the path that an error names. */
class Field {
  constructor(
    private readonly file: string,
    private readonly path: string,
    readonly value: unknown,
  ) {}

  has(name: string): boolean {
    return this.fields()[name] !== undefined;
  }

  at(name: string): Field {
    return this.child(this.path === '' ? name : `${this.path}.${name}`, this.fields()[name]);
  }

  items(length?: number): Field[] {
    const { value } = this;
    if (!Array.isArray(value) || (length !== undefined && value.length !== length)) {
      throw this.wrong(length === undefined ? 'a list' : `a list of ${length}`);
    }
    return value.map((item, i) => this.child(`${this.path}[${i}]`, item));
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.wrong('true or false');
    return this.value;
  }

  string(): string {
    if (typeof this.value !== 'string') throw this.wrong('a string');
    return this.value;
  }

  number(): number {
    if (typeof this.value !== 'number') throw this.wrong('a number');
    return this.value;
  }

  integer(): number {
    const value = this.number();
    if (!Number.isInteger(value) || value < 0) throw this.wrong('a whole number of at least 0');
    return value;
  }

  digits(): string {
    const value = this.string();
    if (!/^[01]*$/.test(value)) throw this.wrong('a string of 0 and 1');
    return value;
  }

  strings(): string[] {
    return this.items().map((item) => item.string());
  }

  numbers(length?: number): number[] {
    return this.items(length).map((item) => item.number());
  }

  integers(): number[] {
    return this.items().map((item) => item.integer());
  }

  wrong(expected: string): MaxSimError {
    return new MaxSimError(
      'INVALID_SOURCE',
      `${this.file}: ${this.path || 'the file'} must be ${expected}, but is ${show(this.value)}.`,
    );
  }

  private child(path: string, value: unknown): Field {
    return new Field(this.file, path, value);
  }

  fields(): Record<string, unknown> {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw this.wrong('an object');
    }
    return value as Record<string, unknown>;
  }
}
