/** The hub's API: what a repository holds, and its refusals in words. */
import { HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { MaxSimError } from '../errors.js';
import { nearestNames } from './catalog.js';
import { pause } from './pause.js';
import { aborted } from './pool.js';

/** Default: https://huggingface.co. */
export const hubUrl = (): string =>
  process.env['HF_ENDPOINT']?.replace(/\/+$/, '') || 'https://huggingface.co';

export const ATTEMPTS = 4;

export const FIRST_PAUSE_MS = 250;

const LONGEST_PAUSE_MS = 30_000;

export type HubFile = {
  path: string;
  size: number;
  /** SHA-256 of large files; of the others Git's own hash. */
  lfs: string | null;
  oid: string | null;
};

export async function describe(
  id: string,
  revision: string,
  signal: AbortSignal | undefined,
): Promise<{ commit: string; license: string | null }> {
  const info = await asking(id, revision, signal, (fetching) =>
    modelInfo({ name: id, revision, additionalFields: ['sha', 'cardData'], ...fetching }),
  );
  const { sha, cardData } = info as {
    sha?: unknown;
    cardData?: { license?: unknown; license_name?: unknown };
  };
  // Licences that the hub has no id for are 'other', with a name beside it.
  const named =
    cardData?.license === 'other' ? (cardData.license_name ?? cardData.license) : cardData?.license;
  return {
    commit: typeof sha === 'string' ? sha : revision,
    license: typeof named === 'string' ? named : null,
  };
}

export async function list(
  id: string,
  revision: string,
  signal: AbortSignal | undefined,
): Promise<HubFile[]> {
  return await asking(id, revision, signal, async (fetching) => {
    const files: HubFile[] = [];
    for await (const { type, path, size, lfs, oid } of listFiles({
      repo: { type: 'model', name: id },
      recursive: true,
      revision,
      ...fetching,
    })) {
      if (type === 'file')
        files.push({ path, size: lfs?.size ?? size, lfs: lfs?.oid ?? null, oid: oid ?? null });
    }
    return files;
  });
}

/** Asks the hub's API, with the token there is; its refusals in words. */
async function asking<T>(
  id: string,
  revision: string,
  signal: AbortSignal | undefined,
  ask: (options: { hubUrl: string; fetch: typeof fetch; accessToken?: string }) => Promise<T>,
): Promise<T> {
  const heeding: typeof fetch = (url, init) =>
    retrying(id, signal, () => fetch(url, { ...init, ...(signal && { signal }) }));
  const token = process.env['HF_TOKEN'];
  try {
    // The library takes the token's type apart, which is of no use at compile time.
    return await ask({
      hubUrl: hubUrl(),
      fetch: heeding,
      ...(token ? { accessToken: token } : {}),
    });
  } catch (cause) {
    if (cause instanceof MaxSimError) throw cause;
    if (signal?.aborted) throw aborted(signal);
    if (cause instanceof HubApiError) throw refusal(id, revision, cause.statusCode, cause);
    throw unreachable(id, cause);
  }
}

export function refusal(
  id: string,
  revision: string,
  status: number,
  cause?: unknown,
): MaxSimError {
  const near = nearestNames(id);
  const what =
    status === 401 || status === 403
      ? 'there is no such repository, or it is gated: a token in HF_TOKEN that may read it is needed'
      : status === 404
        ? `there is no such repository or revision (${revision})${near.length > 0 ? `; did you mean ${near.join(', ')}?` : ''}`
        : `the hub answered ${status}`;
  return new MaxSimError('DOWNLOAD_FAILED', `${id} cannot be fetched: ${what}.`, {
    cause,
    details: { id, status },
  });
}

function unreachable(id: string, cause: unknown): MaxSimError {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const reason = inner instanceof Error ? inner.message || inner.name : String(inner);
  return new MaxSimError(
    'DOWNLOAD_FAILED',
    `${id} cannot be fetched from ${hubUrl()}: ${reason}.`,
    { cause, details: { id, status: null } },
  );
}

/** Tries again what may pass: no connection, 429 and 5xx, with pauses that grow. */
export async function retrying(
  id: string,
  signal: AbortSignal | undefined,
  send: () => Promise<Response>,
): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let failure: unknown;
    try {
      const response = await send();
      if (response.status !== 429 && response.status < 500) return response;
      if (attempt >= ATTEMPTS) return response;
      failure = response;
      await response.body?.cancel();
    } catch (cause) {
      if (signal?.aborted) throw aborted(signal);
      if (attempt >= ATTEMPTS) throw unreachable(id, cause);
      failure = cause;
    }
    const asked = failure instanceof Response ? Number(failure.headers.get('retry-after')) : 0;
    const grown = FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
    await pause(Math.min(LONGEST_PAUSE_MS, Math.max(asked > 0 ? asked * 1000 : 0, grown)), signal);
  }
}
