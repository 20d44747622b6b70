/**
 * Validation at the public door, once, in words. Each function returns its value typed, or throws
 * a MaxSimError that names the argument, what was expected and what was given.
 */
import { invalid, MaxSimError, show } from './errors.js';

export function checkOptions<T extends object>(
  name: string,
  value: T | undefined,
  known: readonly (keyof T & string)[],
): T {
  if (value === undefined) return {} as T;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name, 'an object', value);
  for (const key of Object.keys(value)) {
    if (!(known as readonly string[]).includes(key)) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name} has no option "${key}"; it takes ${known.join(', ')}.`,
      );
    }
  }
  return value;
}

export function checkInteger(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(name, `an integer from ${min} to ${max}`, value);
  }
  return value;
}

export function checkPositive(name: string, value: unknown): number {
  if (typeof value !== 'number' || !(value > 0) || value === Number.POSITIVE_INFINITY) {
    throw invalid(name, 'a positive, finite number', value);
  }
  return value;
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(name, 'a string', value);
  return value;
}

export function checkArray(name: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(name, 'an array', value);
  return value;
}

/** A text with at least one character that is not white space. */
export function checkText(name: string, value: unknown): string {
  const text = checkString(name, value);
  if (text.trim() === '') {
    throw new MaxSimError(
      'EMPTY_TEXT',
      `${name} must hold some text, but ${show(value)} was given.`,
    );
  }
  return text;
}

const MAX_ID_BYTES = 512;

/** A document id: 1 to 512 bytes of well-formed UTF-8 (no lone surrogates, which UTF-8 cannot hold). */
export function checkId(name: string, value: unknown): string {
  const id = checkString(name, value);
  // A UTF-16 unit is at most 3 bytes of UTF-8: short ids need no second look.
  if (id.length === 0 || (id.length * 3 > MAX_ID_BYTES && Buffer.byteLength(id) > MAX_ID_BYTES)) {
    throw invalid(name, `a string of 1 to ${MAX_ID_BYTES} bytes`, value);
  }
  if (!id.isWellFormed())
    throw invalid(name, 'well-formed Unicode (it holds a lone surrogate)', value);
  return id;
}

export const LIMITS = {
  minDim: 8,
  maxDim: 1024,
  maxQueryTokens: 1024,
  maxDocumentTokens: 65_535,
  /** Larger components are no embeddings; below it no score can overflow. */
  maxMagnitude: 1e15,
} as const;

/** Flat token vectors of the given dim: right type, attached, whole rows, 1 to maxTokens, all finite. */
export function checkVectors(
  name: string,
  value: unknown,
  dim: number,
  maxTokens: number,
): Float32Array {
  if (!(value instanceof Float32Array)) {
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must be a Float32Array of tokens * ${dim} values, but ${show(value)} was given.`,
    );
  }
  if (value.length === 0) {
    // A detached buffer reads as length 0; say which of the two it is.
    const detached = value.buffer.byteLength === 0 && value.byteOffset === 0;
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must hold at least one token vector of ${dim} values, but it is empty${detached ? ' (or its buffer was transferred or detached)' : ''}.`,
    );
  }
  if (value.length % dim !== 0) {
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must hold whole token vectors of dim ${dim}, but has ${value.length} values, which ${dim} does not divide.`,
    );
  }
  if (value.length / dim > maxTokens) {
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must hold at most ${maxTokens} token vectors, but has ${value.length / dim}.`,
    );
  }
  for (let i = 0; i < value.length; i++) {
    const x = value[i] as number;
    if (x <= LIMITS.maxMagnitude && x >= -LIMITS.maxMagnitude) continue; // false for NaN
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must be finite and at most ${LIMITS.maxMagnitude} in magnitude, but value ${i % dim} of token ${Math.floor(i / dim)} is ${x}.`,
    );
  }
  return value;
}
