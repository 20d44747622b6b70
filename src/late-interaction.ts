/** Late interaction within a call: the query's vectors, scores of candidates, and what explains them. */
import type { Call } from './call.js';
import type { Ranked } from './request.js';
import type { EncodedText, Encoder, Hit, TextToken } from './types.js';

/** In the order of the candidates; NaN for those that the index does not hold or the filter keeps out. */
export type LateScores = { scores: Float32Array; unknownIds: string[]; excludedIds: string[] };

export type Limits = { signal?: AbortSignal | undefined; budgetMs?: number | undefined };

export class LateInteraction {
  constructor(readonly encoder: Encoder) {}

  /** Of stored candidates from the index; of the others once they are encoded. */
  async score(
    call: Call,
    candidates: readonly Ranked[],
    { signal, budgetMs }: Limits,
  ): Promise<LateScores> {
    const texts = candidates.filter((candidate) => !candidate.stored && candidate.vectors === null);
    const encoding = performance.now();
    const [queryVectors, encoded] = await Promise.all([
      this.encodeQuery(call, { signal, budgetMs }),
      this.encoder.encodeDocuments(
        texts.map((candidate) => candidate.text as string),
        { signal, deadlineMs: budgetMs },
      ),
    ]);
    call.timings.encodeMs = performance.now() - encoding;
    texts.forEach((candidate, i) => {
      candidate.vectors = (encoded[i] as EncodedText).vectors;
    });
    const scoring = performance.now();
    const scores = new Float32Array(candidates.length);
    const stored: number[] = [];
    const given: number[] = [];
    candidates.forEach((candidate, i) => {
      (candidate.stored ? stored : given).push(i);
    });
    const held = await call.view.scoreAsync(
      queryVectors,
      stored.map((i) => (candidates[i] as Ranked).id),
      call.filter === undefined ? {} : { filter: call.filter },
    );
    const others = await call.view.scoreVectors(
      queryVectors,
      given.map((i) => (candidates[i] as Ranked).vectors as Float32Array),
    );
    stored.forEach((at, i) => {
      scores[at] = held.scores[i] as number;
    });
    given.forEach((at, i) => {
      scores[at] = others[i] as number;
    });
    call.timings.scoreMs += performance.now() - scoring;
    return { scores, unknownIds: held.unknownIds, excludedIds: held.excludedIds };
  }

  /** Once a call. */
  async encodeQuery(call: Call, { signal, budgetMs }: Limits): Promise<Float32Array> {
    if (call.vectors === null) {
      const started = performance.now();
      const [encoded] = await this.encoder.encodeQueries([call.text as string], {
        signal,
        deadlineMs: budgetMs,
      });
      call.vectors = (encoded as EncodedText).vectors;
      call.timings.encodeMs += performance.now() - started;
    }
    return call.vectors;
  }

  /** Fills in the explanation of hits; `vectors` has those of candidates that are not stored. */
  async explain(
    call: Call,
    hits: readonly Hit[],
    vectors: ReadonlyMap<string, Float32Array>,
  ): Promise<void> {
    const queryVectors = await this.encodeQuery(call, { signal: call.signal });
    const query = await this.tokensOf(call.text as string, 'query');
    await Promise.all(
      hits.map(async (hit) => {
        const given = vectors.get(hit.id);
        // Without text there is nothing to point at; and it may have been deleted meanwhile.
        if (hit.text === null || (!given && !call.view.has(hit.id))) return;
        const matches = given
          ? call.view.explainVectors(queryVectors, given)
          : call.view.explain(queryVectors, hit.id);
        const document = await this.tokensOf(hit.text, 'document');
        hit.explanation = matches.map(({ documentToken, contribution }, i) => ({
          queryToken: query[i]?.token ?? '',
          querySpan: query[i]?.span ?? null,
          documentToken: document[documentToken]?.token ?? '',
          documentSpan: document[documentToken]?.span ?? null,
          contribution,
        }));
      }),
    );
  }

  private async tokensOf(text: string, kind: 'query' | 'document'): Promise<TextToken[]> {
    return (await this.encoder.explainTokens?.(text, kind)) ?? [];
  }
}
