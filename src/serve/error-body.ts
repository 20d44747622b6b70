/** The shape in which OpenAI, and vLLM after it, say what went wrong: of all routes that have no other. */
import { Type } from '@sinclair/typebox';
import type { Failure } from './failure.js';

export const ErrorBody = Type.Object({
  error: Type.Object(
    {
      message: Type.String(),
      type: Type.String(),
      code: Type.String({ description: 'docs/serve.md has them all.' }),
      request_id: Type.String(),
    },
    { additionalProperties: true },
  ),
});

export function openAiError({ status, code, message, details }: Failure, requestId: string) {
  const type =
    status === 429 ? 'overloaded' : status >= 500 ? 'server_error' : 'invalid_request_error';
  const more = Object.keys(details).length === 0 ? {} : { details };
  return { error: { message, type, code, request_id: requestId, ...more } };
}
