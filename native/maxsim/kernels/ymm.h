// What the kernel sets of 256-bit vectors share: a block of 16 query tokens is two ymm, and a pass
// walks the tiles of a document for one block. Included as static code by avx2.cpp and avxvnni.cpp,
// which differ in how they multiply integers.
#ifndef MAXSIM_MAXSIM_KERNELS_YMM_H_
#define MAXSIM_MAXSIM_KERNELS_YMM_H_

#include <immintrin.h>
#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/rows.h"

namespace {

constexpr int kHalves = 2;  // ymm per block
constexpr uint32_t kHalfLanes = kMaxsimLanes / kHalves;

// 6 tokens x 2 ymm = 12 accumulators, which with 2 query vectors and 1 broadcast are 15 of 16
// registers, and hide the latency of VFMADD and VPDPBUSD (4 or 5 cycles, two a cycle).
constexpr uint32_t kTile = 6;

MAXSIM_INLINE __m256i ReadLanes(const int8_t* lanes, int half) {
  return _mm256_load_si256((const __m256i*)(lanes + half * 32));
}

// Adds to every int32 lane of `dot` the products of its 4 unsigned document and 4 signed query
// bytes. Which one is a template argument, so that it is inlined.
typedef void (*Accumulate)(__m256i& dot, __m256i document, __m256i query);

// Maxima over all rows for one block of query tokens.
template <uint32_t kTokens, Accumulate kMultiplyAdd>
void PassInt8(const int8_t* query, const int32_t* bias, const Rows& rows, int32_t* maxima) {
  const size_t dim = rows.row_bytes;
  __m256i start[kHalves], best[kHalves];
  MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
    start[h] = _mm256_loadu_si256((const __m256i*)(bias + h * kHalfLanes));
    best[h] = _mm256_set1_epi32(INT_MIN);
  }
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    __m256i dot[kTokens][kHalves];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) dot[t][h] = start[h];
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const int8_t* lanes = query;
    for (size_t d = 0; d < dim; d += 4) {
      if ((d & 4) == 0) {  // a line per 8 dims covers 8 rows of the next tile
        Fetch(ahead);
        ahead += 64;
      }
      __m256i q[kHalves];
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) q[h] = ReadLanes(lanes, h);
      lanes += 64;
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        const __m256i value = _mm256_set1_epi32(ReadInt32(row + t * dim));
        MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) kMultiplyAdd(dot[t][h], value, q[h]);
      }
      row += 4;
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
        best[h] = _mm256_max_epi32(best[h], dot[t][h]);
      }
    }
  }
  MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
    _mm256_storeu_si256((__m256i*)(maxima + h * kHalfLanes), best[h]);
  }
}

// Through inline assembly because g++ 12 -O3, given the intrinsic, spills accumulators (65 % of the
// peak instead of 95 %).
MAXSIM_INLINE void MultiplyAdd(__m256& dot, __m256 document, __m256 query) {
#if defined(__GNUC__)
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(dot) : "x"(document), "x"(query));
#else
  dot = _mm256_fmadd_ps(document, query, dot);
#endif
}

template <uint32_t kTokens>
void PassF32(const float* query, const Rows& rows, float* maxima) {
  const size_t dim = rows.row_bytes / sizeof(float);
  __m256 best[kHalves];
  MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) best[h] = _mm256_set1_ps(-INFINITY);
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    __m256 dot[kTokens][kHalves];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) dot[t][h] = _mm256_setzero_ps();
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const float* lanes = query;
    for (size_t d = 0; d < dim; d += 4) {
      Fetch(ahead);  // two lines per 4 dims cover 8 rows of the next tile
      Fetch(ahead + 64);
      ahead += 128;
      for (int step = 0; step < 4; step++) {
        __m256 q[kHalves];
        MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) q[h] =
            _mm256_load_ps(lanes + h * kHalfLanes);
        lanes += kMaxsimLanes;
        MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
          const __m256 value = _mm256_set1_ps(ReadFloat(row + t * rows.row_bytes));
          MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) { MultiplyAdd(dot[t][h], value, q[h]); }
        }
        row += sizeof(float);
      }
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) best[h] = _mm256_max_ps(best[h], dot[t][h]);
    }
  }
  MAXSIM_UNROLL for (int h = 0; h < kHalves; h++)
      _mm256_storeu_ps(maxima + h * kHalfLanes, best[h]);
}

void BlockF32(const float* tokens, const Rows& rows, float* maxima) {
  if (rows.count >= kTile) return PassF32<kTile>(tokens, rows, maxima);
  PassF32<1>(tokens, rows, maxima);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_YMM_H_
