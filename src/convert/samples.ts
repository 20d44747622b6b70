/**
 * Ordinary texts, of many kinds, for what a converter has to see of a model at work: which channels
 * carry the most, and how far it is from onnxruntime.
 */
import { TextTokenizer } from '../runtime/tokenizer.js';
import type { TokenSequence } from './convert.js';

const TEXTS = [
  'Employees book flights through the travel portal at least fourteen days ahead. Anything above 600 euros needs the approval of the head of department, in writing, before a ticket is bought; meals are paid up to 38 euros a day, and receipts are kept for ten years.',
  'who has to sign when a laptop was stolen abroad?',
  'The enzyme cleaves the bond between arginine and glycine; at pH 7.4 and 37 °C its half-life was 42 ± 3 minutes (n = 12), which neither calcium nor zinc changed. Mutants without the loop at residues 81-96 bound the inhibitor three times as strongly.',
  'for (let i = 0; i < rows.length; i++) total += rows[i].price * (1 + rows[i].tax); // TypeError: rows is undefined',
  'On the morning of the third day the wind dropped, and the harbour lay so still that the masts stood on their heads in it. Nobody spoke. The old woman who sold oranges had counted her coins twice and begun again from the beginning.',
  'Q: What is the difference between a lease and a licence? A: A lease gives exclusive possession of the land for a term; a licence merely makes lawful what would otherwise be a trespass, see Street v Mountford [1985] AC 809.',
  'La capitale a été déplacée en 1960; die Bahn fährt seit 1903 über den Pass; el río nace a 2.800 metros de altura.',
  'Preheat the oven to 180 degrees, whisk four eggs with sugar until pale, fold in the flour and a pinch of salt, and bake for half an hour.',
] as const;
const MOST_TOKENS = 120;

/** Of the text that a cross-encoder takes for the query. */
const QUERY_TOKENS = 12;

/** By the tokenizer of a model's folder; `pairs`: as a cross-encoder reads them. Throws INVALID_MODEL. */
export async function sampleSequences(directory: string, pairs: boolean): Promise<TokenSequence[]> {
  const tokenizer = await TextTokenizer.open(directory);
  const { cls, sep } = tokenizer.special;
  const texts = TEXTS.map((text) => tokenizer.encode(text).slice(0, MOST_TOKENS));
  if (!pairs) {
    return texts.map((text) => {
      const ids = [cls, ...text, ...(sep === null ? [] : [sep])];
      return { ids: Uint32Array.from(ids), types: new Uint32Array() };
    });
  }
  return texts.map((text, i) => {
    const query = (texts[(i + 1) % texts.length] as number[]).slice(0, QUERY_TOKENS);
    const parts = tokenizer.pair.map((part) => {
      const ids = 'ids' in part ? part.ids : part.text === 'A' ? query : text;
      return { ids, types: ids.map(() => part.type) };
    });
    return {
      ids: Uint32Array.from(parts.flatMap(({ ids }) => ids)),
      types: Uint32Array.from(parts.flatMap(({ types }) => types)),
    };
  });
}
