// The vectors of AVX-512 (F, BW, VL, DQ, VNNI), for vectors.h.
#ifndef MAXSIM_ENCODER_KERNELS_ZMM_H_
#define MAXSIM_ENCODER_KERNELS_ZMM_H_

#include <immintrin.h>

#include "encoder/kernel.h"
#include "encoder/kernels/inline.h"

namespace {

struct Zmm {
  typedef __m512 Float;
  typedef __m512i Int;

  static ENCODER_INLINE Float Load(const float* from) { return _mm512_loadu_ps(from); }
  static ENCODER_INLINE void Store(float* to, Float a) { _mm512_storeu_ps(to, a); }
  static ENCODER_INLINE Float Set(float value) { return _mm512_set1_ps(value); }
  static ENCODER_INLINE Float Zero() { return _mm512_setzero_ps(); }
  static ENCODER_INLINE Float Add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static ENCODER_INLINE Float Sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static ENCODER_INLINE Float Mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static ENCODER_INLINE Float Div(Float a, Float b) { return _mm512_div_ps(a, b); }
  static ENCODER_INLINE Float Fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static ENCODER_INLINE Float Min(Float a, Float b) { return _mm512_min_ps(a, b); }
  static ENCODER_INLINE Float Max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static ENCODER_INLINE Float Abs(Float a) { return _mm512_abs_ps(a); }
  static ENCODER_INLINE Float Round(Float a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static ENCODER_INLINE Float WithSign(Float magnitude, Float sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.f)));
  }
  static ENCODER_INLINE float Sum(Float a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static ENCODER_INLINE float SquareRoot(float a) {
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
  }
  static ENCODER_INLINE Float Scale(Float a, Float whole) { return _mm512_scalef_ps(a, whole); }

  static ENCODER_INLINE Int LoadInt(const int32_t* from) { return _mm512_loadu_si512(from); }
  static ENCODER_INLINE void StoreInt(int32_t* to, Int a) { _mm512_storeu_si512(to, a); }
  static ENCODER_INLINE Int SetInt(int32_t value) { return _mm512_set1_epi32(value); }
  static ENCODER_INLINE Float ToFloat(Int a) { return _mm512_cvtepi32_ps(a); }
  static ENCODER_INLINE Int ToInt(Float a) { return _mm512_cvtps_epi32(a); }
  static ENCODER_INLINE Int Add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static ENCODER_INLINE Int Sub(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  static ENCODER_INLINE Int MulInt(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
  static ENCODER_INLINE Int And(Int a, Int b) { return _mm512_and_si512(a, b); }
  static ENCODER_INLINE Int Or(Int a, Int b) { return _mm512_or_si512(a, b); }
  template <int kBits>
  static ENCODER_INLINE Int ShiftLeft(Int a) {
    return _mm512_slli_epi32(a, kBits);
  }
  template <int kBits>
  static ENCODER_INLINE Int ShiftRight(Int a) {
    return _mm512_srli_epi32(a, kBits);
  }
  static ENCODER_INLINE int32_t SumInt(Int a) { return _mm512_reduce_add_epi32(a); }
  static ENCODER_INLINE void StoreHalves(uint8_t* high, uint8_t* low, Int a, Int b) {
    const Int order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const Int both = _mm512_permutexvar_epi64(order, _mm512_packus_epi32(a, b));
    _mm256_storeu_si256((__m256i*)high, _mm512_cvtepi16_epi8(_mm512_srli_epi16(both, 8)));
    if (low) _mm256_storeu_si256((__m256i*)low, _mm512_cvtepi16_epi8(both));
  }
  static ENCODER_INLINE void StoreSigned(uint8_t* to, Int a) {
    _mm_storeu_si128((__m128i*)to,
                     _mm_xor_si128(_mm512_cvtsepi32_epi8(a), _mm_set1_epi8((char)0x80)));
  }
  static ENCODER_INLINE void StoreUnsigned(uint8_t* to, Int a) {
    _mm_storeu_si128((__m128i*)to,
                     _mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512())));
  }

  // Through inline assembly because g++ 12, given the intrinsics, copies and spills the
  // accumulators.
  static ENCODER_INLINE void AddProducts(Int& sum, Int a, Int b) {
#if defined(__GNUC__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
    sum = _mm512_dpbusd_epi32(sum, a, b);
#endif
  }
  static ENCODER_INLINE Int Broadcast(const uint8_t* bytes) {
#if defined(__GNUC__)
    typedef int32_t Unaligned __attribute__((aligned(1), may_alias));
    Int value;
    __asm__("vpbroadcastd %1, %0" : "=v"(value) : "m"(*(const Unaligned*)bytes));
    return value;
#else
    int32_t four;
    memcpy(&four, bytes, sizeof(four));
    return _mm512_set1_epi32(four);
#endif
  }

  template <uint32_t kRows>
  static ENCODER_INLINE void Step(Int (&sum)[kRows][2], const uint8_t* bytes, size_t stride,
                                  const int8_t* panel) {
    const Int low = _mm512_load_si512(panel), high = _mm512_load_si512(panel + 64);
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
      const Int four = Broadcast(bytes + r * stride);
      AddProducts(sum[r][0], four, low);
      AddProducts(sum[r][1], four, high);
    }
  }
  // 12 rows x 2 vectors = 24 accumulators, 2 of the panel and 1 broadcast: 27 of 32 zmm. `lines` of
  // what comes next are fetched on the way, and as many 64 KiB further on into the second cache:
  // that pays when weights come from memory.
  template <uint32_t kRows>
  static ENCODER_INLINE void Tile(const uint8_t* bytes, size_t stride, const int8_t* panel,
                                  uint32_t steps, const int32_t* weight_sums, const char* fetch,
                                  uint32_t lines, int32_t* sums) {
    Int sum[kRows][2];
    ENCODER_UNROLL for (int half = 0; half < 2; half++) {
      Int start = _mm512_setzero_si512();
      if (weight_sums) {
        const Int weights = LoadInt(weight_sums + half * kEncoderLanes);
        start = _mm512_sub_epi32(start, _mm512_slli_epi32(weights, 7));
      }
      ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) sum[r][half] = start;
    }
    constexpr ptrdiff_t kFar = 65536;
    uint32_t k = 0;
    if (lines > steps) {
      for (; k < steps; k++, bytes += 4, panel += 128, fetch += 128) {
        _mm_prefetch(fetch, _MM_HINT_T0);
        _mm_prefetch(fetch + 64, _MM_HINT_T0);
        _mm_prefetch(fetch + kFar, _MM_HINT_T1);
        _mm_prefetch(fetch + kFar + 64, _MM_HINT_T1);
        Step<kRows>(sum, bytes, stride, panel);
      }
    } else {
      for (; k < lines; k++, bytes += 4, panel += 128, fetch += 64) {
        _mm_prefetch(fetch, _MM_HINT_T0);
        _mm_prefetch(fetch + kFar, _MM_HINT_T1);
        Step<kRows>(sum, bytes, stride, panel);
      }
      for (; k < steps; k++, bytes += 4, panel += 128) Step<kRows>(sum, bytes, stride, panel);
    }
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
      StoreInt(sums + r * kEncoderPanel, sum[r][0]);
      StoreInt(sums + r * kEncoderPanel + kEncoderLanes, sum[r][1]);
    }
  }
  static ENCODER_NOINLINE void Dot(uint32_t rows, const uint8_t* bytes, size_t stride,
                                   const int8_t* panel, uint32_t steps, const int32_t* weight_sums,
                                   const char* fetch, uint32_t lines, int32_t* sums) {
#define MAXSIM_TILE(n) \
  case n:              \
    return Tile<n>(bytes, stride, panel, steps, weight_sums, fetch, lines, sums)
    switch (rows) {
      MAXSIM_TILE(1);
      MAXSIM_TILE(2);
      MAXSIM_TILE(3);
      MAXSIM_TILE(4);
      MAXSIM_TILE(5);
      MAXSIM_TILE(6);
      MAXSIM_TILE(7);
      MAXSIM_TILE(8);
      MAXSIM_TILE(9);
      MAXSIM_TILE(10);
      MAXSIM_TILE(11);
      MAXSIM_TILE(12);
      default:
        return;
    }
#undef MAXSIM_TILE
  }

  static ENCODER_INLINE void AddProduct(Float& sum, float a, Float b) {
#if defined(__GNUC__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(_mm512_set1_ps(a)), "v"(b));
#else
    sum = _mm512_fmadd_ps(_mm512_set1_ps(a), b, sum);
#endif
  }
  template <uint32_t kRows>
  static ENCODER_INLINE void TileFloats(const float* values, size_t stride, const float* weights,
                                        size_t weight_stride, uint32_t inputs, const float* bias,
                                        float* out, size_t out_stride) {
    Float sum[kRows][2];
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
      sum[r][0] = Load(bias);
      sum[r][1] = Load(bias + kEncoderLanes);
    }
    for (uint32_t i = 0; i < inputs; i++, weights += weight_stride) {
      const Float low = Load(weights), high = Load(weights + kEncoderLanes);
      ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
        AddProduct(sum[r][0], values[r * stride + i], low);
        AddProduct(sum[r][1], values[r * stride + i], high);
      }
    }
    ENCODER_UNROLL for (uint32_t r = 0; r < kRows; r++) {
      Store(out + r * out_stride, sum[r][0]);
      Store(out + r * out_stride + kEncoderLanes, sum[r][1]);
    }
  }
  static ENCODER_NOINLINE void DotFloats(uint32_t rows, const float* values, size_t stride,
                                         const float* weights, size_t weight_stride,
                                         uint32_t inputs, const float* bias, float* out,
                                         size_t out_stride) {
    for (; rows >= 6; rows -= 6, values += 6 * stride, out += 6 * out_stride) {
      TileFloats<6>(values, stride, weights, weight_stride, inputs, bias, out, out_stride);
    }
    for (; rows >= 2; rows -= 2, values += 2 * stride, out += 2 * out_stride) {
      TileFloats<2>(values, stride, weights, weight_stride, inputs, bias, out, out_stride);
    }
    if (rows > 0) {
      TileFloats<1>(values, stride, weights, weight_stride, inputs, bias, out, out_stride);
    }
  }
};

}  // namespace

#endif  // MAXSIM_ENCODER_KERNELS_ZMM_H_
