// AVX2 + FMA kernels: a query and documents in, MaxSim scores out, int8 bit-equal to scalar.cpp.
// Query tokens lie in lanes (a block of 16 is two ymm); each dim (f32) or 4 dims (int8) of a
// document token are broadcast to all lanes. Dot products and running maxima stay in registers
// until a document ends.
#include <immintrin.h>
#include <limits.h>

#include "maxsim/kernel.h"
#include "maxsim/kernels/blocks.h"
#include "maxsim/kernels/ymm.h"

namespace {

// 7-bit queries: u8 x s8 pairs into int16, then int32. Exact for them only: 2 * 255 * 63 < 2^15, so
// VPMADDUBSW cannot saturate. 1024 dims * 255 * 63 < 2^24: nor can an int32 overflow.
MAXSIM_INLINE void AddSevenBit(__m256i& dot, __m256i document, __m256i query) {
  const __m256i pairs = _mm256_maddubs_epi16(document, query);
  dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// 8-bit queries: every value widened to int16 where it stands, even and odd dims apart, so that
// VPMADDWD of the even ones adds dims 0 and 2 of a lane and of the odd ones dims 1 and 3. Exact for
// all values: 2 * 255 * 127 fits int32, and 1024 dims * 255 * 127 < 2^25. The query is widened once
// per document (a few per cent of a long one), document tokens in registers (widening them to
// memory was no faster).
//
// A step needs even and odd dims of both query halves (4 ymm) and of the token (2) beside the
// accumulators, and temporaries. Its chains are additions of latency 1, so 6 of them suffice.
constexpr uint32_t kWideTile = 3;

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

void BlockInt8(const MaxsimQueryInt8* query, const int8_t* tokens, const int32_t* bias,
               const Rows& rows, int32_t* maxima) {
  if (query->bits > 7) {
    if (rows.count >= kWideTile) return PassEightBit<kWideTile>(tokens, bias, rows, maxima);
    return PassEightBit<1>(tokens, bias, rows, maxima);
  }
  if (rows.count >= kTile) return PassInt8<kTile, AddSevenBit>(tokens, bias, rows, maxima);
  PassInt8<1, AddSevenBit>(tokens, bias, rows, maxima);
}

}  // namespace

const MaxsimKernels kMaxsimAvx2 = {"avx2", ScoreInt8<BlockInt8>, ScoreF32<BlockF32>};
