/** What a calibrator, a floor and a gate have in common: what they were made for, and how they are read. */
import { checkArray, checkInteger, checkString } from '../check.js';
import { invalid, MaxSimError, show } from '../errors.js';

/** What scores depend on: a calibration holds for this and nothing else. */
export type CalibrationFingerprint = {
  /** Fingerprint of the model, with all that its scores depend on. */
  model: string;
  quantisation: string;
  /** Tokens of a pair, or of a document; 0 where nobody knows. */
  maxLength: number;
  corpus: string;
};

const FIELDS = ['model', 'quantisation', 'maxLength', 'corpus'] as const;

/** Throws CALIBRATION_MISMATCH naming every field in which the file is for something else. */
export function checkCalibration(
  file: { kind: string; fingerprint: CalibrationFingerprint },
  expected: CalibrationFingerprint,
): void {
  const differences = FIELDS.filter((field) => file.fingerprint[field] !== expected[field]);
  if (differences.length === 0) return;
  const said = differences.map(
    (field) => `${field} ${show(file.fingerprint[field])} instead of ${show(expected[field])}`,
  );
  throw new MaxSimError(
    'CALIBRATION_MISMATCH',
    `The ${file.kind} was made for ${said.join(', ')}; calibrate again for what it is to serve.`,
    { details: { fields: differences, made: file.fingerprint, expected } },
  );
}

export const CALIBRATION_VERSION = 1;

/** A parsed JSON object of the given kinds. Throws INVALID_ARGUMENT, UNSUPPORTED_FORMAT. */
export function checkFile(
  name: string,
  value: unknown,
  kinds: readonly string[],
): Readonly<Record<string, unknown>> {
  const file = checkObject(name, value);
  if (typeof file['kind'] !== 'string' || !kinds.includes(file['kind']))
    throw invalid(`${name}.kind`, kinds.map((kind) => show(kind)).join(' or '), file['kind']);
  if (file['version'] !== CALIBRATION_VERSION) {
    throw new MaxSimError(
      'UNSUPPORTED_FORMAT',
      `${name}.version must be ${CALIBRATION_VERSION}, but ${show(file['version'])} was given.`,
    );
  }
  return file;
}

export function checkObject(name: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name, 'an object', value);
  return value as Record<string, unknown>;
}

export function checkFingerprint(name: string, value: unknown): CalibrationFingerprint {
  const { model, quantisation, maxLength, corpus } = checkObject(name, value);
  return {
    model: checkString(`${name}.model`, model),
    quantisation: checkString(`${name}.quantisation`, quantisation),
    maxLength: checkInteger(`${name}.maxLength`, maxLength, 0, Number.MAX_SAFE_INTEGER),
    corpus: checkString(`${name}.corpus`, corpus),
  };
}

export function checkFinite(name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw invalid(name, 'a finite number', value);
  return value;
}

export function checkWithin(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max))
    throw invalid(name, `a number from ${min} to ${max}`, value);
  return value;
}

/** A number above 0 and below 1. */
export function checkShare(name: string, value: unknown): number {
  if (typeof value !== 'number' || !(value > 0 && value < 1))
    throw invalid(name, 'a number above 0 and below 1', value);
  return value;
}

export function checkCount(name: string, value: unknown): number {
  return checkInteger(name, value, 0, Number.MAX_SAFE_INTEGER);
}

export function checkNumbers(name: string, value: unknown): number[] {
  return checkArray(name, value).map((item, i) => checkFinite(`${name}[${i}]`, item));
}
