/** The public face of maxsim: exports, nothing else. */
export {
  type AddOptions,
  type AddResult,
  Engine,
  type EngineOptions,
  type Query,
  type RerankOptions,
  type SearchOptions,
} from './engine.js';
export { MaxSimError, type MaxSimErrorCode } from './errors.js';
export { type CodecOption, Index } from './index/store.js';
export type * from './types.js';
