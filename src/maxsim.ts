/** The public face of maxsim: exports, nothing else. */
export { Engine } from './engine.js';
export { MaxSimError, type MaxSimErrorCode } from './errors.js';
export {
  type CodecInfo,
  type CodecOption,
  type CompactionStats,
  Index,
  type IndexSearchOptions,
  type IndexSnapshot,
  type RankOptions,
  type RankRequest,
  type RankResult,
  type RecodeOptions,
  type ScoreResult,
} from './index/store.js';
export { prepareQuery, type QueryVectors } from './maxsim/query.js';
export type {
  AddOptions,
  AddResult,
  EngineOptions,
  Query,
  RerankOptions,
  SearchOptions,
} from './request.js';
export type * from './types.js';
export { CODECS } from './types.js';
