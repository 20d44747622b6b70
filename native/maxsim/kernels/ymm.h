// The vectors of AVX2 (with FMA and F16C), for passes.h. Included as static code by avx2.cpp and
// avxvnni.cpp, which differ in how they multiply integers.
#ifndef MAXSIM_MAXSIM_KERNELS_YMM_H_
#define MAXSIM_MAXSIM_KERNELS_YMM_H_

#include <immintrin.h>

#include "maxsim/kernels/expand.h"
#include "maxsim/kernels/rows.h"

namespace {

// Adds to every int32 lane of `dot` the products of its 4 unsigned document and 4 signed query
// bytes. Which one is a template argument, so that it is inlined.
typedef void (*Accumulate)(__m256i& dot, __m256i document, __m256i query);

template <Accumulate kMultiplyAdd>
struct Ymm {
  typedef __m256i Int;
  typedef __m256 Float;
  typedef __m256i Bytes;
  typedef FetchAhead<1, 2> FetchBytes;  // a line per 8 dims covers 8 rows of a tile of 6

  // 6 tokens x 2 vectors = 12 accumulators, which with 2 query vectors and 1 broadcast are 15 of 16
  // registers, and hide the latency of VFMADD and VPDPBUSD (4 or 5 cycles, two a cycle).
  static constexpr uint32_t kLanes = 8, kPassBlocks = 1, kTile = 6, kSmallTile = 1;
  static constexpr uint32_t kResidualTile = kTile, kResidualOneBlockTile = kTile;
  static constexpr bool kSpecialDims = ::kSpecialDims;
  static constexpr size_t kStepDims = 4;
  template <size_t kDim>
  static constexpr size_t kTailDims = 0;

  struct Lanes {
    const int8_t* bytes;
    MAXSIM_INLINE Lanes(const int8_t* tokens, size_t /*dim*/) : bytes(tokens) {}
  };

  static MAXSIM_INLINE Int LoadInt(const int32_t* values) {
    return _mm256_loadu_si256((const __m256i*)values);
  }
  static MAXSIM_INLINE Int LoadInt16(const int16_t* values) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)values));
  }
  static MAXSIM_INLINE Int SetInt(int32_t value) { return _mm256_set1_epi32(value); }
  static MAXSIM_INLINE Float SetFloat(float value) { return _mm256_set1_ps(value); }
  static MAXSIM_INLINE Float BroadcastFloat(const uint8_t* bytes) {
    return SetFloat(ReadFloat(bytes));
  }
  static MAXSIM_INLINE Float ToFloat(Int value) { return _mm256_cvtepi32_ps(value); }
  static MAXSIM_INLINE Int FromUnsigned(Int start, Int /*bias*/) { return start; }
  static MAXSIM_INLINE Int Add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static MAXSIM_INLINE Int ShiftLeft(Int value, Int count) {
    return _mm256_sllv_epi32(value, count);
  }
  static MAXSIM_INLINE Int ShiftRight(Int value, Int count) {
    return _mm256_srav_epi32(value, count);
  }
  static MAXSIM_INLINE Int Max(Int a, Int b) { return _mm256_max_epi32(a, b); }
  static MAXSIM_INLINE Float Max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static MAXSIM_INLINE Float Multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static MAXSIM_INLINE void Store(int32_t* to, Int value) {
    _mm256_storeu_si256((__m256i*)to, value);
  }
  static MAXSIM_INLINE void Store(float* to, Float value) { _mm256_storeu_ps(to, value); }
  static MAXSIM_INLINE void StoreInt16(int16_t* to, Int value) {
    _mm_storeu_si128((__m128i*)to, _mm_packs_epi32(_mm256_castsi256_si128(value),
                                                   _mm256_extracti128_si256(value, 1)));
  }
  static MAXSIM_INLINE void TakeLarger(Int& largest, Int& row_of, Int value, Int row) {
    const Int larger = _mm256_cmpgt_epi32(value, largest);
    largest = _mm256_max_epi32(largest, value);
    row_of = _mm256_blendv_epi8(row_of, row, larger);
  }

  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void Dot(Int (&dot)[T][V], const uint8_t* rows, size_t stride,
                                const Lanes& query, size_t /*dim*/, size_t begin, size_t end,
                                Hook& hook) {
    const int8_t* lanes = query.bytes + begin * kMaxsimLanes;
    const uint8_t* row = rows + begin;
    for (size_t d = begin; d < end; d += 4) {
      hook();
      Int q[V];
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        q[v] = _mm256_load_si256((const __m256i*)(lanes + v * 32));
      }
      lanes += 64;
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        const Int value = _mm256_set1_epi32(ReadInt32(row + t * stride));
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) kMultiplyAdd(dot[t][v], value, q[v]);
      }
      row += 4;
    }
  }

  // Through inline assembly because g++ 12 -O3, given the intrinsic, spills accumulators (65 % of
  // the peak instead of 95 %).
  static MAXSIM_INLINE void MultiplyAdd(Float& dot, Float document, Float query) {
#if defined(__GNUC__)
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(dot) : "x"(document), "x"(query));
#else
    dot = _mm256_fmadd_ps(document, query, dot);
#endif
  }

  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void DotFloats(Float (&dot)[T][V], const uint8_t* rows, const float* lanes,
                                      size_t dim, Hook& hook) {
    const size_t stride = dim * sizeof(float);
    for (size_t d = 0; d < dim; d += 4) {
      hook();
      for (int step = 0; step < 4; step++) {
        Float q[V];
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) q[v] = _mm256_load_ps(lanes + v * kLanes);
        lanes += kMaxsimLanes;
        MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
          const Float value = _mm256_set1_ps(ReadFloat(rows + t * stride));
          MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) MultiplyAdd(dot[t][v], value, q[v]);
        }
        rows += sizeof(float);
      }
    }
  }

  static MAXSIM_INLINE Bytes LoadBytes(const uint8_t (&values)[16]) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)values));
  }

  template <uint32_t kBits>
  static MAXSIM_INLINE void Expand(Bytes weights, const uint8_t* codes, size_t code_bytes,
                                   uint8_t* row) {
    ExpandCodes<kBits>(weights, codes, code_bytes, row);
  }

  // Reads 8 halves: the ids follow, and kMaxsimResidualSlack.
  template <uint32_t T>
  static MAXSIM_INLINE void FactorsOf(const uint8_t* halves, float (&factors)[16]) {
    static_assert(T <= 8, "one load");
    _mm256_store_ps(factors, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)halves)));
  }

  static MAXSIM_INLINE void FromHalves(const uint8_t* values, size_t count, float* floats) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
      _mm256_store_ps(floats + i,
                      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(values + i * 2))));
    }
    if (i < count) {
      _mm_store_ps(floats + i, _mm_cvtph_ps(_mm_loadl_epi64((const __m128i*)(values + i * 2))));
    }
  }
  static MAXSIM_INLINE void FromBfloat16s(const uint8_t* values, size_t count, float* floats) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
      const __m128i packed = _mm_loadu_si128((const __m128i*)(values + i * 2));
      _mm256_store_si256((__m256i*)(floats + i),
                         _mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
    }
    if (i < count) {
      const __m128i packed = _mm_loadl_epi64((const __m128i*)(values + i * 2));
      _mm_store_si128((__m128i*)(floats + i), _mm_slli_epi32(_mm_cvtepu16_epi32(packed), 16));
    }
  }
};

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_YMM_H_
