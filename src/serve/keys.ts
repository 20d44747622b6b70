/**
 * Who may ask. Of an API key only its SHA-256 is known: keys are long and random, so no slow hash is
 * needed. Every known hash is compared, each in constant time.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { RequestError } from './failure.js';
import { isLoopback } from './options.js';

export class Keys {
  private readonly hashes: readonly Buffer[];

  constructor(
    hexHashes: readonly string[],
    private readonly anyHost: boolean,
  ) {
    this.hashes = hexHashes.map((hash) => Buffer.from(hash, 'hex'));
  }

  /** Throws 401 where keys are asked for and none that is known is given, in `Authorization: Bearer` or `x-api-key`. */
  check(request: FastifyRequest): void {
    if (this.hashes.length === 0) {
      this.checkHost(request);
      return;
    }
    const key = presented(request);
    if (key === null) {
      throw new RequestError(
        401,
        'UNAUTHORIZED',
        'An API key is needed, as "Authorization: Bearer <key>" or "x-api-key: <key>", but none was given.',
      );
    }
    if (!this.knows(key))
      throw new RequestError(401, 'UNAUTHORIZED', 'The API key that was given is not known here.');
  }

  private knows(key: string): boolean {
    const hash = createHash('sha256').update(key).digest();
    let known = false;
    for (const one of this.hashes) known = timingSafeEqual(one, hash) || known;
    return known;
  }

  /** A page of the web whose name was made to point at this machine (DNS rebinding) still sends its own name. */
  private checkHost({ hostname }: FastifyRequest): void {
    if (this.anyHost || isLoopback(hostname.replace(/^\[|\]$/g, ''))) return;
    throw new RequestError(
      403,
      'FORBIDDEN_HOST',
      `Without keys this server answers to loopback names only, but the Host was ${JSON.stringify(hostname)}.`,
    );
  }
}

function presented({ headers }: FastifyRequest): string | null {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1];
  const other = headers['x-api-key'];
  return bearer ?? (typeof other === 'string' ? other : null);
}
