/** Values of options, checked while the command line is parsed: a wrong one is a usage error. */
import { InvalidArgumentError } from 'commander';
import { FIELD_TYPES, type FieldType, type Filter } from '../maxsim.js';

/** A parser for whole numbers from min to max. */
export function integer(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < min || number > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return number;
  };
}

export function positiveNumber(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number > 0) || number === Number.POSITIVE_INFINITY) {
    throw new InvalidArgumentError('It must be a positive number.');
  }
  return number;
}

export function zeroOrMore(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0) || number === Number.POSITIVE_INFINITY) {
    throw new InvalidArgumentError('It must be a number of at least 0.');
  }
  return number;
}

/** A share: from 0 to 1. */
export function share(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0 && number <= 1)) {
    throw new InvalidArgumentError('It must be a number from 0 to 1.');
  }
  return number;
}

/** A share that a search can promise: from 0.5 to below 1. */
export function recall(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0.5 && number < 1)) {
    throw new InvalidArgumentError('It must be a number from 0.5 to below 1; --exact finds all.');
  }
  return number;
}

/** "a,b" as some of the choices. */
export function someOf<T extends string>(choices: readonly T[]): (value: string) => T[] {
  return (value) =>
    value.split(',').map((part) => {
      const choice = choices.find((one) => one === part.trim());
      if (choice === undefined) {
        throw new InvalidArgumentError(`It must be some of ${choices.join(',')}.`);
      }
      return choice;
    });
}

/** "year:number", as often as there are fields, together as { year: 'number' }. */
export function fieldTypes(
  value: string,
  previous: Record<string, FieldType> = {},
): Record<string, FieldType> {
  const colon = value.lastIndexOf(':');
  const type = FIELD_TYPES.find((one) => one === value.slice(colon + 1));
  if (colon < 1 || type === undefined) {
    throw new InvalidArgumentError(`It must be a name and one of ${FIELD_TYPES.join(', ')}.`);
  }
  return { ...previous, [value.slice(0, colon)]: type };
}

/** A filter as JSON; what it means is for the index to say. */
export function filterJson(value: string): Filter {
  try {
    return JSON.parse(value) as Filter;
  } catch (error) {
    throw new InvalidArgumentError(`It must be JSON: ${(error as Error).message}.`);
  }
}

/** "a,b" as ['a', 'b']; ids that hold a comma go through a candidates file. */
export function idList(value: string): string[] {
  const ids = value
    .split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '');
  if (ids.length === 0) throw new InvalidArgumentError('It must be ids separated by commas.');
  return ids;
}
