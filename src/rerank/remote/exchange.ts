/** One request to a service and its answer as JSON, or a MaxSimError that says what went wrong. */
import { MaxSimError } from '../../errors.js';
import { aborted } from '../../runtime/pool.js';

export type Exchange = {
  /** For messages: 'cohere'. */
  service: string;
  url: string;
  headers: Readonly<Record<string, string>>;
  body: unknown;
  timeoutMs: number;
  signal?: AbortSignal | undefined;
};

/** An answer longer than this is none of ours. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/**
 * Throws RERANKER_FAILED with `details`: `status` (null when there was no answer), `retryable`, and
 * `retryAfterMs` where the service said so; ABORTED when the signal fires.
 */
export async function exchange(request: Exchange): Promise<unknown> {
  const { service, url, headers, body, timeoutMs, signal } = request;
  const timeout = AbortSignal.timeout(Math.ceil(timeoutMs));
  const failed = (what: string, details: Record<string, unknown>, cause?: unknown): MaxSimError =>
    new MaxSimError('RERANKER_FAILED', `${service} ${what}`, {
      cause,
      details: { service, status: null, retryable: false, ...details },
    });
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
      body: JSON.stringify(body),
      // A key must not follow a redirect to somewhere else.
      redirect: 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    text = await readText(response);
  } catch (cause) {
    if (signal?.aborted) throw aborted(signal);
    if (timeout.aborted)
      throw failed(`did not answer within ${timeoutMs} ms.`, { retryable: true }, cause);
    throw failed(`cannot be reached: ${reasonOf(cause)}.`, { retryable: true }, cause);
  }
  if (!response.ok) {
    const { status } = response;
    throw failed(`answered ${status}${excerpt(text)}.`, {
      status,
      retryable: status === 408 || status === 429 || status >= 500,
      ...retryAfter(response.headers.get('retry-after')),
    });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw failed(
      `answered with something that is not JSON${excerpt(text)}.`,
      { status: response.status },
      cause,
    );
  }
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let sizeBytes = 0;
  for await (const piece of response.body ?? []) {
    sizeBytes += (piece as Uint8Array).length;
    if (sizeBytes > MAX_ANSWER_BYTES)
      throw new Error(`its answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    text += decoder.decode(piece as Uint8Array, { stream: true });
  }
  return text + decoder.decode();
}

/** fetch says only "fetch failed"; what happened is the cause. */
function reasonOf(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  if (!(inner instanceof Error)) return String(inner);
  return inner.message || (inner as NodeJS.ErrnoException).code || inner.name;
}

function excerpt(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  if (line === '') return '';
  return `: ${line.length > 200 ? `${line.slice(0, 197)}...` : line}`;
}

/** Seconds, or a date (RFC 9110, section 10.2.3). */
function retryAfter(header: string | null): { retryAfterMs?: number } {
  if (header === null) return {};
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? { retryAfterMs: Math.max(0, ms) } : {};
}
