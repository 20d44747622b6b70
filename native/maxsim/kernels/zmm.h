// The vectors of AVX-512 (F, BW, VL, DQ), for passes.h. Included as static code by avx512.cpp and
// avx512bf16.cpp.
#ifndef MAXSIM_MAXSIM_KERNELS_ZMM_H_
#define MAXSIM_MAXSIM_KERNELS_ZMM_H_

#include <immintrin.h>

#include "maxsim/kernels/expand.h"
#include "maxsim/kernels/rows.h"

namespace {

struct Zmm {
  typedef __m512i Int;
  typedef __m512 Float;
  typedef __m256i Bytes;
  typedef FetchAhead<1> FetchBytes;  // a line per 4 dims covers 16 rows of a tile of 12

  // 12 tokens x 2 blocks = 24 accumulators; with 2 query vectors, 1 broadcast and 2 maxima, 29 of
  // 32 zmm. VPDPBUSD and VFMADD have a latency of 4 or 5 and a rate of 1 or 2 a cycle: 12 chains
  // keep them busy.
  static constexpr uint32_t kLanes = 16, kPassBlocks = 2, kTile = 12, kSmallTile = 4;
  // With 24 accumulators, expansion among the products spills some; 12 chains suffice.
  static constexpr uint32_t kResidualTile = 6, kResidualOneBlockTile = 12;
  static constexpr bool kSpecialDims = ::kSpecialDims;
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

  // 4 bytes of a document to every lane. Through inline assembly because clang makes it
  // VBROADCASTSS, after which the products of Zen 4 take 6 % longer.
  static MAXSIM_INLINE Int Broadcast(const uint8_t* bytes) {
#if defined(__GNUC__)
    typedef int32_t Unaligned __attribute__((aligned(1), may_alias));
    Int value;
    __asm__("vpbroadcastd %1, %0" : "=v"(value) : "m"(*(const Unaligned*)bytes));
    return value;
#else
    return _mm512_set1_epi32(ReadInt32(bytes));
#endif
  }
  static MAXSIM_INLINE Float BroadcastFloat(const uint8_t* bytes) {
    return _mm512_castsi512_ps(Broadcast(bytes));
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
        const Int value = Broadcast(row + t * stride);
        MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) MultiplyAdd(dot[t][v], value, q[v]);
      }
      row += 4;
    }
  }

  // Dims of a residual that are multiplied token by token, DotTail. (8 is the smallest dim.)
  template <size_t kDim>
  static constexpr size_t kTailDims = kDim != 0 ? 16 : 8;

  template <size_t kTail, uint32_t V>
  static MAXSIM_INLINE void DotTail(Int (&dot)[V], const uint8_t* row, const Lanes& query,
                                    size_t dim, size_t begin) {
    const int8_t* lanes = query.bytes + begin * kMaxsimLanes;
    MAXSIM_UNROLL for (size_t d = 0; d < kTail; d += 4) {
      const Int value = Broadcast(row + d);
      MAXSIM_UNROLL for (uint32_t v = 0; v < V; v++) {
        MultiplyAdd(dot[v], value, _mm512_load_si512(lanes + (v * dim + d) * kMaxsimLanes));
      }
    }
  }
  // Keeps a compiler from computing `later` before `earlier`.
  static MAXSIM_INLINE void InOrder(Float& earlier, Int& later) {
#if defined(__GNUC__)
    __asm__("" : "+v"(earlier), "+v"(later));
#endif
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
            const Float broadcast = BroadcastFloat(value);
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

  // In halves of a vector: a store of 64 bytes costs Zen 4 as much as 1.5 VPDPBUSD, one of 32 a
  // third.
  template <uint32_t kBits>
  static MAXSIM_INLINE void Expand(Bytes weights, const uint8_t* codes, size_t code_bytes,
                                   uint8_t* row) {
    ExpandCodes<kBits>(weights, codes, code_bytes, row);
  }

  // Reads up to 16 halves: the ids follow, and kMaxsimResidualSlack.
  template <uint32_t T>
  static MAXSIM_INLINE void FactorsOf(const uint8_t* halves, float (&factors)[16]) {
    static_assert(T <= 16, "one load");
    const Float wide = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)halves));
    if constexpr (T <= 8) {
      _mm256_store_ps(factors, _mm512_castps512_ps256(wide));
    } else {
      _mm512_store_ps(factors, wide);
    }
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
