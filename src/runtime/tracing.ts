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
        options: { startTime: number; attributes?: SpanAttributes },
        context: unknown,
      ): Span;
    };
    setSpan(context: unknown, span: Span): unknown;
  };
  context: { active(): unknown };
};

type Span = {
  isRecording(): boolean;
  setAttributes(attributes: SpanAttributes): void;
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

  /** A child of the caller's span; null where nobody records, so that nobody need say more. */
  begin(name: string, startMs: number): ActiveSpan | null {
    const context = this.api.context.active();
    const tracer = this.api.trace.getTracer('maxsim');
    const span = tracer.startSpan(name, { startTime: epochMs(startMs) }, context);
    if (!span.isRecording()) return null;
    const within = this.api.trace.setSpan(context, span);
    return {
      end({ attributes, error, endMs }, children) {
        for (const child of children) {
          const startTime = epochMs(child.startMs);
          const { name, attributes } = child;
          finish(tracer.startSpan(name, { startTime, attributes }, within), child);
        }
        span.setAttributes(attributes);
        finish(span, { error, endMs });
      },
    };
  }
}

export type ActiveSpan = {
  /** With its children, all of which are over. */
  end(how: Omit<FinishedSpan, 'name' | 'startMs'>, children: readonly FinishedSpan[]): void;
};

function finish(span: Span, { error, endMs }: Pick<FinishedSpan, 'error' | 'endMs'>): void {
  if (error !== null) span.setStatus({ code: ERROR, message: error });
  span.end(epochMs(endMs));
}

function epochMs(now: number): number {
  return performance.timeOrigin + now;
}
