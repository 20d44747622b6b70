/** Which floor and which calibrator belongs to which stage of a pipeline, and what they then say. */
import { type CalibrationFingerprint, checkCalibration } from './rerank/calibration.js';
import type { Calibrator } from './rerank/calibrator.js';
import type { CascadeResult } from './rerank/cascade.js';
import type { Floor } from './rerank/floor.js';
import type { Pipeline } from './rerank/pipeline.js';
import type { RerankResult } from './types.js';

/** By stage of the pipeline; null where it has none. */
export type Calibrated = { floors: (Floor | null)[]; calibrators: (Calibrator | null)[] };

/** Throws CALIBRATION_MISMATCH where gate, floor or calibrator were made for something else. */
export function matchCalibrations(
  pipeline: Pipeline,
  { stages, gate }: { stages: readonly CalibrationFingerprint[]; gate: CalibrationFingerprint },
): Calibrated {
  if (pipeline.gate !== null) checkCalibration(pipeline.gate.toJSON(), gate);
  const place = <T extends Floor | Calibrator>(files: readonly T[]): (T | null)[] => {
    const placed = stages.map((): T | null => null);
    for (const file of files) {
      const made = file.toJSON();
      const at = stages.findIndex(({ model }) => model === made.fingerprint.model);
      checkCalibration(made, stages[at < 0 ? stages.length - 1 : at] as CalibrationFingerprint);
      placed[at] = file;
    }
    return placed;
  };
  return { floors: place(pipeline.floors), calibrators: place(pipeline.calibrators) };
}

/** The last stage that scored anything; -1: none. */
export function lastScored({ reports }: CascadeResult): number {
  return reports.findLastIndex(({ scored }) => scored > 0);
}

/**
 * What the floor of the stage that made the order says of its best score. Null without one, and where
 * the best is below it but the stage did not get to all that it was to read.
 */
export function verdictOf(
  result: CascadeResult,
  floors: Calibrated['floors'],
): RerankResult['verdict'] {
  const at = lastScored(result);
  const report = result.reports[at];
  const floor = floors[at];
  if (report === undefined || floor === undefined || floor === null) return null;
  // Those that it scored stand first, in an order that another stage's scores may have a part in.
  const best = result.order
    .slice(0, report.scored)
    .map((position) => result.scores[position]?.at(-1)?.score ?? Number.NEGATIVE_INFINITY)
    .reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  if (!floor.belowFloor(best)) return 'relevant';
  return report.outcome === 'partial' ? null : 'nothing-relevant';
}
