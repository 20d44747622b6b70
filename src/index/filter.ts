/** From a filter as callers write it to the one that the addon evaluates. */
import { checkArray, checkBoolean } from '../check.js';
import { invalid, MaxSimError } from '../errors.js';
import { type Field, loadAddon, type NativeFilter, native } from '../runtime/addon.js';
import type { FieldValue, Filter } from '../types.js';
import { checkValue, describeFields, storedFields } from './fields.js';
import type { Manifest } from './manifest.js';

const MAX_DEPTH = 32;
const MAX_PARTS = 10_000;

/** The operators of native/index/filter.h. */
const OP = {
  and: 1,
  or: 2,
  not: 3,
  keywords: 4,
  numbers: 5,
  booleans: 6,
  keywordRange: 7,
  numberRange: 8,
  exists: 9,
} as const;
const LOW = 1;
const LOW_OPEN = 2;
const HIGH = 4;
const HIGH_OPEN = 8;

/** Of a range; what excludes the bound comes second. */
const BOUNDS = { gte: LOW, gt: LOW | LOW_OPEN, lte: HIGH, lt: HIGH | HIGH_OPEN } as const;
const OPERATORS = ['eq', 'ne', 'in', 'nin', 'gt', 'gte', 'lt', 'lte', 'exists'] as const;

type Node = {
  op: number;
  first: number;
  second: number;
  values: readonly FieldValue[];
  children: readonly Node[];
};

/**
 * What limits a call: the tenant, which no filter can widen, and the filter of the caller. Undefined when
 * neither does. Throws INVALID_ARGUMENT.
 */
export function toFilter(
  filter: Filter | undefined,
  manifest: Pick<Manifest, 'fields' | 'tenants'>,
  tenant: string | null,
): NativeFilter | undefined {
  if (filter === undefined && tenant === null) return undefined;
  const fields = storedFields(manifest);
  const conditions: Node[] = [];
  // The tenant's field is the first of those stored.
  if (tenant !== null) conditions.push(leaf(OP.keywords, 0, 1, [tenant]));
  if (filter !== undefined) {
    conditions.push(new Reader(manifest.fields, fields.length).read(filter));
  }
  const ops: number[] = [];
  const numbers: number[] = [];
  const keywords: string[] = [];
  const write = ({ op, first, second, values, children }: Node): void => {
    ops.push(op, first, second);
    for (const value of values) {
      if (typeof value === 'string') keywords.push(value);
      else numbers.push(value as number);
    }
    for (const child of children) write(child);
  };
  write(all(conditions));
  const { Filter: Native } = loadAddon();
  return native(
    () => new Native(fields, Uint32Array.from(ops), Float64Array.from(numbers), keywords),
  );
}

class Reader {
  private parts = 0;
  private readonly shift: number;

  /** `stored` is how many fields there are with those that no caller can name. */
  constructor(
    private readonly fields: readonly Field[],
    stored: number,
  ) {
    this.shift = stored - fields.length;
  }

  read(filter: unknown): Node {
    return this.object(filter, 'filter', 1);
  }

  private object(value: unknown, name: string, depth: number): Node {
    if (depth > MAX_DEPTH + 1) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `filter must be nested at most ${MAX_DEPTH} levels deep, but it is deeper.`,
      );
    }
    const entries = entriesOf(value);
    if (entries === null || entries.length === 0) {
      throw invalid(name, 'an object with one condition or more', value);
    }
    this.count(entries.length);
    return all(
      entries.map(([key, inner]) => {
        const place = `${name}.${key}`;
        if (key === 'not') return not(this.object(inner, place, depth + 1));
        if (key !== 'and' && key !== 'or') return this.field(key, inner, name);
        const children = checkArray(place, inner).map((child, i) =>
          this.object(child, `${place}[${i}]`, depth + 1),
        );
        return branch(key === 'and' ? OP.and : OP.or, children);
      }),
    );
  }

  private field(key: string, condition: unknown, name: string): Node {
    const place = this.fields.findIndex((field) => field.name === key);
    const field = this.fields[place];
    if (field === undefined) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name} names the field ${JSON.stringify(key)}, but the index declares ${describeFields(this.fields)}.`,
      );
    }
    const own = `${name}.${key}`;
    const number = place + this.shift;
    const entries = entriesOf(condition);
    if (entries === null) return this.oneOf(field, number, [condition], own, false);
    this.count(entries.length);
    const conditions: Node[] = [];
    const bounds: [keyof typeof BOUNDS, unknown][] = [];
    for (const [operator, operand] of entries) {
      const at = `${own}.${operator}`;
      if (operator === 'eq') conditions.push(this.oneOf(field, number, [operand], at, false));
      else if (operator === 'ne')
        conditions.push(not(this.oneOf(field, number, [operand], at, false)));
      else if (operator === 'in') conditions.push(this.list(field, number, operand, at));
      else if (operator === 'nin') conditions.push(not(this.list(field, number, operand, at)));
      else if (operator === 'exists') {
        const exists = leaf(OP.exists, number, 0, []);
        conditions.push(checkBoolean(at, operand) ? exists : not(exists));
      } else if (Object.hasOwn(BOUNDS, operator)) {
        bounds.push([operator as keyof typeof BOUNDS, operand]);
      } else {
        throw new MaxSimError(
          'INVALID_ARGUMENT',
          `${own} has no operator "${operator}"; there are ${OPERATORS.join(', ')}.`,
        );
      }
    }
    if (bounds.length > 0) conditions.push(this.range(field, number, bounds, own));
    if (conditions.length === 0) {
      throw invalid(own, `a value, or an object with ${OPERATORS.join(', ')}`, condition);
    }
    return all(conditions);
  }

  private list(field: Field, number: number, operand: unknown, name: string): Node {
    const values = checkArray(name, operand);
    this.count(values.length);
    return this.oneOf(field, number, values, name, true);
  }

  private oneOf(
    field: Field,
    number: number,
    given: readonly unknown[],
    name: string,
    list: boolean,
  ): Node {
    const values = given.map((value, i) => checkValue(field, value, list ? `${name}[${i}]` : name));
    if (field.type === 'boolean') {
      const mask = values.reduce<number>((bits, value) => bits | (value === true ? 2 : 1), 0);
      return leaf(OP.booleans, number, mask, []);
    }
    return leaf(field.type === 'keyword' ? OP.keywords : OP.numbers, number, values.length, values);
  }

  /** One value must lie within all bounds. */
  private range(
    field: Field,
    number: number,
    bounds: readonly [keyof typeof BOUNDS, unknown][],
    name: string,
  ): Node {
    if (field.type === 'boolean') {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `${name} is a boolean field, which ${bounds[0]?.[0]} does not order.`,
      );
    }
    let flags = 0;
    const ends: FieldValue[] = [];
    // The lower bound comes first, whatever the order of the keys.
    for (const side of [LOW, HIGH]) {
      const [bound, second] = bounds.filter(([operator]) => (BOUNDS[operator] & side) !== 0);
      if (bound === undefined) continue;
      if (second !== undefined) {
        throw new MaxSimError(
          'INVALID_ARGUMENT',
          `${name} has both ${bound[0]} and ${second[0]}; give one of them.`,
        );
      }
      flags |= BOUNDS[bound[0]];
      ends.push(checkValue(field, bound[1], `${name}.${bound[0]}`));
    }
    return leaf(field.type === 'keyword' ? OP.keywordRange : OP.numberRange, number, flags, ends);
  }

  private count(parts: number): void {
    this.parts += parts;
    if (this.parts > MAX_PARTS) {
      throw new MaxSimError(
        'INVALID_ARGUMENT',
        `filter must have at most ${MAX_PARTS} conditions and values, but it has more.`,
      );
    }
  }
}

/** Null for what is no object of conditions: each key is read once. */
function entriesOf(value: unknown): [string, unknown][] | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return Object.entries(value);
}

function leaf(op: number, field: number, second: number, values: readonly FieldValue[]): Node {
  return { op, first: field, second, values, children: [] };
}

function branch(op: number, children: readonly Node[]): Node {
  return { op, first: children.length, second: 0, values: [], children };
}

function not(child: Node): Node {
  return branch(OP.not, [child]);
}

function all(conditions: readonly Node[]): Node {
  return conditions.length === 1 ? (conditions[0] as Node) : branch(OP.and, conditions);
}
