// AVX2 + FMA kernels: a query and documents in, MaxSim scores out, int8 bit-equal to scalar.cpp.
// Query tokens lie in lanes (a block of 16 is two ymm); each dim (f32) or 4 dims (int8) of a
// document token are broadcast to all lanes. Dot products and running maxima stay in registers
// until a document ends.
#include <immintrin.h>
#include <limits.h>
#include <math.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/fold.h"
#include "maxsim/kernels/rows.h"

namespace {

constexpr int kHalves = 2;  // ymm per block
constexpr uint32_t kHalfLanes = kMaxsimLanes / kHalves;

// f32 and 7-bit: 6 tokens x 2 ymm = 12 accumulators, which with 2 query vectors and 1 broadcast are
// 15 of 16 registers, and hide the latency of VFMADD (4 or 5 cycles, two a cycle).
constexpr uint32_t kTile = 6;
// 8-bit: a step needs even and odd dims of both query halves (4 ymm) and of the token (2) beside
// the accumulators, and temporaries. Its chains are additions of latency 1, so 6 of them suffice.
constexpr uint32_t kWideTile = 3;

// Through inline assembly because g++ 12 -O3, given the intrinsic, spills accumulators (65 % of the
// peak instead of 95 %).
MAXSIM_INLINE void MultiplyAdd(__m256& dot, __m256 document, __m256 query) {
#if defined(__GNUC__)
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(dot) : "x"(document), "x"(query));
#else
  dot = _mm256_fmadd_ps(document, query, dot);
#endif
}

MAXSIM_INLINE __m256i ReadLanes(const int8_t* lanes, int half) {
  return _mm256_load_si256((const __m256i*)(lanes + half * 32));
}

// 7-bit queries: u8 x s8 pairs into int16, then int32. Exact for them only: 2 * 255 * 63 < 2^15, so
// VPMADDUBSW cannot saturate. 1024 dims * 255 * 63 < 2^24: nor can an int32 overflow.
template <uint32_t kTokens>
void PassSevenBit(const int8_t* query, const int32_t* bias, const Rows& rows, int32_t* maxima) {
  const size_t dim = rows.row_bytes;
  const __m256i ones = _mm256_set1_epi16(1);
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
        MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
          const __m256i pairs = _mm256_maddubs_epi16(value, q[h]);
          dot[t][h] = _mm256_add_epi32(dot[t][h], _mm256_madd_epi16(pairs, ones));
        }
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

// 8-bit queries: every value widened to int16 where it stands, even and odd dims apart, so that
// VPMADDWD of the even ones adds dims 0 and 2 of a lane and of the odd ones dims 1 and 3. Exact for
// all values: 2 * 255 * 127 fits int32, and 1024 dims * 255 * 127 < 2^25. The query is widened once
// per document (a few per cent of a long one), document tokens in registers (widening them to
// memory was no faster).

// One step of the widened query: [half][even, odd] ymm.
constexpr size_t kWideStepBytes = kHalves * 2 * 32;
constexpr size_t kMaxPaddedDim = 1024;

void WidenQuery(const int8_t* query, size_t dim, uint8_t* wide) {
  for (size_t d = 0; d < dim; d += 4) {
    for (int h = 0; h < kHalves; h++, wide += 64) {
      const __m256i value = ReadLanes(query, h);
      _mm256_store_si256((__m256i*)wide, _mm256_srai_epi16(_mm256_slli_epi16(value, 8), 8));
      _mm256_store_si256((__m256i*)(wide + 32), _mm256_srai_epi16(value, 8));
    }
    query += 64;
  }
}

template <uint32_t kTokens>
void PassEightBit(const int8_t* query, const int32_t* bias, const Rows& rows, int32_t* maxima) {
  const size_t dim = rows.row_bytes;
  alignas(64) uint8_t wide_query[kMaxPaddedDim / 4 * kWideStepBytes];
  WidenQuery(query, dim, wide_query);
  const __m256i low_bytes = _mm256_set1_epi16(0xff);
  __m256i start[kHalves], best[kHalves];
  MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
    start[h] = _mm256_loadu_si256((const __m256i*)(bias + h * kHalfLanes));
    best[h] = _mm256_set1_epi32(INT_MIN);
  }
  for (TileWalk<kTokens> walk(rows); !walk.done; walk.Step(rows)) {
    const uint8_t* row = walk.row;
    __m256i dot[kTokens][kHalves];
    MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
      MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) dot[t][h] = start[h];
    }
    const uint8_t* ahead = walk.ahead;
    const uint8_t* lanes = wide_query;
    for (size_t d = 0; d < dim; d += 4) {
      if ((d & 4) == 0) {  // a line per 8 dims covers 8 rows of the next tile
        Fetch(ahead);
        ahead += 64;
      }
      __m256i q[2 * kHalves];
      MAXSIM_UNROLL for (int h = 0; h < 2 * kHalves; h++) {
        q[h] = _mm256_load_si256((const __m256i*)(lanes + h * 32));
      }
      lanes += kWideStepBytes;
      MAXSIM_UNROLL for (uint32_t t = 0; t < kTokens; t++) {
        const __m256i value = _mm256_set1_epi32(ReadInt32(row + t * dim));
        const __m256i even = _mm256_and_si256(value, low_bytes);
        const __m256i odd = _mm256_srli_epi16(value, 8);
        MAXSIM_UNROLL for (int h = 0; h < kHalves; h++) {
          dot[t][h] = _mm256_add_epi32(dot[t][h], _mm256_madd_epi16(even, q[2 * h]));
          dot[t][h] = _mm256_add_epi32(dot[t][h], _mm256_madd_epi16(odd, q[2 * h + 1]));
        }
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

void BlockInt8(const MaxsimQueryInt8* query, const int8_t* tokens, const int32_t* bias,
               const Rows& rows, int32_t* maxima) {
  if (query->bits > 7) {
    if (rows.count >= kWideTile) return PassEightBit<kWideTile>(tokens, bias, rows, maxima);
    return PassEightBit<1>(tokens, bias, rows, maxima);
  }
  if (rows.count >= kTile) return PassSevenBit<kTile>(tokens, bias, rows, maxima);
  PassSevenBit<1>(tokens, bias, rows, maxima);
}

void BlockF32(const float* tokens, const Rows& rows, float* maxima) {
  if (rows.count >= kTile) return PassF32<kTile>(tokens, rows, maxima);
  PassF32<1>(tokens, rows, maxima);
}

void ScoreInt8(const MaxsimQueryInt8* query, const MaxsimDocument* documents, size_t document_count,
               float* scores) {
  const size_t row_bytes = query->padded_dim, block_values = row_bytes * kMaxsimLanes;
  for (size_t i = 0; i < document_count; i++) {
    alignas(64) int32_t maxima[kMaxBlocks][kMaxsimLanes];
    for (uint32_t block = 0; block < query->block_count; block++) {
      const bool last_pass = block + 1 == query->block_count;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, last_pass);
      BlockInt8(query, query->tokens + block * block_values, query->bias + block * kMaxsimLanes,
                rows, maxima[block]);
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
    for (uint32_t block = 0; block < query->block_count; block++) {
      const bool last_pass = block + 1 == query->block_count;
      const Rows rows = RowsOf(documents, document_count, i, row_bytes, last_pass);
      BlockF32(query->tokens + block * block_values, rows, maxima[block]);
    }
    scores[i] = FoldMaxima(maxima, query->weight, query->block_count, 1.f);
  }
}

}  // namespace

const MaxsimKernels kMaxsimAvx2 = {"avx2", ScoreInt8, ScoreF32};
