/** Values of options, checked while the command line is parsed: a wrong one is a usage error. */
import { InvalidArgumentError } from 'commander';

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

/** A share: from 0 to 1. */
export function share(value: string): number {
  const number = Number(value);
  if (value.trim() === '' || !(number >= 0 && number <= 1)) {
    throw new InvalidArgumentError('It must be a number from 0 to 1.');
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

/** "a,b" as ['a', 'b']; ids that hold a comma go through a candidates file. */
export function idList(value: string): string[] {
  const ids = value
    .split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '');
  if (ids.length === 0) throw new InvalidArgumentError('It must be ids separated by commas.');
  return ids;
}
