// The expansion of residual codes, by AVX2. Included as static code by ymm.h and zmm.h.
#ifndef MAXSIM_MAXSIM_KERNELS_EXPAND_H_
#define MAXSIM_MAXSIM_KERNELS_EXPAND_H_

#include <immintrin.h>

#include "maxsim/kernels/rows.h"

namespace {

// One token's codes to bytes, plane after plane (kernel.h). Reads and writes whole vectors: the
// next plane overwrites what one has written too much.
template <uint32_t kBits>
MAXSIM_INLINE void ExpandCodes(__m256i weights, const uint8_t* codes, size_t code_bytes,
                               uint8_t* row) {
  const __m256i mask = _mm256_set1_epi8((1 << kBits) - 1);
  MAXSIM_UNROLL for (uint32_t plane = 0; plane < 8 / kBits; plane++) {
    uint8_t* to = row + plane * code_bytes;
    size_t c = 0;
    for (; c + 32 <= code_bytes; c += 32) {
      const __m256i packed = _mm256_loadu_si256((const __m256i*)(codes + c));
      const __m256i code = _mm256_and_si256(_mm256_srli_epi16(packed, (int)(plane * kBits)), mask);
      _mm256_storeu_si256((__m256i*)(to + c), _mm256_shuffle_epi8(weights, code));
    }
    for (; c < code_bytes; c += 16) {
      const __m128i packed = _mm_loadu_si128((const __m128i*)(codes + c));
      const __m128i code =
          _mm_and_si128(_mm_srli_epi16(packed, (int)(plane * kBits)), _mm256_castsi256_si128(mask));
      _mm_storeu_si128((__m128i*)(to + c), _mm_shuffle_epi8(_mm256_castsi256_si128(weights), code));
    }
  }
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_EXPAND_H_
