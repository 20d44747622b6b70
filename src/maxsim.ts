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
export type { CalibrationFingerprint } from './rerank/calibration.js';
export {
  Calibrator,
  type CalibratorFile,
  type CalibratorOptions,
  fitCalibrator,
} from './rerank/calibrator.js';
export { Floor, type FloorFile, fitFloor } from './rerank/floor.js';
export type { FusionMethod } from './rerank/fusion.js';
export { Gate, type GateFile } from './rerank/gate.js';
export type { HedgeOptions } from './rerank/hedge.js';
export {
  type CascadeOptions,
  type CrossEncoderStage,
  type CrossEncoderStageOptions,
  cascade,
  crossEncoder,
  type LateInteractionStage,
  lateInteraction,
  type Pipeline,
  type PipelineStage,
  type RerankerStage,
  type RerankerStageOptions,
  reranker,
  type StageOptions,
} from './rerank/pipeline.js';
export { loadPipeline, pipelineFrom } from './rerank/pipeline-file.js';
export { LlmReranker, type LlmRerankerOptions } from './rerank/remote/llm-reranker.js';
export { RemoteReranker, type RemoteRerankerOptions } from './rerank/remote/remote-reranker.js';
export type { ResilienceOptions, ResilienceStats } from './rerank/resilient-reranker.js';
export type {
  Agreement,
  Regret,
  RerankLogger,
  RerankRecord,
  ShadowRecord,
} from './rerank-record.js';
export type { RerankStats } from './rerank-stats.js';
export type { PoolStats, ThreadStats, WorkerMemory } from './runtime/pool.js';
export type * from './types.js';
export { CODECS, FIELD_TYPES } from './types.js';
