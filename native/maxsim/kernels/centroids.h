// Centroids: a query's table of them, and the nearest of some rows. See passes.h.
#ifndef MAXSIM_MAXSIM_KERNELS_CENTROIDS_H_
#define MAXSIM_MAXSIM_KERNELS_CENTROIDS_H_

#include <limits.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/rows.h"

namespace {

// T rows from `first` on of `ids`, or of all, copied together unless they lie so; past the end the
// last one again.
template <uint32_t T>
MAXSIM_INLINE const uint8_t* GatherRows(const uint8_t* rows, size_t dim, const uint32_t* ids,
                                        size_t first, size_t count, size_t (&chosen)[T],
                                        uint8_t* scratch) {
  for (uint32_t t = 0; t < T; t++) {
    const size_t i = first + t < count ? first + t : count - 1;
    chosen[t] = ids == nullptr ? i : ids[i];
  }
  if (ids == nullptr && first + T <= count) return rows + first * dim;
  for (uint32_t t = 0; t < T; t++) memcpy(scratch + t * dim, rows + chosen[t] * dim, dim);
  return scratch;
}

template <typename I, uint32_t B, size_t kDim>
void FillTablePass(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                   const uint32_t* ids, size_t count, uint32_t block) {
  constexpr uint32_t T = I::kTile, V = B * kMaxsimLanes / I::kLanes;
  typedef typename I::Int Int;
  const size_t dim = kDim != 0 ? kDim : query->padded_dim;
  const typename I::Lanes lanes(query->tokens + block * dim * kMaxsimLanes, dim);
  alignas(64) uint8_t scratch[T * kMaxPaddedDim];
  Int start[V], offset[V];
  const Int half = I::SetInt((int32_t)(1u << centroids->table_shift >> 1));
  const Int up = I::SetInt((int32_t)centroids->centroid_shift);
  const Int down = I::SetInt((int32_t)centroids->table_shift);
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    const Int bias = I::LoadInt(query->bias + block * kMaxsimLanes + v * I::kLanes);
    start[v] = I::FromUnsigned(bias, bias);
    offset[v] = I::Add(bias, half);
  }
  for (size_t first = 0; first < count; first += T) {
    size_t chosen[T];
    const uint8_t* rows = GatherRows<T>(centroids->rows, dim, ids, first, count, chosen, scratch);
    if (ids != nullptr) {
      for (uint32_t t = 0; t < T && first + T + t < count; t++) {
        const uint8_t* upcoming = centroids->rows + ids[first + T + t] * dim;
        for (size_t d = 0; d < dim; d += 64) Fetch(upcoming + d);
      }
    }
    Int dot[T][V];
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = start[v];
    }
    FetchNothing nothing;
    I::template Dot<T, V>(dot, rows, dim, lanes, dim, 0, dim, nothing);
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      int16_t* row = centroids->table + (chosen[t] * query->block_count + block) * kMaxsimLanes;
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        const Int exact = I::Add(I::ShiftLeft(dot[t][v], up), offset[v]);
        I::StoreInt16(row + v * I::kLanes, I::ShiftRight(exact, down));
      }
    }
  }
}

template <typename I, size_t kDim>
void FillTableOfDim(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids,
                    const uint32_t* ids, size_t count) {
  for (uint32_t block = 0; block < query->block_count;) {
    if (query->block_count - block >= I::kPassBlocks) {
      FillTablePass<I, I::kPassBlocks, kDim>(query, centroids, ids, count, block);
      block += I::kPassBlocks;
    } else {
      FillTablePass<I, 1, kDim>(query, centroids, ids, count, block);
      block++;
    }
  }
}

template <typename I>
void FillTable(const MaxsimQueryInt8* query, const MaxsimCentroids* centroids, const uint32_t* ids,
               size_t count) {
  if constexpr (I::kSpecialDims) {
    if (query->padded_dim == 128) return FillTableOfDim<I, 128>(query, centroids, ids, count);
    if (query->padded_dim == 96) return FillTableOfDim<I, 96>(query, centroids, ids, count);
  }
  FillTableOfDim<I, 0>(query, centroids, ids, count);
}

template <typename I, uint32_t T, uint32_t B, size_t kDim>
void NearestPass(const int8_t* tokens, const MaxsimRows* rows, uint32_t* best, int32_t* maxima) {
  constexpr uint32_t V = B * kMaxsimLanes / I::kLanes;
  typedef typename I::Int Int;
  const size_t dim = kDim != 0 ? kDim : rows->padded_dim;
  const typename I::Lanes lanes(tokens, dim);
  Int largest[V], row_of[V];
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    largest[v] = I::SetInt(INT_MIN);
    row_of[v] = I::SetInt(0);
  }
  // The last tile meets some rows a second time: none is larger than itself.
  for (TileWalk<T> walk((uint32_t)rows->count); !walk.done; walk.Step()) {
    Int dot[T][V];
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      const Int term = I::SetInt(rows->terms[walk.token + t]);
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) dot[t][v] = term;
    }
    FetchNothing nothing;
    I::template Dot<T, V>(dot, rows->rows + (size_t)walk.token * dim, dim, lanes, dim, 0, dim,
                          nothing);
    MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
      const Int row = I::SetInt((int32_t)(walk.token + t));
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        I::TakeLarger(largest[v], row_of[v], dot[t][v], row);
      }
    }
  }
  MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
    I::Store((int32_t*)best + v * I::kLanes, row_of[v]);
    if (maxima != nullptr) I::Store(maxima + v * I::kLanes, largest[v]);
  }
}

template <typename I, size_t kDim>
void NearestOfDim(const int8_t* tokens, size_t block_count, const MaxsimRows* rows, uint32_t* best,
                  int32_t* maxima) {
  const size_t block_bytes = rows->padded_dim * (size_t)kMaxsimLanes;
  for (size_t block = 0; block < block_count;) {
    const int8_t* first = tokens + block * block_bytes;
    uint32_t* out = best + block * kMaxsimLanes;
    int32_t* values = maxima == nullptr ? nullptr : maxima + block * kMaxsimLanes;
    const bool pass = I::kPassBlocks > 1 && block_count - block >= I::kPassBlocks;
    if (rows->count < I::kTile) {
      NearestPass<I, 1, 1, kDim>(first, rows, out, values);
    } else if (pass) {
      NearestPass<I, I::kTile, I::kPassBlocks, kDim>(first, rows, out, values);
    } else {
      NearestPass<I, I::kTile, 1, kDim>(first, rows, out, values);
    }
    block += pass && rows->count >= I::kTile ? I::kPassBlocks : 1;
  }
}

template <typename I>
void Nearest(const int8_t* tokens, size_t block_count, const MaxsimRows* rows, uint32_t* best,
             int32_t* maxima) {
  if constexpr (I::kSpecialDims) {
    if (rows->padded_dim == 128)
      return NearestOfDim<I, 128>(tokens, block_count, rows, best, maxima);
    if (rows->padded_dim == 96) return NearestOfDim<I, 96>(tokens, block_count, rows, best, maxima);
  }
  NearestOfDim<I, 0>(tokens, block_count, rows, best, maxima);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_CENTROIDS_H_
