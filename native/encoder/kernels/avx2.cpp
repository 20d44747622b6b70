// AVX2 kernels (with FMA). VPMADDUBSW would saturate with 8-bit activations; bytes are widened
// instead, so that products are exact.
#include "encoder/kernels/table.h"
#include "encoder/kernels/ymm.h"

namespace {

struct Widened {
  static constexpr uint32_t kTile = 2;  // 4 accumulators, 4 of the panel, 2 of a row, 2 products
  struct Halves {
    __m256i even, odd;
  };
  typedef Halves Weights;
  typedef Halves Activations;
  static ENCODER_INLINE Weights Prepare(__m256i weights) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8), _mm256_srai_epi16(weights, 8)};
  }
  static ENCODER_INLINE Activations Spread(__m256i bytes) {
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
  }
  static ENCODER_INLINE void Accumulate(__m256i& sum, Activations bytes, Weights weights) {
    sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(bytes.even, weights.even),
                                                 _mm256_madd_epi16(bytes.odd, weights.odd)));
  }
};

}  // namespace

const EncoderKernels kEncoderAvx2 = KernelsOf<Ymm<Widened>>("avx2");
