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

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalid(name, 'a boolean', value);
  return value;
}

export function checkOneOf(name: string, value: unknown, choices: readonly string[]): string {
  if (typeof value === 'string' && choices.includes(value)) return value;
  throw invalid(name, `one of ${choices.join(', ')}`, value);
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

/** Document vectors as checkVectors wants them, but for their values: those are looked at off the event loop. */
export function checkVectorShape(name: string, value: unknown, dim: number): void {
  if (!(value instanceof Float32Array)) {
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must be a Float32Array of tokens * ${dim} values, but ${show(value)} was given.`,
    );
  }
  const tokens = value.length / dim;
  if (!Number.isInteger(tokens) || tokens < 1 || tokens > LIMITS.maxDocumentTokens) {
    throw new MaxSimError(
      'INVALID_VECTORS',
      `${name} must hold 1 to ${LIMITS.maxDocumentTokens} token vectors of dim ${dim}, but has ${value.length} values${value.length === 0 ? ' (its buffer may have been transferred or detached)' : ''}.`,
    );
  }
}

const MAX_PAYLOAD_DEPTH = 64;
// Shared sub-objects are stored once per reference: without a bound, 64 levels could mean 2^64 values.
const MAX_PAYLOAD_VALUES = 1_000_000;

/** A payload that JSON can hold: plain objects and arrays, finite numbers, no cycles. */
export function checkPayload(name: string, payload: unknown): void {
  const ancestors = new Set<object>();
  let values = 0;
  const visit = (value: unknown, path: string): void => {
    if (++values > MAX_PAYLOAD_VALUES)
      throw refused(name, `has more than ${MAX_PAYLOAD_VALUES} values`);
    if (value === null || typeof value === 'boolean' || typeof value === 'string') return;
    if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw refused(path, `is ${value}`);
      return;
    }
    if (typeof value !== 'object') throw refused(path, `is ${show(value)}`);
    if (ancestors.has(value)) throw refused(path, 'holds itself');
    if (ancestors.size >= MAX_PAYLOAD_DEPTH) {
      throw refused(path, `is nested more than ${MAX_PAYLOAD_DEPTH} levels deep`);
    }
    ancestors.add(value);
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) visit(value[i], `${path}[${i}]`);
    } else {
      // Plain in any realm: null or a prototype without one of its own.
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
        throw refused(path, `is ${show(value)} of a class`);
      }
      for (const [key, inner] of Object.entries(value)) {
        if (key === '__proto__') throw refused(path, 'has a key "__proto__"');
        visit(inner, `${path}.${key}`);
      }
    }
    ancestors.delete(value);
  };
  visit(payload, name);
}

function refused(path: string, what: string): MaxSimError {
  return new MaxSimError('INVALID_ARGUMENT', `${path} must be plain JSON, but it ${what}.`);
}
