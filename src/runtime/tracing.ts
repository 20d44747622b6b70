/**
 * Spans by OpenTelemetry, where the service has `@opentelemetry/api`: one a call and one a stage, with
 * the names of its GenAI conventions and of OpenInference. Without it nothing is done.
 */

export type SpanAttributes = Record<string, string | number | boolean | string[]>;

export type FinishedSpan = {
  name: string;
  /** Of performance.now(). */
  startMs: number;
  endMs: number;
  attributes: SpanAttributes;
  /** What went wrong; null: nothing. */
  error: string | null;
};

/** As much of `@opentelemetry/api` as is used, so that its types are not needed where it is not. */
type Api = {
  trace: {
    getTracer(name: string): {
      startSpan(
        name: string,
        options: { startTime: number; attributes: SpanAttributes; kind?: number },
        context?: unknown,
      ): Span;
    };
    setSpan(context: unknown, span: Span): unknown;
  };
  context: { active(): unknown };
};

type Span = {
  setStatus(status: { code: number; message: string }): void;
  end(endTime: number): void;
};

/** SpanStatusCode.ERROR. */
const ERROR = 2;

let loading: Promise<Api | null> | undefined;

/** Once a process. */
export function loadTracing(): Promise<Tracing | null> {
  loading ??= importApi();
  return loading.then((api) => (api === null ? null : new Tracing(api)));
}

async function importApi(): Promise<Api | null> {
  try {
    const name = '@opentelemetry/api'; // a variable: compilers must not look for it
    return (await import(name)) as Api;
  } catch {
    return null;
  }
}

export class Tracing {
  constructor(private readonly api: Api) {}

  /** The caller's context, which the span of the call will be a child of. */
  get context(): unknown {
    return this.api.context.active();
  }

  /** A span with its children, all of which are over. */
  record(span: FinishedSpan, children: readonly FinishedSpan[], context: unknown): void {
    const tracer = this.api.trace.getTracer('maxsim');
    const add = (one: FinishedSpan, within: unknown): Span => {
      const options = { startTime: epochMs(one.startMs), attributes: one.attributes };
      const made = tracer.startSpan(one.name, options, within);
      if (one.error !== null) made.setStatus({ code: ERROR, message: one.error });
      return made;
    };
    const parent = add(span, context);
    const within = this.api.trace.setSpan(context, parent);
    for (const child of children) add(child, within).end(epochMs(child.endMs));
    parent.end(epochMs(span.endMs));
  }
}

function epochMs(now: number): number {
  return performance.timeOrigin + now;
}
