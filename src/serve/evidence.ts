/** How hits and their evidence look on the wire: snake_case, and absent rather than null where not asked for. */
import { Type } from '@sinclair/typebox';
import { invalid } from '../errors.js';
import type { Hit, TokenMatch } from '../maxsim.js';
import { NullableString } from './format.js';

const Span = Type.Unsafe<[number, number] | null>({
  type: ['array', 'null'],
  items: { type: 'integer' },
  minItems: 2,
  maxItems: 2,
  description: 'Characters from, to; null of markers such as [CLS].',
});

export const Explanation = Type.Array(
  Type.Object({
    query_token: Type.String(),
    query_span: Span,
    document_token: Type.String(),
    document_span: Span,
    contribution: Type.Number({ description: 'Adds up to the MaxSim score.' }),
  }),
  { description: 'For every query token, the document token that answered it best.' },
);

export const Stage = Type.String({
  description: 'Which stage put it here: late-interaction, cross-encoder or first-stage.',
});

export const Payload = Type.Unsafe<Hit['payload']>({
  description: 'Of stored documents: the JSON that was stored with it.',
});

export const Text = NullableString('The passage; null where only vectors are stored.');

export const Vectors = Type.Unsafe<unknown>({
  description:
    'Token vectors, flat, tokens times dim values: an array of numbers, or in MessagePack binary little-endian 32-bit floats.',
});

export function explanationOf(matches: readonly TokenMatch[]) {
  return matches.map((match) => ({
    query_token: match.queryToken,
    query_span: match.querySpan,
    document_token: match.documentToken,
    document_span: match.documentSpan,
    contribution: match.contribution,
  }));
}

/** Of JSON or MessagePack. Throws INVALID_ARGUMENT; whoever takes the vectors checks their length and values. */
export function vectorsOf(name: string, value: unknown): Float32Array {
  if (Array.isArray(value) && value.every((one) => typeof one === 'number'))
    return Float32Array.from(value);
  if (value instanceof Uint8Array && value.byteLength % 4 === 0) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    return Float32Array.from({ length: value.byteLength / 4 }, (_, i) =>
      view.getFloat32(4 * i, true),
    );
  }
  throw invalid(name, 'an array of numbers, or binary 32-bit floats', value);
}
