/** Filters as their documentation says they work, in plain JavaScript; and random ones to try. */
import type { FieldTypes, FieldValue, Filter, Payload } from '../../dist/types.js';

export const FIELDS = {
  lang: 'keyword',
  tags: 'keyword',
  'meta.year': 'number',
  prices: 'number',
  draft: 'boolean',
} as const satisfies FieldTypes;

type FieldName = keyof typeof FIELDS;
type Below = (limit: number) => number;

const NAMES = Object.keys(FIELDS) as FieldName[];
/** Prefixes of each other, nothing, and an order that UTF-16 and UTF-8 do not share. */
const KEYWORDS = ['', 'a', 'ab', 'abc', 'b', 'é', '\uffee', '😀', 'nul\0', '\0'] as const;

const pick = <T>(below: Below, from: readonly T[]): T => from[below(from.length)] as T;
const several = <T>(below: Below, most: number, make: () => T): T[] =>
  Array.from({ length: below(most + 1) }, make);

function randomValue(below: Below, field: FieldName): FieldValue {
  const type = FIELDS[field];
  if (type === 'keyword') return pick(below, KEYWORDS);
  return type === 'number' ? below(9) - 4 + below(2) / 2 : below(2) === 1;
}

/** With the year within an object, or under a key with a dot; or without anything. */
export function randomPayload(below: Below): Payload | undefined {
  if (below(12) === 0) return undefined;
  const payload: { [key: string]: Payload } = { other: 'not declared', constructor: 1 };
  if (below(4) > 0) payload['lang'] = below(5) === 0 ? null : randomValue(below, 'lang');
  if (below(4) > 0) payload['tags'] = several(below, 3, () => randomValue(below, 'tags'));
  if (below(4) > 0) payload['prices'] = several(below, 3, () => randomValue(below, 'prices'));
  if (below(4) > 0) payload['draft'] = randomValue(below, 'draft');
  if (below(4) > 0) payload['meta'] = { year: randomValue(below, 'meta.year'), more: [1] };
  if (below(6) === 0) payload['meta.year'] = randomValue(below, 'meta.year');
  return payload;
}

export function randomFilter(below: Below, depth = 0): Filter {
  const filter: Record<string, unknown> = {};
  for (let keys = 1 + below(3); keys > 0; keys--) {
    const kind = depth > 3 ? 3 + below(5) : below(8);
    const inner = () => randomFilter(below, depth + 1);
    if (kind === 0) filter['and'] = several(below, 3, inner);
    else if (kind === 1) filter['or'] = several(below, 3, inner);
    else if (kind === 2) filter['not'] = inner();
    else {
      const field = pick(below, NAMES);
      filter[field] = kind === 3 ? randomValue(below, field) : randomCondition(below, field);
    }
  }
  return filter as Filter;
}

function randomCondition(below: Below, field: FieldName): unknown {
  const condition: Record<string, unknown> = {};
  for (let operators = 1 + below(2); operators > 0; operators--) {
    const operator = pick(below, ['eq', 'ne', 'in', 'nin', 'exists', 'range', 'range'] as const);
    if (operator === 'exists') condition['exists'] = below(2) === 1;
    else if (operator === 'in' || operator === 'nin') {
      condition[operator] = several(below, 3, () => randomValue(below, field));
    } else if (operator !== 'range') condition[operator] = randomValue(below, field);
    else if (FIELDS[field] === 'boolean') condition['eq'] = below(2) === 1;
    else {
      const sides = below(3);
      const low = below(2) === 1 ? 'gt' : 'gte';
      const high = below(2) === 1 ? 'lt' : 'lte';
      for (const bound of ['gt', 'gte', 'lt', 'lte']) delete condition[bound];
      if (sides !== 1) condition[low] = randomValue(below, field);
      if (sides !== 0) condition[high] = randomValue(below, field);
    }
  }
  return condition;
}

export function matches(payload: Payload | undefined, filter: Filter): boolean {
  return Object.entries(filter).every(([key, condition]) => {
    if (key === 'and') return (condition as Filter[]).every((inner) => matches(payload, inner));
    if (key === 'or') return (condition as Filter[]).some((inner) => matches(payload, inner));
    if (key === 'not') return !matches(payload, condition as Filter);
    return holds(valuesOf(payload, key), condition);
  });
}

function valuesOf(payload: Payload | undefined, field: string): FieldValue[] {
  const object = (payload ?? {}) as { [key: string]: Payload };
  const [outer, inner] = field.split('.') as [string, string?];
  const nested = object[outer] as { [key: string]: Payload } | undefined;
  const found = Object.hasOwn(object, field)
    ? object[field]
    : inner === undefined
      ? undefined
      : nested?.[inner];
  if (found === undefined || found === null) return [];
  return (Array.isArray(found) ? found : [found]) as FieldValue[];
}

function holds(values: readonly FieldValue[], condition: unknown): boolean {
  if (typeof condition !== 'object' || condition === null) {
    return values.includes(condition as FieldValue);
  }
  const {
    eq,
    ne,
    in: within,
    nin,
    exists,
    ...bounds
  } = condition as {
    [operator: string]: unknown;
  };
  const range = Object.entries(bounds) as [string, FieldValue][];
  return (
    (eq === undefined || values.includes(eq as FieldValue)) &&
    (ne === undefined || !values.includes(ne as FieldValue)) &&
    (within === undefined || values.some((value) => (within as FieldValue[]).includes(value))) &&
    (nin === undefined || !values.some((value) => (nin as FieldValue[]).includes(value))) &&
    (exists === undefined || exists === values.length > 0) &&
    (range.length === 0 ||
      values.some((value) => range.every(([bound, limit]) => isWithin(value, bound, limit))))
  );
}

function isWithin(value: FieldValue, bound: string, limit: FieldValue): boolean {
  const order =
    typeof value === 'string'
      ? Buffer.compare(Buffer.from(value), Buffer.from(limit as string))
      : (value as number) - (limit as number);
  if (bound === 'gt') return order > 0;
  if (bound === 'gte') return order >= 0;
  return bound === 'lt' ? order < 0 : order <= 0;
}
