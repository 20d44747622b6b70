// AVX-512 kernels (F, BW, VL, DQ, VNNI): a query and documents in, MaxSim scores out, int8
// bit-equal to scalar.cpp. Query tokens lie in lanes; each dim (f32) or 4 dims (int8) of a document
// token are broadcast to all lanes. Dot products and running maxima stay in registers until a
// document ends.
#include <immintrin.h>
#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"
#include "maxsim/kernels/rows.h"

namespace {

// 12 tokens x 2 blocks = 24 accumulators; with 2 query vectors, 1 broadcast and 2 maxima, 29 of 32
// zmm. VPDPBUSD and VFMADD have a latency of 4 or 5 and a rate of 1 or 2 a cycle: 12 chains keep
// them busy.
constexpr uint32_t kTile = 12;
constexpr uint32_t kSmallTile = 4;  // documents of 4 to 11 tokens; shorter ones go token by token
constexpr uint32_t kBlocksPerPass = 2;

// Accumulates through inline assembly because g++ 12, given the intrinsics, copies and spills the
// accumulators (37 % of the peak instead of over 90 %).
MAXSIM_INLINE void MultiplyAdd(__m512i& dot, __m512i document, __m512i query) {
#if defined(__GNUC__)
  __asm__("vpdpbusd %2, %1, %0" : "+v"(dot) : "v"(document), "v"(query));
#else
  dot = _mm512_dpbusd_epi32(dot, document, query);
#endif
}

MAXSIM_INLINE void MultiplyAdd(__m512& dot, __m512 document, __m512 query) {
#if defined(__GNUC__)
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(dot) : "v"(document), "v"(query));
#else
  dot = _mm512_fmadd_ps(document, query, dot);
#endif
}

// The same with the value read by the instruction itself: a value used once is broadcast for
// nothing, where VBROADCASTSS costs a third of the speed on Zen 4. (VPDPBUSD broadcasts only signed
// operands.)
MAXSIM_INLINE void MultiplyAddFrom(__m512& dot, const uint8_t* document, __m512 query) {
#if defined(__GNUC__)
  typedef float Unaligned __attribute__((aligned(1), may_alias));
  __asm__("vfmadd231ps %2%{1to16%}, %1, %0"
          : "+v"(dot)
          : "v"(query), "m"(*(const Unaligned*)document));
#else
  dot = _mm512_fmadd_ps(_mm512_set1_ps(ReadFloat(document)), query, dot);
#endif
}

// Maxima over all rows for kBlocks blocks of query tokens. 1024 dims * 255 * 127 < 2^25: no
// overflow, and VPDPBUSD does not saturate.
template <uint32_t kTokens, uint32_t kBlocks>
void PassInt8(const int8_t* query, const int32_t* bias, const Rows& rows,
              int32_t (*maxima)[kMaxsimLanes]) {
  const size_t dim = rows.row_bytes, block_bytes = dim * kMaxsimLanes;
  __m512i start[kBlocks], best[kBlocks];
  MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
    start[b] = _mm512_loadu_si512(bias + b * kMaxsimLanes);
    best[b] = _mm512_set1_epi32(INT_MIN);
  }
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    __m512i dot[kTokens][kBlocks];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) dot[t][b] = start[b];
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const int8_t* lanes = query;
    for (size_t d = 0; d < dim; d += 4) {
      Fetch(ahead);  // a line per step covers 16 rows of a tile of 12
      ahead += 64;
      __m512i q[kBlocks];
      MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
        q[b] = _mm512_load_si512(lanes + b * block_bytes);
      }
      lanes += 64;
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        const __m512i value = _mm512_set1_epi32(ReadInt32(row + t * dim));
        MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) MultiplyAdd(dot[t][b], value, q[b]);
      }
      row += 4;
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
        best[b] = _mm512_max_epi32(best[b], dot[t][b]);
      }
    }
  }
  MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) _mm512_storeu_si512(maxima[b], best[b]);
}

template <uint32_t kTokens, uint32_t kBlocks>
void PassF32(const float* query, const Rows& rows, float (*maxima)[kMaxsimLanes]) {
  const size_t dim = rows.row_bytes / sizeof(float), block_floats = dim * kMaxsimLanes;
  __m512 best[kBlocks];
  MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) best[b] = _mm512_set1_ps(-INFINITY);
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    __m512 dot[kTokens][kBlocks];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) dot[t][b] = _mm512_setzero_ps();
    }
    const uint8_t* row = walk.row;
    const uint8_t* ahead = walk.ahead;
    const float* lanes = query;
    for (size_t d = 0; d < dim; d += 4) {
      Fetch(ahead);  // three lines per 4 dims: the 12 rows of the next tile
      Fetch(ahead + 64);
      Fetch(ahead + 128);
      ahead += 192;
      for (int step = 0; step < 4; step++) {
        __m512 q[kBlocks];
        MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
          q[b] = _mm512_load_ps(lanes + b * block_floats);
        }
        lanes += kMaxsimLanes;
        MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
          const uint8_t* value = row + t * rows.row_bytes;
          if constexpr (kBlocks == 1) {
            MultiplyAddFrom(dot[t][0], value, q[0]);
          } else {
            const __m512 broadcast = _mm512_set1_ps(ReadFloat(value));
            MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
              MultiplyAdd(dot[t][b], broadcast, q[b]);
            }
          }
        }
        row += sizeof(float);
      }
    }
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) {
        best[b] = _mm512_max_ps(best[b], dot[t][b]);
      }
    }
  }
  MAXSIM_UNROLL for (uint32_t b = 0; b < kBlocks; b++) _mm512_storeu_ps(maxima[b], best[b]);
}

template <uint32_t kBlocks>
void BlocksInt8(const int8_t* query, const int32_t* bias, const Rows& rows,
                int32_t (*maxima)[kMaxsimLanes]) {
  if (rows.count >= kTile) {
    PassInt8<kTile, kBlocks>(query, bias, rows, maxima);
  } else if (rows.count >= kSmallTile) {
    PassInt8<kSmallTile, kBlocks>(query, bias, rows, maxima);
  } else {
    PassInt8<1, kBlocks>(query, bias, rows, maxima);
  }
}

template <uint32_t kBlocks>
void BlocksF32(const float* query, const Rows& rows, float (*maxima)[kMaxsimLanes]) {
  if (rows.count >= kTile) {
    PassF32<kTile, kBlocks>(query, rows, maxima);
  } else if (rows.count >= kSmallTile) {
    PassF32<kSmallTile, kBlocks>(query, rows, maxima);
  } else {
    PassF32<1, kBlocks>(query, rows, maxima);
  }
}

void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               float* scores) {
  const size_t row_bytes = query->padded_dim, block_values = row_bytes * kMaxsimLanes;
  for (size_t i = 0; i < document_count; i++) {
    alignas(64) int32_t maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block += kBlocksPerPass) {
      const uint32_t left = query->block_count - block;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, left <= kBlocksPerPass);
      const int8_t* tokens = query->tokens + block * block_values;
      const int32_t* bias = query->bias + block * kMaxsimLanes;
      if (left >= kBlocksPerPass) {
        BlocksInt8<kBlocksPerPass>(tokens, bias, rows, maxima + block);
      } else {
        BlocksInt8<1>(tokens, bias, rows, maxima + block);
      }
    }
    scores[i] = FoldMaxima(maxima, query->scale, query->block_count, query->document_scale);
  }
}

void ScoreF32(const MaxsimQueryF32* query, const MaxsimDocument* documents, size_t document_count,
              float* scores) {
  const size_t row_bytes = query->padded_dim * sizeof(float);
  const size_t block_values = (size_t)query->padded_dim * kMaxsimLanes;
  for (size_t i = 0; i < document_count; i++) {
    alignas(64) float maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block += kBlocksPerPass) {
      const uint32_t left = query->block_count - block;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, left <= kBlocksPerPass);
      const float* tokens = query->tokens + block * block_values;
      if (left >= kBlocksPerPass) {
        BlocksF32<kBlocksPerPass>(tokens, rows, maxima + block);
      } else {
        BlocksF32<1>(tokens, rows, maxima + block);
      }
    }
    scores[i] = FoldMaxima(maxima, query->weight, query->block_count, 1.f);
  }
}

}  // namespace

const MaxsimKernels kMaxsimAvx512 = {"avx512", ScoreInt8, ScoreF32};
