/** What documents can be filtered by: the fields that an index declares, and their values in payloads. */
import { invalid, MaxSimError, show } from '../errors.js';
import type { Field, FieldColumn } from '../runtime/addon.js';
import { FIELD_TYPES, type FieldType, type FieldTypes, type FieldValue } from '../types.js';
import type { PreparedDocument } from './document.js';
import type { Manifest } from './manifest.js';
import { TENANT_FIELD } from './tenant.js';

export const MAX_FIELDS = 64;
const MAX_NAME_BYTES = 64;
export const MAX_KEYWORD_BYTES = 512;
/** What a filter calls its own operators by. */
const RESERVED = ['and', 'or', 'not'];

/** The declaration of a caller, in the order of the names. Throws INVALID_ARGUMENT. */
export function checkFields(value: unknown): Field[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('fields', 'an object of names and types', value);
  }
  const fields = Object.entries(value as FieldTypes).map(([name, type]) => ({ name, type }));
  for (const field of fields) {
    if (!isName(field.name)) {
      throw invalid(
        'fields',
        `an object with names of 1 to ${MAX_NAME_BYTES} bytes that are not ${RESERVED.join(', ')} and do not begin with $`,
        field.name,
      );
    }
    if (!isType(field.type)) {
      throw invalid(`fields[${JSON.stringify(field.name)}]`, FIELD_TYPES.join(', '), field.type);
    }
  }
  if (fields.length > MAX_FIELDS) throw invalid('fields', `at most ${MAX_FIELDS} fields`, value);
  return fields.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether an entry of a manifest is a field. */
export function isField({ name, type }: Record<string, unknown>): boolean {
  return isName(name) && isType(type);
}

function isName(name: unknown): name is string {
  return (
    typeof name === 'string' &&
    name !== '' &&
    Buffer.byteLength(name) <= MAX_NAME_BYTES &&
    name.isWellFormed() &&
    !name.includes('\0') &&
    !name.startsWith('$') &&
    !RESERVED.includes(name)
  );
}

function isType(type: unknown): type is FieldType {
  return (FIELD_TYPES as readonly unknown[]).includes(type);
}

/** "lang (keyword), year (number)" */
export function describeFields(fields: readonly Field[]): string {
  if (fields.length === 0) return '(none)';
  return fields.map(({ name, type }) => `${name} (${type})`).join(', ');
}

/** The fields of every segment: those declared, behind the tenant where there are tenants. */
export function storedFields({ fields, tenants }: Pick<Manifest, 'fields' | 'tenants'>): Field[] {
  return [...(tenants ? [{ name: TENANT_FIELD, type: 'keyword' as const }] : []), ...fields];
}

/**
 * The values that a checked payload has for each field; none where it has no such key or null. Throws
 * INVALID_ARGUMENT for a value of another type: what is declared must not be lost in silence.
 */
export function fieldValues(
  fields: readonly Field[],
  payload: unknown,
  name: string,
): FieldValue[][] {
  if (fields.length === 0) return [];
  if (payload !== undefined && payload !== null && !isObject(payload)) {
    throw invalid(name, 'an object, as the index declares fields', payload);
  }
  return fields.map((field) => {
    const found = find(payload, field.name, name);
    if (found === undefined || found === null) return [];
    const values = Array.isArray(found) ? found.filter((value) => value !== null) : [found];
    for (const value of values) checkValue(field, value, `${name}.${field.name}`);
    return values;
  });
}

function find(payload: unknown, field: string, name: string): unknown {
  if (!isObject(payload)) return undefined;
  if (Object.hasOwn(payload, field)) return payload[field];
  let value: unknown = payload;
  const path = field.split('.');
  for (const [depth, key] of path.entries()) {
    if (value === undefined || value === null) return undefined;
    if (!isObject(value)) {
      const place = path.slice(0, depth).join('.');
      throw invalid(`${name}.${place}`, `an object, as the index declares "${field}"`, value);
    }
    value = Object.hasOwn(value, key) ? value[key] : undefined;
  }
  return value;
}

/** Throws INVALID_ARGUMENT unless `value` is one that the field holds. */
export function checkValue({ type }: Field, value: unknown, name: string): FieldValue {
  const kind = type === 'keyword' ? 'string' : type;
  if (typeof value !== kind) {
    throw invalid(name, `a ${kind}, as the index declares`, value);
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw invalid(name, 'a finite number', value);
  }
  if (typeof value === 'string') {
    if (Buffer.byteLength(value) > MAX_KEYWORD_BYTES || !value.isWellFormed()) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name} must be at most ${MAX_KEYWORD_BYTES} bytes of well-formed Unicode, but ${show(value)} was given.`,
      );
    }
  }
  return value as FieldValue;
}

/** The values of documents as the addon stores them. */
export function toColumns(
  manifest: Pick<Manifest, 'fields' | 'tenants'>,
  documents: readonly Pick<PreparedDocument, 'fields'>[],
): FieldColumn[] {
  return storedFields(manifest).map((field, i) => {
    const lists = documents.map(({ fields }) => fields[i] as readonly FieldValue[]);
    const values = lists.flat();
    return {
      ...field,
      counts: Uint32Array.from(lists, (list) => list.length),
      values:
        field.type === 'keyword'
          ? (values as string[])
          : field.type === 'number'
            ? Float64Array.from(values as number[])
            : Uint8Array.from(values as boolean[], Number),
    };
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
