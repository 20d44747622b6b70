/**
 * How tenants share an index without meeting: the id that is stored begins with the tenant's name, so no
 * id of one leads to a document of another, and a built-in field holds the name, for what goes by filter.
 */
import { checkId, checkString } from '../check.js';
import { invalid, MaxSimError, show } from '../errors.js';

/** No declared field can have this name. */
export const TENANT_FIELD = '$tenant';

const MAX_TENANT_BYTES = 128;
const MAX_ID_BYTES = 512;
// No tenant's name holds it, so the first one in a stored id is where the name ends.
const SEPARATOR = '\0';

/** A tenant's name: 1 to 128 bytes of well-formed UTF-8 without NUL. */
export function checkTenant(value: unknown): string {
  const name = checkString('tenant', value);
  const size = Buffer.byteLength(name);
  if (size < 1 || size > MAX_TENANT_BYTES || name.includes(SEPARATOR) || !name.isWellFormed()) {
    throw invalid(
      'tenant',
      `1 to ${MAX_TENANT_BYTES} bytes of well-formed Unicode without a NUL`,
      value,
    );
  }
  return name;
}

/** A new document's id as it is stored; name and id together have the room of one id. */
export function checkStoredId(name: string, tenant: string | null, value: unknown): string {
  const id = checkId(name, value);
  if (tenant === null) return id;
  const room = MAX_ID_BYTES - Buffer.byteLength(tenant) - 1;
  if (Buffer.byteLength(id) > room) {
    throw invalid(name, `at most ${room} bytes, the tenant's name taking the others`, value);
  }
  return storedId(tenant, id);
}

export function storedId(tenant: string | null, id: string): string {
  return tenant === null ? id : `${tenant}${SEPARATOR}${id}`;
}

/** Whose document it is, of an index with tenants. */
export function tenantOf(stored: string): string {
  return stored.slice(0, stored.indexOf(SEPARATOR));
}

/** What `storedId` was made from. */
export function ownId(tenant: string | null, stored: string): string {
  if (tenant === null) return stored;
  const prefix = storedId(tenant, '');
  if (stored.startsWith(prefix)) return stored.slice(prefix.length);
  // Id and field are written together; where they disagree, nothing may be told.
  throw new MaxSimError(
    'CORRUPT_INDEX',
    `A document of another tenant is stored as one of ${show(tenant)}.`,
  );
}

export function tenantRequired(): MaxSimError {
  return new MaxSimError(
    'TENANT_REQUIRED',
    'Every document of this index belongs to a tenant: name one with index.tenant(name), the option tenant of the engine, or --tenant on the command line.',
  );
}

export function noTenants(): MaxSimError {
  return new MaxSimError(
    'INVALID_ARGUMENT',
    'A tenant was named, but the index was created without the option tenants.',
  );
}
