// The vectors of AVX-512 (F, BW, VL, DQ), for passes.h. Included as static code by avx512.cpp and
// avx512bf16.cpp.
#ifndef MAXSIM_MAXSIM_KERNELS_ZMM_H_
#define MAXSIM_MAXSIM_KERNELS_ZMM_H_

#include <immintrin.h>

#include "maxsim/kernels/rows.h"

namespace {

struct Zmm {
  typedef __m512i Int;
  typedef __m512 Float;
  typedef __m256i Bytes;
  typedef FetchAhead<1> FetchBytes;  // a line per 4 dims covers 16 rows of a tile of 12

  // 12 tokens x 2 blocks = 24 accumulators; with 2 query vectors, 1 broadcast and 2 maxima, 29 of 32
  // zmm. VPDPBUSD and VFMADD have a latency of 4 or 5 and a rate of 1 or 2 a cycle: 12 chains keep
  // them busy.
  static constexpr uint32_t kLanes = 16, kPassBlocks = 2, kTile = 12, kSmallTile = 4;
  // With 24 accumulators, expansion among the products spills some; 12 chains suffice.
  static constexpr uint32_t kResidualTile = 6;
  static constexpr size_t kStepDims = 4;

  struct Lanes {
    const int8_t* bytes;
    MAXSIM_INLINE Lanes(const int8_t* tokens, size_t /*dim*/) : bytes(tokens) {}
  };

  static MAXSIM_INLINE Int LoadInt(const int32_t* values) { return _mm512_loadu_si512(values); }
  static MAXSIM_INLINE Int LoadInt16(const int16_t* values) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)values));
  }
  static MAXSIM_INLINE Int SetInt(int32_t value) { return _mm512_set1_epi32(value); }
  static MAXSIM_INLINE Float SetFloat(float value) { return _mm512_set1_ps(value); }
  static MAXSIM_INLINE Float ToFloat(Int value) { return _mm512_cvtepi32_ps(value); }
  static MAXSIM_INLINE Int FromUnsigned(Int start, Int /*bias*/) { return start; }
  static MAXSIM_INLINE Int Add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  // Lane by lane: VPSLLD by a scalar takes the place of a VPDPBUSD on Zen 4, VPSLLVD does not.
  static MAXSIM_INLINE Int ShiftLeft(Int value, Int count) {
    return _mm512_sllv_epi32(value, count);
  }
  static MAXSIM_INLINE Int ShiftRight(Int value, Int count) {
    return _mm512_srav_epi32(value, count);
  }
  static MAXSIM_INLINE Int Max(Int a, Int b) { return _mm512_max_epi32(a, b); }
  static MAXSIM_INLINE Float Max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static MAXSIM_INLINE Float Multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static MAXSIM_INLINE void Store(int32_t* to, Int value) { _mm512_storeu_si512(to, value); }
  static MAXSIM_INLINE void Store(float* to, Float value) { _mm512_storeu_ps(to, value); }
  static MAXSIM_INLINE void StoreInt16(int16_t* to, Int value) {
    _mm256_storeu_si256((__m256i*)to, _mm512_cvtsepi32_epi16(value));
  }
  static MAXSIM_INLINE void TakeLarger(Int& largest, Int& row_of, Int value, Int row) {
    const __mmask16 larger = _mm512_cmpgt_epi32_mask(value, largest);
    largest = _mm512_max_epi32(largest, value);
    row_of = _mm512_mask_mov_epi32(row_of, larger, row);
  }

  // Accumulates through inline assembly because g++ 12, given the intrinsics, copies and spills the
  // accumulators (37 % of the peak instead of over 90 %).
  static MAXSIM_INLINE void MultiplyAdd(Int& dot, Int document, Int query) {
#if defined(__GNUC__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(dot) : "v"(document), "v"(query));
#else
    dot = _mm512_dpbusd_epi32(dot, document, query);
#endif
  }
  static MAXSIM_INLINE void MultiplyAdd(Float& dot, Float document, Float query) {
#if defined(__GNUC__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(dot) : "v"(document), "v"(query));
#else
    dot = _mm512_fmadd_ps(document, query, dot);
#endif
  }
  // The same with the value read by the instruction itself: a value used once is broadcast for
  // nothing, where VBROADCASTSS costs a third of the speed on Zen 4. (VPDPBUSD broadcasts only
  // signed operands.)
  static MAXSIM_INLINE void MultiplyAddFrom(Float& dot, const uint8_t* document, Float query) {
#if defined(__GNUC__)
    typedef float Unaligned __attribute__((aligned(1), may_alias));
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0"
            : "+v"(dot)
            : "v"(query), "m"(*(const Unaligned*)document));
#else
    dot = _mm512_fmadd_ps(_mm512_set1_ps(ReadFloat(document)), query, dot);
#endif
  }

  // 1024 dims * 255 * 127 < 2^25: no overflow, and VPDPBUSD does not saturate.
  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void Dot(Int (&dot)[T][V], const uint8_t* rows, size_t stride,
                                const Lanes& query, size_t dim, size_t begin, size_t end,
                                Hook& hook) {
    const size_t block_bytes = dim * kMaxsimLanes;
    const int8_t* lanes = query.bytes + begin * kMaxsimLanes;
    const uint8_t* row = rows + begin;
    for (size_t d = begin; d < end; d += 4) {
      hook();
      Int q[V];
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        q[v] = _mm512_load_si512(lanes + v * block_bytes);
      }
      lanes += 64;
      MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
        const Int value = _mm512_set1_epi32(ReadInt32(row + t * stride));
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) MultiplyAdd(dot[t][v], value, q[v]);
      }
      row += 4;
    }
  }

  template <uint32_t T, uint32_t V, typename Hook>
  static MAXSIM_INLINE void DotFloats(Float (&dot)[T][V], const uint8_t* rows, const float* lanes,
                                      size_t dim, Hook& hook) {
    const size_t block_floats = dim * kMaxsimLanes, stride = dim * sizeof(float);
    for (size_t d = 0; d < dim; d += 4) {
      hook();
      for (int step = 0; step < 4; step++) {
        Float q[V];
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
          q[v] = _mm512_load_ps(lanes + v * block_floats);
        }
        lanes += kMaxsimLanes;
        MAXSIM_UNROLL for (uint32_t t = 0; t < T; t++) {
          const uint8_t* value = rows + t * stride;
          if constexpr (V == 1) {
            MultiplyAddFrom(dot[t][0], value, q[0]);
          } else {
            const Float broadcast = _mm512_set1_ps(ReadFloat(value));
            MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
              MultiplyAdd(dot[t][v], broadcast, q[v]);
            }
          }
        }
        rows += sizeof(float);
      }
    }
  }

  static MAXSIM_INLINE Bytes LoadBytes(const uint8_t (&values)[16]) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)values));
  }

  // One token's codes to bytes, plane after plane (kernel.h). In halves of a vector: a store of 64
  // bytes costs Zen 4 more VPDPBUSD than two of 32.
  template <uint32_t kBits>
  static MAXSIM_INLINE void Expand(Bytes weights, const uint8_t* codes, size_t code_bytes,
                                   uint8_t* row) {
    const __m256i mask = _mm256_set1_epi8((1 << kBits) - 1);
    for (size_t c = 0; c < code_bytes; c += 32) {
      const size_t left = code_bytes - c;
      const __mmask32 used = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      const __m256i packed = _mm256_maskz_loadu_epi8(used, codes + c);
      MAXSIM_UNROLL for (uint32_t plane = 0; plane < 8 / kBits; plane++) {
        const __m256i code =
            _mm256_and_si256(_mm256_srli_epi16(packed, (int)(plane * kBits)), mask);
        _mm256_mask_storeu_epi8(row + plane * code_bytes + c, used,
                                _mm256_shuffle_epi8(weights, code));
      }
    }
  }

  template <uint32_t T>
  static MAXSIM_INLINE void FactorsOf(const uint8_t* halves, float (&factors)[16]) {
    const __m256i stored = _mm256_maskz_loadu_epi16((__mmask16)((1u << T) - 1), halves);
    _mm512_store_ps(factors, _mm512_cvtph_ps(stored));
  }

  static MAXSIM_INLINE void FromHalves(const uint8_t* values, size_t count, float* floats) {
    for (size_t i = 0; i < count; i += 16) {
      _mm512_store_ps(floats + i, _mm512_cvtph_ps(LoadWords(values, i, count)));
    }
  }
  static MAXSIM_INLINE void FromBfloat16s(const uint8_t* values, size_t count, float* floats) {
    for (size_t i = 0; i < count; i += 16) {
      const __m512i wide = _mm512_cvtepu16_epi32(LoadWords(values, i, count));
      _mm512_store_si512(floats + i, _mm512_slli_epi32(wide, 16));
    }
  }

 private:
  static MAXSIM_INLINE __m256i LoadWords(const uint8_t* values, size_t i, size_t count) {
    if (i + 16 <= count) return _mm256_loadu_si256((const __m256i*)(values + i * 2));
    return _mm256_maskz_loadu_epi16((__mmask16)((1u << (count - i)) - 1), values + i * 2);
  }
};

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_ZMM_H_
