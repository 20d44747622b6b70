// The vectors of AVX2 (with FMA), for vectors.h: 16 lanes are two of them. Included as static code
// by avx2.cpp and avxvnni.cpp, which differ in how they multiply bytes.
#ifndef MAXSIM_ENCODER_KERNELS_YMM_H_
#define MAXSIM_ENCODER_KERNELS_YMM_H_

#include <immintrin.h>
#include <string.h>

#include "encoder/kernel.h"
#include "encoder/kernels/inline.h"

namespace {

// P: { Weights, Prepare(__m256i) -> Weights, Activations, Spread(__m256i) -> Activations,
// Accumulate(sum, Activations, Weights) }.
template <typename P>
struct Ymm {
  struct Float {
    __m256 low, high;
  };
  struct Int {
    __m256i low, high;
  };

#define MAXSIM_FLOATS(name, op)                        \
  static ENCODER_INLINE Float name(Float a, Float b) { \
    return {op(a.low, b.low), op(a.high, b.high)};     \
  }
#define MAXSIM_INTS(name, op) \
  static ENCODER_INLINE Int name(Int a, Int b) { return {op(a.low, b.low), op(a.high, b.high)}; }
  MAXSIM_FLOATS(Add, _mm256_add_ps)
  MAXSIM_FLOATS(Sub, _mm256_sub_ps)
  MAXSIM_FLOATS(Mul, _mm256_mul_ps)
  MAXSIM_FLOATS(Div, _mm256_div_ps)
  MAXSIM_FLOATS(Min, _mm256_min_ps)
  MAXSIM_FLOATS(Max, _mm256_max_ps)
  MAXSIM_INTS(Add, _mm256_add_epi32)
  MAXSIM_INTS(Sub, _mm256_sub_epi32)
  MAXSIM_INTS(MulInt, _mm256_mullo_epi32)
  MAXSIM_INTS(And, _mm256_and_si256)
  MAXSIM_INTS(Or, _mm256_or_si256)
#undef MAXSIM_FLOATS
#undef MAXSIM_INTS

  static ENCODER_INLINE Float Load(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  static ENCODER_INLINE void Store(float* to, Float a) {
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
  }
  static ENCODER_INLINE Float Set(float value) {
    return {_mm256_set1_ps(value), _mm256_set1_ps(value)};
  }
  static ENCODER_INLINE Float Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static ENCODER_INLINE Float Fma(Float a, Float b, Float c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static ENCODER_INLINE Float Abs(Float a) {
    const __m256 sign = _mm256_set1_ps(-0.f);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
  }
  static ENCODER_INLINE Float Round(Float a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, kNearest), _mm256_round_ps(a.high, kNearest)};
  }
  static ENCODER_INLINE Float WithSign(Float magnitude, Float sign) {
    const __m256 bit = _mm256_set1_ps(-0.f);
    return {_mm256_or_ps(magnitude.low, _mm256_and_ps(sign.low, bit)),
            _mm256_or_ps(magnitude.high, _mm256_and_ps(sign.high, bit))};
  }
  static ENCODER_INLINE float Sum(Float a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static ENCODER_INLINE float SquareRoot(float a) {
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
  }
  static ENCODER_INLINE __m256 Power(__m256 whole) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static ENCODER_INLINE Float Scale(Float a, Float whole) {
    return Mul(a, {Power(whole.low), Power(whole.high)});
  }

  static ENCODER_INLINE Int LoadInt(const int32_t* from) {
    return {_mm256_loadu_si256((const __m256i*)from), _mm256_loadu_si256((const __m256i*)from + 1)};
  }
  static ENCODER_INLINE void StoreInt(int32_t* to, Int a) {
    _mm256_storeu_si256((__m256i*)to, a.low);
    _mm256_storeu_si256((__m256i*)to + 1, a.high);
  }
  static ENCODER_INLINE Int SetInt(int32_t value) {
    return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)};
  }
  static ENCODER_INLINE Float ToFloat(Int a) {
    return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
  }
  static ENCODER_INLINE Int ToInt(Float a) {
    return {_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
  }
  template <int kBits>
  static ENCODER_INLINE Int ShiftLeft(Int a) {
    return {_mm256_slli_epi32(a.low, kBits), _mm256_slli_epi32(a.high, kBits)};
  }
  template <int kBits>
  static ENCODER_INLINE Int ShiftRight(Int a) {
    return {_mm256_srli_epi32(a.low, kBits), _mm256_srli_epi32(a.high, kBits)};
  }
  static ENCODER_INLINE int32_t SumInt(Int a) {
    const __m256i eight = _mm256_add_epi32(a.low, a.high);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  // 16 int16 in lane order.
  static ENCODER_INLINE __m256i Halves(Int a) {
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a.low, a.high), 0xd8);
  }
  static ENCODER_INLINE void StoreHalves(uint8_t* high, uint8_t* low, Int a, Int b) {
    StoreUnsigned(high, ShiftRight<8>(a));
    StoreUnsigned(high + kEncoderLanes, ShiftRight<8>(b));
    if (low == nullptr) return;
    StoreUnsigned(low, And(a, SetInt(255)));
    StoreUnsigned(low + kEncoderLanes, And(b, SetInt(255)));
  }
  static ENCODER_INLINE void StoreSigned(uint8_t* to, Int a) {
    const __m256i halves = Halves(a);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storeu_si128((__m128i*)to, _mm_xor_si128(bytes, _mm_set1_epi8((char)0x80)));
  }
  static ENCODER_INLINE void StoreUnsigned(uint8_t* to, Int a) {
    const __m256i halves = Halves(a);
    _mm_storeu_si128((__m128i*)to, _mm_packus_epi16(_mm256_castsi256_si128(halves),
                                                    _mm256_extracti128_si256(halves, 1)));
  }
  static ENCODER_INLINE void AddProducts(Int& sum, Int a, Int b) {
    P::Accumulate(sum.low, P::Spread(a.low), P::Prepare(b.low));
    P::Accumulate(sum.high, P::Spread(a.high), P::Prepare(b.high));
  }

  // kRows x 2 vectors, half a panel: twice kRows accumulators, and what P makes of 2 vectors of
  // weights and 1 of bytes.
  template <uint32_t kRows>
  static ENCODER_INLINE void Tile(const uint8_t* bytes, size_t stride, const int8_t* panel,
                                  uint32_t steps, const int32_t* weight_sums, int32_t* sums) {
    __m256i sum[kRows][2];
    ENCODER_UNROLL for (int half = 0; half < 2; half++) {
      __m256i start = _mm256_setzero_si256();
      if (weight_sums) {
        const __m256i weights = _mm256_loadu_si256((const __m256i*)(weight_sums + 8 * half));
        start = _mm256_sub_epi32(start, _mm256_slli_epi32(weights, 7));
      }
      ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) sum[r][half] = start;
    }
    for (uint32_t k = 0; k < steps; k++, bytes += 4, panel += 128) {
      const typename P::Weights low = P::Prepare(_mm256_load_si256((const __m256i*)panel));
      const typename P::Weights high = P::Prepare(_mm256_load_si256((const __m256i*)panel + 1));
      ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
        int32_t four;
        memcpy(&four, bytes + r * stride, sizeof(four));
        const typename P::Activations value = P::Spread(_mm256_set1_epi32(four));
        P::Accumulate(sum[r][0], value, low);
        P::Accumulate(sum[r][1], value, high);
      }
    }
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
      StoreInt(sums + r * kEncoderPanel, {sum[r][0], sum[r][1]});
    }
  }
  static ENCODER_NOINLINE void Dot(uint32_t rows, const uint8_t* bytes, size_t stride,
                                   const int8_t* panel, uint32_t steps, const int32_t* weight_sums,
                                   const char* /*fetch*/, uint32_t /*lines*/, int32_t* sums) {
    for (uint32_t half = 0; half < 2; half++) {
      const int8_t* weights = panel + 64 * half;
      const int32_t* of_half = weight_sums ? weight_sums + kEncoderLanes * half : nullptr;
      int32_t* to = sums + kEncoderLanes * half;
      const uint8_t* from = bytes;
      uint32_t left = rows;
      for (; left >= P::kTile; left -= P::kTile) {
        Tile<P::kTile>(from, stride, weights, steps, of_half, to);
        from += P::kTile * stride;
        to += P::kTile * kEncoderPanel;
      }
      for (; left > 0; left--, from += stride, to += kEncoderPanel) {
        Tile<1>(from, stride, weights, steps, of_half, to);
      }
    }
  }

  template <uint32_t kRows>
  static ENCODER_INLINE void TileFloats(const float* values, size_t stride, const float* weights,
                                        size_t weight_stride, uint32_t inputs, const float* bias,
                                        float* out, size_t out_stride) {
    Float sum[kRows];
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) sum[r] = Load(bias);
    for (uint32_t i = 0; i < inputs; i++, weights += weight_stride) {
      const Float weight = Load(weights);
      ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
        sum[r] = Fma(Set(values[r * stride + i]), weight, sum[r]);
      }
    }
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) Store(out + r * out_stride, sum[r]);
  }
  static ENCODER_NOINLINE void DotFloats(uint32_t rows, const float* values, size_t stride,
                                         const float* weights, size_t weight_stride,
                                         uint32_t inputs, const float* bias, float* out,
                                         size_t out_stride) {
    for (uint32_t half = 0; half < kEncoderPanel; half += kEncoderLanes) {
      const float* from = values;
      float* to = out + half;
      uint32_t left = rows;
      for (; left >= 4; left -= 4, from += 4 * stride, to += 4 * out_stride) {
        TileFloats<4>(from, stride, weights + half, weight_stride, inputs, bias + half, to,
                      out_stride);
      }
      for (; left > 0; left--, from += stride, to += out_stride) {
        TileFloats<1>(from, stride, weights + half, weight_stride, inputs, bias + half, to,
                      out_stride);
      }
    }
  }
};

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_YMM_H_
