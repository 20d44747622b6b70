/** The public face of maxsim: exports, nothing else. */
export type { ModelOptions } from './encode/model-options.js';
export type { QueryCacheStats } from './encode/query-cache.js';
export type { Layout, Recipe } from './encode/recipe.js';
export { type EncoderOptions, type Model, type OpenedEncoder, openEncoder } from './encoder.js';
export { Engine } from './engine.js';
export { MaxSimError, type MaxSimErrorCode } from './errors.js';
export {
  describeImport,
  type ExportFormat,
  type ExportOptions,
  type ExportProgress,
  type ExportResult,
  exportIndex,
  type ImportDescription,
  type ImportFormat,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
  importInto,
  type SourceOptions,
} from './exchange/exchange.js';
export { type BackupOptions, type BackupResult, backupIndex } from './index/backup.js';
export type { ExaminationProgress, Problem } from './index/examination.js';
export {
  type RepairOptions,
  type RepairReport,
  repairIndex,
  type Undeleted,
} from './index/repair.js';
export {
  type BuildSearchOptions,
  type BuiltSearch,
  type CodecInfo,
  type CodecOption,
  type CompactionStats,
  type FilterOption,
  Index,
  type IndexSearchOptions,
  type IndexSearchResult,
  type IndexSnapshot,
  type RankOptions,
  type RankRequest,
  type RankResult,
  type RecodeOptions,
  type ScoreOptions,
  type ScoreResult,
  type TenantChanges,
  type TenantInfo,
  TenantView,
} from './index/store.js';
export { type VerifyOptions, type VerifyReport, verifyIndex } from './index/verify.js';
export { prepareQuery, type QueryVectors } from './maxsim/query.js';
export type {
  AddOptions,
  AddResult,
  EngineBuildSearchOptions,
  EngineOptions,
  EngineStats,
  Query,
  RerankOptions,
  SearchOptions,
  TenantOption,
} from './request.js';
export type { PoolStats, ThreadStats, WorkerMemory } from './runtime/pool.js';
export type * from './types.js';
export { CODECS, FIELD_TYPES } from './types.js';
