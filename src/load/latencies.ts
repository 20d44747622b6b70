/** Latencies of a run, from the time a request was to be sent: an HDR histogram of microseconds. */
import { build, type Histogram } from 'hdr-histogram-js';

/** An hour: what takes longer counts as that. */
const LONGEST_US = 3_600_000_000;
const DIGITS = 3;

export const PERCENTILES = [50, 90, 99, 99.9, 99.99] as const;
export type Percentile = (typeof PERCENTILES)[number];

export class Latencies {
  private readonly histogram: Histogram = build({
    highestTrackableValue: LONGEST_US,
    numberOfSignificantValueDigits: DIGITS,
    bitBucketSize: 'packed',
  });

  record(ms: number): void {
    this.histogram.recordValue(Math.min(LONGEST_US, Math.max(1, Math.round(1000 * ms))));
  }

  add(other: Latencies): void {
    this.histogram.add(other.histogram as never);
  }

  get count(): number {
    return this.histogram.totalCount;
  }

  get meanMs(): number {
    return this.histogram.mean / 1000;
  }

  get maxMs(): number {
    return this.histogram.maxValue / 1000;
  }

  /** Null where fewer than ten requests lie above it: it would be the word of one of them. */
  percentileMs(percentile: Percentile): number | null {
    if (this.count * (1 - percentile / 100) < 10 && percentile > 50) return null;
    return this.count === 0 ? null : this.histogram.getValueAtPercentile(percentile) / 1000;
  }

  /** The text that HdrHistogram's plotter reads, in milliseconds. */
  hgrm(): string {
    return this.histogram.outputPercentileDistribution(5, 1000);
  }
}
