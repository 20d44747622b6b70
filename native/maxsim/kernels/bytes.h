// int8 and int8-token, over the vectors of one instruction set. See passes.h.
#ifndef MAXSIM_MAXSIM_KERNELS_BYTES_H_
#define MAXSIM_MAXSIM_KERNELS_BYTES_H_

#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/documents.h"
#include "maxsim/kernels/rows.h"

namespace {

// kDim is the padded dim where the compiler may know it, else 0.
template <typename I, bool kTokenScales, size_t kDim>
struct BytesPass {
  typedef typename I::Int Int;
  typedef typename I::Float Float;

  const MaxsimQueryInt8* query;
  const MaxsimDocument& document;
  const void* upcoming;
  uint32_t block;
  void* maxima;  // [B][16] int32, or float with token scales

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim;
    const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
    const uint8_t* rows = (const uint8_t*)document.tokens;
    const uint8_t* scales = rows + document.token_count * dim;
    Int start[V], best[V];
    Float best_float[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      const Int bias = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
      start[v] = I::FromUnsigned(bias, bias);
      best[v] = I::SetInt(INT_MIN);
      best_float[v] = I::SetFloat(-INFINITY);
    }
    for (TileWalk<T> walk(document.token_count); !walk.done; walk.Step()) {
      Int dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = start[v];
      }
      typename I::FetchBytes fetch{walk.AtLast() ? (const uint8_t*)upcoming
                                                 : rows + walk.Next() * dim};
      I::template Dot<T, V>(dot, rows + walk.token * dim, dim, lanes, dim, 0, dim, fetch);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        if constexpr (kTokenScales) {
          const Float scale =
              I::SetFloat(ReadFloat(scales + (size_t)(walk.token + t) * sizeof(float)));
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
            best_float[v] = I::Max(I::Multiply(I::ToFloat(dot[t][v]), scale), best_float[v]);
          }
        } else {
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::Max(dot[t][v], best[v]);
        }
      }
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
      if constexpr (kTokenScales) {
        I::Store((float*)maxima + v * I::kLanes, best_float[v]);
      } else {
        I::Store((int32_t*)maxima + v * I::kLanes, best[v]);
      }
    }
  }
};

template <typename I, bool kTokenScales, size_t kDim>
void ScoreBytesOfDim(const MaxsimQueryInt8* query, const MaxsimDocument* documents,
                     size_t document_count, MaxsimExit* exit, float* scores) {
  typedef typename MaximumOf<kTokenScales>::Type Maximum;
  ForDocuments<I::kPassBlocks, Maximum>(
      query, documents, document_count, exit, scores,
      [query](const MaxsimDocument& document, const MaxsimDocument& upcoming, uint32_t block,
              uint32_t blocks, Maximum(*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kTile, I::kTile>(
            document.token_count, blocks,
            BytesPass<I, kTokenScales, kDim>{query, document, upcoming.tokens, block, maxima});
      });
}

template <typename I, bool kTokenScales>
void ScoreBytes(const MaxsimQueryInt8* query, const MaxsimDocument* documents,
                size_t document_count, MaxsimExit* exit, float* scores) {
  if constexpr (I::kSpecialDims) {
    const uint32_t dim = query->padded_dim;
    if (dim == 128) {
      return ScoreBytesOfDim<I, kTokenScales, 128>(query, documents, document_count, exit, scores);
    }
    if (dim == 96) {
      return ScoreBytesOfDim<I, kTokenScales, 96>(query, documents, document_count, exit, scores);
    }
    if (dim == 64) {
      return ScoreBytesOfDim<I, kTokenScales, 64>(query, documents, document_count, exit, scores);
    }
    if (dim == 48) {
      return ScoreBytesOfDim<I, kTokenScales, 48>(query, documents, document_count, exit, scores);
    }
  }
  ScoreBytesOfDim<I, kTokenScales, 0>(query, documents, document_count, exit, scores);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_BYTES_H_
