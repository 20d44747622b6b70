/** What `maxsim/load` exports. */
export { ARRIVALS, type ArrivalKind, arrivals } from './arrivals.js';
export { type Capacity, type CapacityOptions, findCapacity, type Probe } from './capacity.js';
export {
  type LabOptions,
  type LoadReport,
  type LoadStep,
  runLab,
  type Spread,
  type StepHistogram,
  type TargetReport,
} from './lab.js';
export { Latencies, PERCENTILES, type Percentile } from './latencies.js';
export { openLoop, type ProcessReport, type Run, type RunOptions, type RunReport } from './run.js';
export {
  engineTarget,
  type HttpTargetOptions,
  httpTarget,
  type LoadRequest,
  type LoadTarget,
  OUTCOMES,
  type Outcome,
} from './target.js';
export { type WorkloadOptions, workload } from './workload.js';
