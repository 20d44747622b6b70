/** Bodies in MessagePack, for vectors: maps are plain objects, and no extension is honoured but timestamps. */
import type { FastifyInstance } from 'fastify';
import { Unpackr } from 'msgpackr';
import { RequestError } from './failure.js';

export const MSGPACK_TYPES = [
  'application/msgpack',
  'application/x-msgpack',
  'application/vnd.msgpack',
];

export function readMsgpack(app: FastifyInstance): void {
  const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, moreTypes: false });
  app.addContentTypeParser(MSGPACK_TYPES, { parseAs: 'buffer' }, (_, body, done) => {
    let value: unknown;
    try {
      value = unpackr.unpack(body as Buffer);
    } catch (error) {
      const { message } = error as Error;
      done(new RequestError(400, 'INVALID_ARGUMENT', `The body is not MessagePack: ${message}.`));
      return;
    }
    done(null, value);
  });
}
