/** How many cores this process may use: what threads are counted by. */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/**
 * Cores by affinity, and by the CPU quota of the control group (a container's limit), of which
 * Node.js before 22.10 knows nothing. At least 1; a quota of 1.5 cores is 1.
 */
export function coreCount(controlGroup = '/sys/fs/cgroup'): number {
  const cores = availableParallelism();
  const quota = quotaOf(controlGroup);
  return quota === null ? cores : Math.max(1, Math.min(cores, Math.floor(quota)));
}

/** Cores of the quota, of cgroup v2 ("200000 100000") or v1; null where there is none. */
function quotaOf(controlGroup: string): number | null {
  const words =
    read(join(controlGroup, 'cpu.max'))?.split(' ') ??
    ['cpu.cfs_quota_us', 'cpu.cfs_period_us'].map((name) => read(join(controlGroup, 'cpu', name)));
  const [quota, period] = words.map(Number);
  // "max", -1 or nothing: no limit.
  return quota !== undefined && period !== undefined && quota > 0 && period > 0
    ? quota / period
    : null;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}
