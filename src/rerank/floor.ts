/**
 * A score below which nothing counts as relevant, by split conformal prediction (V. Vovk, A. Gammerman
 * and G. Shafer, "Algorithmic Learning in a Random World", 2005): of answerable queries like those it was
 * calibrated on, at most a share alpha is told that nothing is relevant, all candidates being below the
 * floor. The share is over calibration sets and queries alike; no shape of the scores is assumed, only
 * that the queries are exchangeable. There is no default floor: a logit of 0 means nothing.
 */
import { MaxSimError } from '../errors.js';
import {
  CALIBRATION_VERSION,
  type CalibrationFingerprint,
  checkCount,
  checkFile,
  checkFingerprint,
  checkFinite,
  checkNumbers,
  checkShare,
} from './calibration.js';

export type FloorFile = {
  version: typeof CALIBRATION_VERSION;
  kind: 'floor';
  fingerprint: CalibrationFingerprint;
  floor: number;
  alpha: number;
  /** Queries it was fitted on. */
  queries: number;
};

export class Floor {
  private constructor(private readonly file: FloorFile) {}

  /** Of parsed JSON. Throws INVALID_ARGUMENT naming the field, UNSUPPORTED_FORMAT. */
  static from(value: unknown): Floor {
    const file = checkFile('floor', value, ['floor']);
    return new Floor({
      version: CALIBRATION_VERSION,
      kind: 'floor',
      fingerprint: checkFingerprint('floor.fingerprint', file['fingerprint']),
      floor: checkFinite('floor.floor', file['floor']),
      alpha: checkShare('floor.alpha', file['alpha']),
      queries: checkCount('floor.queries', file['queries']),
    });
  }

  get value(): number {
    return this.file.floor;
  }

  /** Whether a ranking whose best raw score this is holds nothing relevant. */
  belowFloor(best: number): boolean {
    return checkFinite('best', best) < this.file.floor;
  }

  toJSON(): FloorFile {
    return structuredClone(this.file);
  }
}

// 0.29 * 100 is 28.999999999999996: what is whole must stay whole.
const ROUNDING = 1e-9;

/** The fewest queries from which a floor for alpha can be had. */
export function queriesForFloor(alpha: number): number {
  return Math.max(1, Math.ceil(1 / alpha - 1 - ROUNDING));
}

/**
 * `best` has, for each calibration query with a relevant candidate, the raw score of the best candidate
 * (of the best relevant one for a stricter promise: that this one is not below the floor). The floor is the floor(alpha * (n + 1))-th smallest. Throws INVALID_ARGUMENT, naming the number
 * needed, where there are too few queries for alpha.
 */
export function fitFloor(
  best: readonly number[],
  { alpha, fingerprint }: { alpha: number; fingerprint: CalibrationFingerprint },
): Floor {
  checkShare('alpha', alpha);
  const sorted = checkNumbers('best', best).sort((a, b) => a - b);
  const floor = sorted[Math.floor(alpha * (sorted.length + 1) + ROUNDING) - 1];
  if (floor === undefined) {
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `A floor that loses at most ${alpha} needs ${queriesForFloor(alpha)} or more queries with a relevant candidate, but ${sorted.length} were given.`,
    );
  }
  const kind = 'floor';
  const queries = sorted.length;
  return Floor.from({ version: CALIBRATION_VERSION, kind, fingerprint, floor, alpha, queries });
}
