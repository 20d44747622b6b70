/**
 * The words every room shares. Imports nothing.
 *
 * Token vectors are always flat: a Float32Array of `tokens * dim` values, row after row.
 */

/** Anything that JSON can hold; stored beside a document and given back with its hits. */
export type Payload = null | boolean | number | string | Payload[] | { [key: string]: Payload };

/** What a field of payloads holds: strings of at most 512 bytes, finite numbers, true or false. */
export const FIELD_TYPES = ['keyword', 'number', 'boolean'] as const;

export type FieldType = (typeof FIELD_TYPES)[number];

/** The fields that an index declares; `meta.year` is `year` within the object `meta`. */
export type FieldTypes = { readonly [field: string]: FieldType };

export type FieldValue = string | number | boolean;

/** Conditions on one field, all of which must hold; a plain value stands for `eq`. */
export type FieldFilter =
  | FieldValue
  | {
      readonly eq?: FieldValue;
      /** Also holds for documents without a value, as `nin` and `not` do. */
      readonly ne?: FieldValue;
      readonly in?: readonly FieldValue[];
      readonly nin?: readonly FieldValue[];
      readonly gt?: string | number;
      readonly gte?: string | number;
      readonly lt?: string | number;
      readonly lte?: string | number;
      readonly exists?: boolean;
    };

/**
 * Which documents may be hits, by the fields that the index declares. All keys must hold.
 *
 * @example
 * const filter = { lang: 'en', year: { gte: 2000, lt: 2010 }, or: [{ draft: false }, { tags: 'news' }] }
 */
export type Filter = {
  readonly and?: readonly Filter[];
  readonly or?: readonly Filter[];
  readonly not?: Filter;
  readonly [field: string]: FieldFilter | Filter | readonly Filter[];
};

/** A document as the caller gives it: text to encode, or token vectors encoded elsewhere. */
export type DocumentInput = {
  /** The caller's own id: 1 to 512 bytes of UTF-8, stable for ever. */
  id: string;
  /** The passage. Required unless `vectors` is given; stored and returned with hits either way. */
  text?: string;
  /** Flat `tokens * dim` values, finite, 1 to 65,535 tokens. */
  vectors?: Float32Array;
  payload?: Payload;
};

/** A stored document as `get` returns it. */
export type StoredDocument = {
  id: string;
  text: string | null;
  payload: Payload | null;
  /** How many token vectors are stored. */
  tokenCount: number;
  /** Fingerprint of what was indexed (text and payload), for skipping what did not change. */
  contentHash: string | null;
};

/** What a first stage says of a candidate: a distance is the better the smaller, a similarity the greater. */
export type FirstStageScore = { value: number; kind: 'distance' | 'similarity' };

/**
 * What may be reranked: a stored document by id, a text, or token vectors. With scores, which all must
 * have or none, of one kind, candidates are put in their order; without, they come best first.
 */
export type Candidate =
  | string
  | { id: string; score: FirstStageScore }
  | { id: string; text: string; score?: FirstStageScore }
  | { id: string; vectors: Float32Array; score?: FirstStageScore };

/**
 * Which step put a hit where it is: 'first-stage' (the order of the candidates), 'late-interaction',
 * 'cross-encoder', or the name of another reranker.
 */
export type Stage = 'first-stage' | 'late-interaction' | 'cross-encoder' | (string & {});

/** One part of a stage's evidence: the raw score and the position it gave, from 1. */
export type StageScore = {
  stage: Stage;
  score: number;
  rank: number;
  /** Only of a first stage that gives distances: the smaller the better. */
  kind?: 'distance';
};

/** One query token, the document token that answered it best, and what that added to the score. */
export type TokenMatch = {
  queryToken: string;
  /** Character span of the query token in the query text, null for markers such as [CLS]. */
  querySpan: [start: number, end: number] | null;
  documentToken: string;
  /** Character span of the document token in the passage, null for markers. */
  documentSpan: [start: number, end: number] | null;
  /** Adds up, over all query tokens, to the late-interaction score. */
  contribution: number;
};

export type Hit = {
  id: string;
  /**
   * The score of `stage`: MaxSim (sum over query tokens), or the cross-encoder's raw logit. Scores of
   * different stages do not compare. Null in the order of the candidates; what they came with is in
   * `scores`.
   */
  score: number | null;
  stage: Stage;
  /** That it is relevant, where the pipeline has a calibrator for `stage`. */
  probability?: number;
  /** Why, where the stage says so. */
  reason?: string;
  /** Every score this hit was given, in the order of the stages. */
  scores: StageScore[];
  text: string | null;
  payload: Payload | null;
  /** Present with `explain: true`. */
  explanation?: TokenMatch[];
};

/** Milliseconds spent in each step of one call. */
export type Timings = {
  encodeMs: number;
  scoreMs: number;
  crossEncoderMs: number;
  totalMs: number;
};

/**
 * Which stage is missing from a result, in part or whole, and why: it had no time; it failed; it was not
 * asked, since it fails too often or has too much to do.
 */
export type Degradation = {
  stage: Stage;
  cause: 'deadline' | 'error' | 'unavailable';
  message: string;
};

/** How one stage of a call went. */
export type StageReport = {
  stage: Stage;
  /** Candidates that it was to read, and those that it scored. */
  candidates: number;
  scored: number;
  /** When it began, in milliseconds since the call did, and how long it took. */
  startMs: number;
  ms: number;
  /** partial: it scored the first ones. skipped: the gate was sure without it. */
  outcome: 'ran' | 'partial' | 'skipped' | 'failed';
  cause: Degradation['cause'] | null;
  /** What it said when it failed. */
  message?: string;
};

export type RerankResult = {
  /** Best first; ties keep the order of the candidates. */
  hits: Hit[];
  /** Candidate ids that the index does not hold; they are not in `hits`. */
  unknownIds: string[];
  /** Candidate ids that the filter keeps out of `hits`. */
  excludedIds: string[];
  /** Null when every stage that was asked for ran, or was skipped by the gate. */
  degraded: Degradation | null;
  /**
   * 'nothing-relevant', with no hits: the best candidate is below the floor of the stage that scored it.
   * Null where that stage has no floor, or did not get to all that might be above.
   */
  verdict: 'relevant' | 'nothing-relevant' | null;
  /** What the gate said: the probability that the stages after late interaction gain nothing. */
  gate: { skipped: boolean; score: number } | null;
  /** How each stage went, in order. */
  stages: StageReport[];
  timings: Timings;
};

/**
 * How the best of a whole index are found. exhaustive: every document is scored. scan: the centroids of
 * every document are looked up, and the best candidates scored. lists: the documents of the centroids
 * that are nearest to the query are added up, and the best candidates scored.
 */
export type SearchMethod = 'exhaustive' | 'scan' | 'lists';

/** How a search went. */
export type SearchPlan = {
  method: SearchMethod;
  /** Why this method. */
  reason: string;
  /** Whether the hits are sure to be those of an exhaustive search. */
  certified: boolean;
  /** Documents that were asked about: all, or those that match. */
  documents: number;
  /** Candidates that were scored. */
  depth: number;
  /** Centroids of documents that were looked up, and documents of centroids that were added up. */
  codes: number;
  postings: number;
  /** Documents that were scored, and that a bound kept out. */
  scored: number;
  excluded: number;
  /** Documents that were given up between two passes of a long query. */
  skipped: number;
  /** Of one thread; null where the method is not to be had. */
  estimatesMs: { exhaustive: number | null; scan: number | null; lists: number | null };
  timingsMs: { table: number; candidates: number; scoring: number };
};

export type SearchResult = Omit<RerankResult, 'unknownIds' | 'excludedIds'> & {
  /** How the candidates were found. */
  plan: SearchPlan;
};

/**
 * How a token vector is stored, from the most bytes per token to the fewest. f32, f16, bf16: floats.
 * int8-token, int8: a byte per dim, with a scale per token or one for all. r4, r2, r1: the nearest of
 * some thousand centroids, and 4, 2 or 1 bits per dim for the difference to it.
 */
export const CODECS = ['f32', 'f16', 'bf16', 'int8-token', 'int8', 'r4', 'r2', 'r1'] as const;

export type CodecName = (typeof CODECS)[number];

/** Vectors of one text. `tokens` says what each row stands for. */
export type EncodedText = {
  vectors: Float32Array;
  tokenCount: number;
  /** How many of the text's tokens were cut off at the model's length; 0 when all fitted. */
  truncatedTokens: number;
  /** How many windows a long document was split into; absent: one. */
  windows?: number;
};

/** A token of a text as a model sees it, with its place in the text. */
export type TextToken = { token: string; span: [start: number, end: number] | null };

/**
 * Turns texts into unit-length token vectors, away from the event loop. A model folder is one
 * (`openEncoder`); anything else that can do this may be given to `Engine.open` in its place.
 */
export interface Encoder {
  readonly dim: number;
  /** Two encoders with equal fingerprints give interchangeable vectors. */
  readonly fingerprint: string;
  /** What the fingerprint stands for, for people: model, prefix, lengths, skiplist … */
  readonly recipe: Readonly<Record<string, unknown>>;
  encodeQueries(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  encodeDocuments(texts: readonly string[], options?: EncodeOptions): Promise<EncodedText[]>;
  /**
   * The token behind each row of `encodeQueries` / `encodeDocuments`, for explanations; without it they
   * have no tokens and no places in the text.
   */
  explainTokens?(text: string, kind: 'query' | 'document'): Promise<TextToken[]>;
  close?(): Promise<void>;
}

/** What a reranker says of the documents it was given. */
export type Judgement = {
  /** One score a document, in the order given; NaN for those it did not get to. Higher is better. */
  scores: Float32Array;
  /** Why, one text a document, from rerankers that can say. */
  explanations?: readonly (string | null)[];
};

/**
 * Reads a query beside each of some documents and scores them: a cross-encoder, a service, a chat model.
 * Only the order of its scores within one query means anything.
 */
export interface Reranker {
  /** The name of its stage in results. */
  readonly name: string;
  /** Two rerankers with equal fingerprints give the same scores: model, form, longest input. */
  readonly fingerprint: string;
  /** Deadlines below this are refused before anything is asked; absent: none are. */
  readonly leastBudgetMs?: number;
  /**
   * Documents come best first, as the stage before ordered them: one that runs out of time scores the
   * first ones. Rejects with ABORTED when the signal fires, and otherwise with a MaxSimError.
   */
  judge(query: string, documents: readonly string[], options?: JudgeOptions): Promise<Judgement>;
}

export type JudgeOptions = {
  signal?: AbortSignal | undefined;
  /** Milliseconds from now after which nobody waits for more scores. */
  budgetMs?: number | undefined;
};

export type EncodeOptions = {
  signal?: AbortSignal | undefined;
  /** Texts that are not being encoded this many milliseconds from now need not be. */
  deadlineMs?: number | undefined;
};
