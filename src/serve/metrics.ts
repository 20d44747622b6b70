/**
 * What a server counts, for Prometheus. Names that begin with te_ are those of text-embeddings-inference
 * (router/src/http/server.rs), so that its dashboards work; units are seconds, as there.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Engine } from '../maxsim.js';
import type { Admission } from './admission.js';
import { isWorker, metricsOfAll, shareMetrics } from './workers.js';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const QUANTILES = [0.5, 0.9, 0.99, 0.999];

export class Metrics {
  private readonly registry = new Registry();
  private readonly registers = [this.registry];
  private readonly delay: IntervalHistogram = monitorEventLoopDelay({ resolution: 10 });

  readonly requests = new Counter({
    name: 'te_request_count',
    help: 'Requests that arrived, by what was asked and in which format.',
    labelNames: ['method', 'format'],
    registers: this.registers,
  });
  readonly successes = new Counter({
    name: 'te_request_success',
    help: 'Requests that were answered.',
    labelNames: ['method', 'format'],
    registers: this.registers,
  });
  readonly failures = new Counter({
    name: 'te_request_failure',
    help: 'Requests that failed, by the code of the error; client_left: nobody waited for the answer.',
    labelNames: ['err'],
    registers: this.registers,
  });
  readonly duration = new Histogram({
    name: 'te_request_duration',
    help: 'Seconds from the headers of a request to the end of its answer.',
    buckets: SECONDS,
    registers: this.registers,
  });
  readonly inference = new Histogram({
    name: 'te_request_inference_duration',
    help: 'Seconds that the engine took, its queue included.',
    buckets: SECONDS,
    registers: this.registers,
  });
  readonly degraded = new Counter({
    name: 'maxsim_degraded_total',
    help: 'Answers that lack a stage, by that stage and why.',
    labelNames: ['stage', 'cause'],
    registers: this.registers,
  });
  readonly refreshFailures = new Counter({
    name: 'maxsim_refresh_failures_total',
    help: 'Times that a newer generation of the index could not be looked for or opened.',
    registers: this.registers,
  });

  constructor(admission: Admission, engine: () => Engine | null) {
    type Aggregator = 'sum' | 'max' | 'min';
    const gauge = (
      name: string,
      help: string,
      value: () => number | null,
      aggregator: Aggregator = 'sum', // over several workers
    ): void => {
      new Gauge({
        name,
        help,
        aggregator,
        registers: this.registers,
        collect() {
          this.set(value() ?? 0);
        },
      });
    };
    gauge('te_queue_size', 'Jobs that wait for a model thread.', () => {
      return engine()?.stats().pool.queuedJobs ?? 0;
    });
    gauge('maxsim_queued_tokens', 'Tokens that wait for a model thread.', () => {
      return engine()?.stats().pool.queuedTokens ?? 0;
    });
    gauge(
      'maxsim_requests_in_flight',
      'Requests that were let in.',
      () => admission.stats().requests,
    );
    gauge('maxsim_tokens_in_flight', 'Their tokens.', () => admission.stats().tokens);
    gauge('maxsim_tokens_per_second', 'How fast tokens are worked off; 0 until measured.', () => {
      return admission.stats().tokensPerSecond;
    });
    const ofIndex = (name: 'documentCount' | 'generation') => () => engine()?.index[name] ?? 0;
    gauge('maxsim_documents', 'Documents of the index.', ofIndex('documentCount'), 'max');
    gauge('maxsim_generation', 'Generation of the index.', ofIndex('generation'), 'min');
    gauge('process_resident_memory_bytes', 'Memory of the process.', () => {
      return process.memoryUsage.rss();
    });
    new Counter({
      name: 'process_cpu_seconds_total',
      help: 'CPU time of the process.',
      registers: this.registers,
      collect() {
        const { user, system } = process.cpuUsage();
        this.reset();
        this.inc((user + system) / 1e6);
      },
    });
    this.watchEventLoop();
    this.delay.enable();
    if (isWorker()) shareMetrics(this.registry);
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  async text(): Promise<string> {
    return await (isWorker() ? metricsOfAll() : this.registry.metrics());
  }

  close(): void {
    this.delay.disable();
    this.registry.clear();
  }

  private watchEventLoop(): void {
    const { delay } = this;
    new Gauge({
      name: 'maxsim_event_loop_delay_seconds',
      help: 'By how much timers were late since the last time this was read, 10 ms of sampling included.',
      labelNames: ['quantile'],
      aggregator: 'max',
      registers: this.registers,
      collect() {
        for (const quantile of QUANTILES)
          this.set({ quantile: String(quantile) }, delay.percentile(quantile * 100) / 1e9);
        this.set({ quantile: '1' }, delay.count === 0 ? 0 : delay.max / 1e9);
        delay.reset();
      },
    });
  }
}
