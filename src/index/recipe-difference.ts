/**
 * In which fields two recipes differ, in words. The index knows a recipe as named values only.
 */
import { show } from '../errors.js';

type RecipeValues = Readonly<Record<string, unknown>>;

/** What a recipe says for people; vectors do not depend on it. */
const FOR_PEOPLE = ['model', 'layout', 'file', 'options', 'notes'];

/**
 * "documentLength: the index has 300, 180 was asked for" for every field that differs. A field that one
 * recipe lacks counts where nothing else differs, as recipes of earlier releases lack some.
 */
export function recipeDifferences(stored: RecipeValues, asked: RecipeValues): string[] {
  const names = [...new Set([...Object.keys(stored), ...Object.keys(asked)])].filter(
    (name) => !FOR_PEOPLE.includes(name) && !isEqual(stored[name], asked[name]),
  );
  const both = names.filter((name) => name in stored && name in asked);
  const listed =
    both.length > 0 ? both : names.filter((name) => !isNothing(stored[name] ?? asked[name]));
  return listed.map(
    (name) =>
      `${name}: the index has ${inWords(stored, name)}, ${inWords(asked, name)} was asked for`,
  );
}

function isEqual(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

/** JSON with the keys of objects in order. */
function canonical(value: unknown): string | undefined {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function isNothing(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    value === false ||
    value === '' ||
    (Array.isArray(value) && value.length === 0)
  );
}

function inWords(recipe: RecipeValues, name: string): string {
  const value = recipe[name];
  if (value === undefined) return 'no such field';
  if (value === null || (Array.isArray(value) && value.length === 0)) return 'none';
  const json = JSON.stringify(value) ?? show(value);
  return json.length <= 100 ? json : `${json.slice(0, 60)}… (${show(value)})`;
}
