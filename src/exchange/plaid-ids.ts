/** The ids that PyLate keeps beside its indexes: pickled dicts from a document's place to its id. */
import { dirname, join } from 'node:path';
import { toId } from './ids.js';
import { exists } from './numpy-source.js';
import { readPickle } from './pickle.js';
import { readSmall, refused } from './source-file.js';

const PLACES = 'plaid_ids_to_documents_ids';
const REVERSE = 'documents_ids_to_plaid_ids';

/** Null where there is no such map. A document that a map leaves out has been deleted. */
export async function findIdMap(
  directory: string,
  root: string,
): Promise<{ file: string; ids: Map<number, string> } | null> {
  const folders = new Set([directory, root]);
  if (root.endsWith('fast_plaid_index')) folders.add(dirname(root));
  for (const folder of folders) {
    const file = join(folder, `${PLACES}.pkl`);
    if (await exists(file)) return { file, ids: await readMap(file) };
    // Without its map a PyLate index would take plain numbers for ids, and keep what was deleted.
    for (const other of [`${PLACES}.sqlite`, `${REVERSE}.sqlite`, `${REVERSE}.pkl`]) {
      if (!(await exists(join(folder, other)))) continue;
      throw refused(
        folder,
        `holds ${other} but no ${PLACES}.pkl, which is where PyLate's ids are read from; give a list of ids`,
      );
    }
  }
  return null;
}

async function readMap(file: string): Promise<Map<number, string>> {
  const value = readPickle(await readSmall(file), file);
  if (!(value instanceof Map)) throw refused(file, 'holds no dict');
  const ids = new Map<number, string>();
  const seen = new Set<string>();
  for (const [place, name] of value as Map<unknown, unknown>) {
    if (!Number.isSafeInteger(place) || (place as number) < 0) {
      throw refused(file, `has a key that is no place of a document: ${String(place)}`);
    }
    const id = toId(name, file);
    if (seen.has(id)) throw refused(file, `gives two documents the id ${JSON.stringify(id)}`);
    seen.add(id);
    ids.set(place as number, id);
  }
  return ids;
}
