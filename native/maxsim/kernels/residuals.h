// r4, r2 and r1, over the vectors of one instruction set. See passes.h.
#ifndef MAXSIM_MAXSIM_KERNELS_RESIDUALS_H_
#define MAXSIM_MAXSIM_KERNELS_RESIDUALS_H_

#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/documents.h"
#include "maxsim/kernels/rows.h"

namespace {

// What is done for later tiles while this one is multiplied, a token a step: the next tile's codes
// are expanded, the centroids' rows of the one after it are found and fetched, and the codes of a
// still later one are fetched.
template <typename I, uint32_t B, uint32_t kBits>
struct Ahead {
  const typename I::Bytes weights;
  const size_t code_bytes, stride, id_bytes;
  const uint32_t id_mask;
  const int16_t* const table;  // of the pass's first block
  const size_t table_stride;
  // Where codes are fetched: to the end of the document, then on in the upcoming one. Numbers,
  // because they are addresses of neither in between.
  const uintptr_t codes_end, to_upcoming;
  const uint8_t *codes, *ids;
  uint8_t* row;
  const int16_t** entry;
  uintptr_t fetched;
  uint32_t left;

  // Of the table, for the centroid with the id stored here.
  MAXSIM_INLINE const int16_t* Row(const uint8_t* id) const {
    return table + ((uint32_t)ReadInt32(id) & id_mask) * table_stride;
  }

  MAXSIM_INLINE void operator()() {
    I::template Expand<kBits>(weights, codes, code_bytes, row);
    *entry = Row(ids);
    MAXSIM_UNROLL for (uint32_t line = 0; line < (B + 1) / 2; line++) Fetch(*entry + line * 32);
    const uintptr_t later = fetched + (fetched < codes_end ? 0 : to_upcoming);
    for (size_t c = 0; c < code_bytes; c += 64) Fetch((const void*)(later + c));
    codes += code_bytes;
    ids += id_bytes;
    row += stride;
    entry++;
    fetched += code_bytes;
    left--;
  }
};

template <typename I, uint32_t kBits, size_t kDim>
struct ResidualPass {
  typedef typename I::Int Int;
  typedef typename I::Float Float;

  const MaxsimQueryInt8* query;
  const MaxsimResidual* residual;
  const MaxsimDocument& document;
  const MaxsimDocument& upcoming;
  uint32_t block;
  float* maxima;  // [B][16]

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    // Tokens from the one that is expanded to the one whose codes are fetched: some 4,000 cycles.
    constexpr size_t kFetchTokens = 60;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim;
    const size_t code_bytes = kDim != 0 ? kDim * kBits / 8 : residual->code_bytes;
    const size_t stride = code_bytes * (8 / kBits);
    const size_t table_stride = query->block_count * (size_t)kMaxsimLanes;
    const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
    const ResidualParts parts(*residual, document), after(*residual, upcoming);
    for (const uint8_t* line = after.factors; line < after.end; line += 64) Fetch(line);
    // An expansion may write up to a vector past its row: over the next row before that is
    // expanded, or into the slack.
    constexpr size_t kBuffer = T * kMaxPaddedDim + 64;
    alignas(64) uint8_t buffers[2][kBuffer];
    const int16_t* entries[2][T];  // the table rows of this tile and of the next
    TileWalk<T> walk(document.token_count);
    Ahead<I, B, kBits> ahead{I::LoadBytes(residual->weights),
                             code_bytes,
                             stride,
                             residual->id_bytes,
                             0xffffffffu >> (32 - 8 * residual->id_bytes),
                             residual->table + block * kMaxsimLanes,
                             table_stride,
                             (uintptr_t)parts.factors,
                             (uintptr_t)after.codes - (uintptr_t)parts.factors,
                             parts.codes,
                             parts.ids,
                             buffers[0],
                             entries[0],
                             (uintptr_t)parts.codes + kFetchTokens * code_bytes,
                             T};
    while (ahead.left > 0) ahead();
    for (uint32_t t = 0; t < T; t++) {
      entries[1][t] = ahead.Row(parts.ids + (walk.Next() + t) * residual->id_bytes);
    }
    const Int shift = I::SetInt((int32_t)residual->table_shift);
    Int bias[V];
    Float best[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      bias[v] = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
      best[v] = I::SetFloat(-INFINITY);
    }
    uint32_t current = 0;
    for (; !walk.done; walk.Step()) {
      Int dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          const Int entry = I::LoadInt16(entries[current][t] + v * I::kLanes);
          dot[t][v] = I::FromUnsigned(I::ShiftLeft(entry, shift), bias[v]);
        }
      }
      alignas(64) float factors[16];
      I::template FactorsOf<T>(parts.factors + walk.token * sizeof(uint16_t), factors);
      // At the last tile that one again. Beyond it, the rows of the upcoming document's first
      // tiles.
      const uint32_t next = walk.Next(), last = walk.last;
      ahead.codes = parts.codes + next * code_bytes;
      if (next < last) {
        ahead.ids = parts.ids + (last - next > T ? next + T : last) * ahead.id_bytes;
      } else {
        const uint32_t second = upcoming.token_count < 2 * T ? 0 : T;
        ahead.ids = after.ids + (walk.AtLast() ? second : 0) * ahead.id_bytes;
      }
      ahead.entry = entries[current];
      const uint8_t* rows = buffers[current];
      current = 1 - current;
      ahead.row = buffers[current];
      ahead.fetched = (uintptr_t)ahead.codes + kFetchTokens * code_bytes;
      ahead.left = T;
      constexpr size_t kTail = I::template kTailDims<kDim>;
      const size_t body = dim - kTail;
      const size_t middle = T * I::kStepDims < body ? T * I::kStepDims : body;
      FetchNothing nothing;
      I::template Dot<T, V>(dot, rows, stride, lanes, dim, 0, middle, ahead);
      I::template Dot<T, V>(dot, rows, stride, lanes, dim, middle, body, nothing);
      while (ahead.left > 0) ahead();
      // The last dims token by token, each token folded while the next one is multiplied: all
      // of them folded at once would fill the queues of the processor, and nothing be multiplied.
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        if constexpr (kTail != 0) {
          I::template DotTail<kTail>(dot[t], rows + t * stride + body, lanes, dim, body);
        }
        const Float factor = I::BroadcastFloat((const uint8_t*)&factors[t]);
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          best[v] = I::Max(I::Multiply(I::ToFloat(dot[t][v]), factor), best[v]);
          if constexpr (kTail != 0) {
            if (t + 1 < T) I::InOrder(best[v], dot[t + 1][v]);
          }
        }
      }
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) I::Store(maxima + v * I::kLanes, best[v]);
  }
};

template <typename I, uint32_t kBits, size_t kDim>
void ScoreResidualOf(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                     const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                     float* scores) {
  ForDocuments<I::kPassBlocks, float>(
      query, documents, document_count, exit, scores,
      [query, residual](const MaxsimDocument& document, const MaxsimDocument& upcoming,
                        uint32_t block, uint32_t blocks, float(*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kResidualTile, I::kResidualOneBlockTile>(
            document.token_count, blocks,
            ResidualPass<I, kBits, kDim>{query, residual, document, upcoming, block, maxima[0]});
      });
}

template <typename I>
void ScoreResidual(const MaxsimQueryInt8* query, const MaxsimResidual* residual,
                   const MaxsimDocument* documents, size_t document_count, MaxsimExit* exit,
                   float* scores) {
#define MAXSIM_RESIDUAL(bits, dim) \
  ScoreResidualOf<I, bits, dim>(query, residual, documents, document_count, exit, scores)
  if constexpr (I::kSpecialDims) {
    const uint32_t dim = query->padded_dim;
    if (residual->bits == 4 && dim == 128) return MAXSIM_RESIDUAL(4, 128);
    if (residual->bits == 4 && dim == 96) return MAXSIM_RESIDUAL(4, 96);
    if (residual->bits == 4 && dim == 64) return MAXSIM_RESIDUAL(4, 64);
    if (residual->bits == 4 && dim == 48) return MAXSIM_RESIDUAL(4, 48);
    if (residual->bits == 2 && dim == 128) return MAXSIM_RESIDUAL(2, 128);
    if (residual->bits == 1 && dim == 128) return MAXSIM_RESIDUAL(1, 128);
  }
  if (residual->bits == 1) return MAXSIM_RESIDUAL(1, 0);
  if (residual->bits == 2) return MAXSIM_RESIDUAL(2, 0);
  MAXSIM_RESIDUAL(4, 0);
#undef MAXSIM_RESIDUAL
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_RESIDUALS_H_
