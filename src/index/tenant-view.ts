/** The documents of one tenant: all that can be asked of an index and changed in it, and nothing of others. */
import type { NativeTally } from '../runtime/addon.js';
import type { IndexDocument } from './document.js';
import { DocumentView } from './document-view.js';
import { toFilter } from './filter.js';
import type { Generation } from './generation.js';
import type { IndexSnapshot } from './index-snapshot.js';
import type { CommitResult } from './store.js';

export type TenantChanges = { add?: readonly IndexDocument[]; delete?: readonly string[] };

/** What a view needs of the index that it is of. */
type Owner = {
  generation(): Generation;
  tally(): NativeTally;
  checkWritable(): void;
  commit(changes: TenantChanges): Promise<CommitResult>;
  clear(): Promise<CommitResult>;
  snapshot(): IndexSnapshot;
};

/** Made by `Index.tenant`; follows the index, and needs no closing. */
export class TenantView extends DocumentView {
  readonly tenant: string;
  private readonly owner: Owner;

  /** @internal Use Index.tenant. */
  constructor(tenant: string, owner: Owner) {
    super();
    this.tenant = tenant;
    this.owner = owner;
  }

  override get documentCount(): number {
    return this.owner.tally().documents;
  }

  override get tokenCount(): number {
    return this.owner.tally().tokens;
  }

  /** As `Index.add`. Name and id together have at most 511 bytes. */
  async add(documents: readonly IndexDocument[]): Promise<CommitResult> {
    return await this.commit({ add: documents });
  }

  /** As `Index.delete`. */
  async delete(ids: readonly string[]): Promise<CommitResult> {
    return await this.commit({ delete: ids });
  }

  /** As `Index.commit`. */
  async commit(changes: TenantChanges): Promise<CommitResult> {
    this.owner.checkWritable();
    return await this.owner.commit(changes);
  }

  /** Removes all documents of the tenant, in one durable commit. */
  async clear(): Promise<CommitResult> {
    this.owner.checkWritable();
    return await this.owner.clear();
  }

  /** As `Index.snapshot`. */
  snapshot(): IndexSnapshot {
    return this.owner.snapshot();
  }

  protected get generationInUse(): Generation {
    return this.owner.generation();
  }

  protected get tenantInUse(): string {
    return this.tenant;
  }
}

/** The ids of all documents of a tenant, as they are stored. */
export function storedIds({ manifest, snapshot }: Generation, tenant: string): string[] {
  const filter = toFilter(undefined, manifest, tenant);
  const ids: string[] = [];
  for (let from: number | null = 0; filter !== undefined && from !== null; ) {
    const { refs, next } = snapshot.matching(filter, from, 4096);
    ids.push(...snapshot.ids(refs));
    from = next;
  }
  return ids;
}
