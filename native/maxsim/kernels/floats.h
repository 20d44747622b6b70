// f32, f16 and bf16, over the vectors of one instruction set. See passes.h.
#ifndef MAXSIM_MAXSIM_KERNELS_FLOATS_H_
#define MAXSIM_MAXSIM_KERNELS_FLOATS_H_

#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/documents.h"
#include "maxsim/kernels/rows.h"

namespace {

// Source says how rows are stored, which lanes of the query they are multiplied with, and how a
// tile becomes what I::DotFloats reads.
template <typename I, typename Source, size_t kDim>
struct FloatsPass {
  typedef typename I::Float Float;

  const MaxsimQueryF32* query;
  const MaxsimDocument& document;
  const void* upcoming;
  uint32_t block;
  float* maxima;

  template <uint32_t T, uint32_t B>
  void Run() const {
    constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
    const size_t dim = kDim != 0 ? kDim : query->padded_dim, row_bytes = dim * Source::kBytes;
    const auto* lanes = Source::Lanes(*query) + block * dim * kMaxsimLanes;
    const uint8_t* rows = (const uint8_t*)document.tokens;
    typename Source::template Tile<T> tile;
    Float best[V];
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::SetFloat(-INFINITY);
    for (TileWalk<T> walk(document.token_count); !walk.done; walk.Step()) {
      Float dot[T][V];
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = I::SetFloat(0.f);
      }
      FetchAhead<Source::kFetchLines> fetch{walk.AtLast() ? (const uint8_t*)upcoming
                                                          : rows + walk.Next() * row_bytes};
      const uint8_t* floats = tile.Read(rows + walk.token * row_bytes, dim);
      I::template DotFloats<T, V>(dot, floats, lanes, dim, fetch);
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) best[v] = I::Max(dot[t][v], best[v]);
      }
    }
    MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) I::Store(maxima + v * I::kLanes, best[v]);
  }
};

// kLines: cache lines of a tile per 4 dims.
template <uint32_t kLines>
struct F32Source {
  static constexpr size_t kBytes = 4;
  static constexpr uint32_t kFetchLines = kLines;
  static MAXSIM_INLINE const float* Lanes(const MaxsimQueryF32& query) { return query.tokens; }
  template <uint32_t T>
  struct Tile {
    MAXSIM_INLINE const uint8_t* Read(const uint8_t* rows, size_t /*dim*/) { return rows; }
  };
};

// 16-bit floats, converted into the first-level cache; `count` is a multiple of 4.
template <uint32_t kLines, void (*kConvert)(const uint8_t* values, size_t count, float* floats)>
struct HalfSource {
  static constexpr size_t kBytes = 2;
  static constexpr uint32_t kFetchLines = kLines;
  static MAXSIM_INLINE const float* Lanes(const MaxsimQueryF32& query) { return query.tokens; }
  template <uint32_t T>
  struct Tile {
    alignas(64) float floats[T * kMaxPaddedDim];
    MAXSIM_INLINE const uint8_t* Read(const uint8_t* rows, size_t dim) {
      kConvert(rows, T * dim, floats);
      return (const uint8_t*)floats;
    }
  };
};

template <typename I, typename Source, size_t kDim>
void ScoreFloatsOfDim(const MaxsimQueryF32* query, const MaxsimDocument* documents,
                      size_t document_count, MaxsimExit* exit, float* scores) {
  ForDocuments<I::kPassBlocks, float>(
      query, documents, document_count, exit, scores,
      [query](const MaxsimDocument& document, const MaxsimDocument& upcoming, uint32_t block,
              uint32_t blocks, float(*maxima)[kMaxsimLanes]) {
        WithTile<I, I::kTile, I::kTile>(
            document.token_count, blocks,
            FloatsPass<I, Source, kDim>{query, document, upcoming.tokens, block, maxima[0]});
      });
}

template <typename I, typename Source>
void ScoreFloats(const MaxsimQueryF32* query, const MaxsimDocument* documents,
                 size_t document_count, MaxsimExit* exit, float* scores) {
  if constexpr (I::kSpecialDims) {
    const uint32_t dim = query->padded_dim;
    if (dim == 128) {
      return ScoreFloatsOfDim<I, Source, 128>(query, documents, document_count, exit, scores);
    }
    if (dim == 96) {
      return ScoreFloatsOfDim<I, Source, 96>(query, documents, document_count, exit, scores);
    }
    if (dim == 64) {
      return ScoreFloatsOfDim<I, Source, 64>(query, documents, document_count, exit, scores);
    }
    if (dim == 48) {
      return ScoreFloatsOfDim<I, Source, 48>(query, documents, document_count, exit, scores);
    }
  }
  ScoreFloatsOfDim<I, Source, 0>(query, documents, document_count, exit, scores);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_FLOATS_H_
