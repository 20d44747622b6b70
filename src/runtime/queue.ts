/**
 * Jobs that no thread has begun: the most urgent class first, within it the earliest deadline, then
 * the order of arrival. Bounded by tokens, the measure of work.
 */

/** Classes of jobs; lower runs first. */
export const PRIORITY = { query: 0, rerank: 1, document: 2 } as const;

/** What work is counted in before anything is tokenised: about four characters a token. */
export function estimateTokens(text: string): number {
  return Math.ceil(text.length / 4) + 3;
}

export type Queued = {
  /** Counts up: the order of arrival. */
  id: number;
  priority: number;
  /** How much work this is, in tokens or an estimate of them. */
  tokens: number;
  /** When it is too late to begin, by `performance.now()`; Infinity: never. */
  deadline: number;
};

export class JobQueue<Job extends Queued> {
  /** Of all jobs in the queue. */
  tokens = 0;
  private readonly jobs: Job[] = [];
  /** By class. */
  private readonly tokensOf = new Map<number, number>();

  get length(): number {
    return this.jobs.length;
  }

  /** The one to begin next. */
  get first(): Job | undefined {
    return this.jobs[0];
  }

  /** Tokens of the jobs that are as urgent as this class, or more: what one more of it would wait for. */
  tokensAhead(priority: number): number {
    let ahead = 0;
    for (const [other, tokens] of this.tokensOf) if (other <= priority) ahead += tokens;
    return ahead;
  }

  has(job: Job): boolean {
    return this.jobs.includes(job);
  }

  push(job: Job): void {
    let low = 0;
    let high = this.jobs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (comesBefore(job, this.jobs[middle] as Job)) high = middle;
      else low = middle + 1;
    }
    this.jobs.splice(low, 0, job);
    this.count(job, job.tokens);
  }

  /** False where the job is not in the queue. */
  remove(job: Job): boolean {
    const at = this.jobs.indexOf(job);
    if (at < 0) return false;
    this.jobs.splice(at, 1);
    this.count(job, -job.tokens);
    return true;
  }

  /** Takes all jobs out. */
  drain(): Job[] {
    this.tokens = 0;
    this.tokensOf.clear();
    return this.jobs.splice(0);
  }

  private count({ priority }: Job, tokens: number): void {
    this.tokens += tokens;
    this.tokensOf.set(priority, (this.tokensOf.get(priority) ?? 0) + tokens);
  }
}

function comesBefore(a: Queued, b: Queued): boolean {
  if (a.priority !== b.priority) return a.priority < b.priority;
  // Not by their difference: Infinity less Infinity is no number.
  if (a.deadline !== b.deadline) return a.deadline < b.deadline;
  return a.id < b.id;
}
