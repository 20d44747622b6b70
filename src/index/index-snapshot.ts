/** One generation of an index, held on to. */
import { MaxSimError } from '../errors.js';
import { DocumentView } from './document-view.js';
import type { Generation } from './generation.js';
import { type IndexStats, statsOf } from './stats.js';
import { tenantRequired } from './tenant.js';

/**
 * What the index held when `Index.snapshot` was called: reads the same until it is closed, whatever is
 * committed or merged meanwhile, and when the index is closed. Its files keep their space on the disk
 * until then.
 */
export class IndexSnapshot extends DocumentView {
  readonly generation: number;
  private closed = false;

  /** Takes over the generation's handle. */
  constructor(
    private readonly held: Generation,
    private readonly tenant: string | null,
  ) {
    super();
    this.generation = held.manifest.generation;
  }

  override get documentCount(): number {
    return this.tally()?.documents ?? super.documentCount;
  }

  override get tokenCount(): number {
    return this.tally()?.tokens ?? super.tokenCount;
  }

  /** Counts and sizes, of the whole and of each segment. */
  stats(): IndexStats {
    return statsOf(this.generationInUse, null);
  }

  /** Lets go of the files; what is under way ends by itself. */
  close(): void {
    this.closed = true;
    this.held.snapshot.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  protected get generationInUse(): Generation {
    if (this.closed) throw new MaxSimError('CLOSED', 'The snapshot is closed.');
    return this.held;
  }

  protected get tenantInUse(): string | null {
    if (this.tenant === null && this.generationInUse.manifest.tenants) throw tenantRequired();
    return this.tenant;
  }

  /** What the tenant has; null where there are none. */
  private tally(): { documents: number; tokens: number } | null {
    const tenant = this.tenantInUse;
    if (tenant === null) return null;
    const rows = this.generationInUse.snapshot.tallyKeywords(0);
    return rows.find(({ keyword }) => keyword === tenant) ?? { documents: 0, tokens: 0 };
  }
}
