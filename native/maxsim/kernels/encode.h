// How document tokens become int8: 16 of them at once, as lanes, are rotated (rotation.h) and
// rounded. Written once over vectors that the compiler maps to what the CPU has, and included as
// static code by each kernel file. Every lane sees the same float operations in the same order on
// every instruction set, so the bytes are the same everywhere.
#ifndef MAXSIM_MAXSIM_KERNELS_ENCODE_H_
#define MAXSIM_MAXSIM_KERNELS_ENCODE_H_

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "maxsim/kernels/rows.h"

namespace {

#if defined(__GNUC__) && !defined(MAXSIM_NO_VECTORS)

// Registers are what compilers keep vectors in: a wider one would live in memory.
#if defined(__AVX512F__)
#define MAXSIM_ZMM_LANES
#elif defined(__AVX2__)
#define MAXSIM_YMM_LANES
#endif
#if defined(MAXSIM_YMM_LANES)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 64;
#endif
constexpr int kParts = 64 / kRegisterBytes;

typedef float Part __attribute__((vector_size(kRegisterBytes)));
typedef int32_t PartMask __attribute__((vector_size(kRegisterBytes)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef float Four __attribute__((vector_size(16)));

struct Lanes16 {
  Part at[kParts];
};
struct Mask16 {
  PartMask set[kParts];
};
#define MAXSIM_EACH MAXSIM_UNROLL for (int i = 0; i < kParts; i++)

MAXSIM_INLINE void SetAll(Lanes16& lanes, float value) { MAXSIM_EACH lanes.at[i] = value - Part{}; }
MAXSIM_INLINE void AddOnes(Lanes16& to, const Mask16& mask) {
  MAXSIM_EACH to.at[i] -= __builtin_convertvector(mask.set[i], Part);  // true is -1
}
MAXSIM_INLINE void StoreBytes(uint8_t* to, const Lanes16& values) {
#if defined(MAXSIM_YMM_LANES)
  const __m256i words = _mm256_permute4x64_epi64(
      _mm256_packs_epi32(_mm256_cvttps_epi32(values.at[0]), _mm256_cvttps_epi32(values.at[1])),
      0xd8);
  _mm_storeu_si128((__m128i*)to, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                  _mm256_extracti128_si256(words, 1)));
#else
  const Bytes16 bytes =
      __builtin_convertvector(__builtin_convertvector(values.at[0], PartMask), Bytes16);
  memcpy(to, &bytes, sizeof(bytes));
#endif
}

// Rows of floats to lanes, in blocks of 4 by 4.
MAXSIM_INLINE void ToLanes(const float* tokens, size_t count, size_t dim, Lanes16* lanes) {
  const size_t whole = count & ~(size_t)3, blocks = dim & ~(size_t)3;
  float* to = (float*)lanes;
  for (size_t d = 0; d < blocks; d += 4) {
    for (size_t v = 0; v < whole; v += 4) {
      Four rows[4];
      MAXSIM_UNROLL for (int i = 0; i < 4; i++) {
        memcpy(&rows[i], tokens + (v + i) * dim + d, sizeof(Four));
      }
      const Four a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
      const Four b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
      const Four c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
      const Four e = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
      const Four columns[4] = {
          __builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(a, c, 2, 3, 6, 7),
          __builtin_shufflevector(b, e, 0, 1, 4, 5), __builtin_shufflevector(b, e, 2, 3, 6, 7)};
      MAXSIM_UNROLL for (int i = 0; i < 4; i++) {
        memcpy(to + (d + i) * kMaxsimLanes + v, &columns[i], sizeof(Four));
      }
    }
    for (size_t v = whole; v < kMaxsimLanes; v++) {
      for (size_t i = d; i < d + 4; i++) {
        to[i * kMaxsimLanes + v] = v < count ? tokens[v * dim + i] : 0.f;
      }
    }
  }
  for (size_t d = blocks; d < dim; d++) {
    for (size_t v = 0; v < kMaxsimLanes; v++) {
      to[d * kMaxsimLanes + v] = v < count ? tokens[v * dim + d] : 0.f;
    }
  }
}

// 16 dims of 16 tokens: bytes[d][token] to columns[token][d].
MAXSIM_INLINE void Transpose(Bytes16 (&bytes)[16]) {
  MAXSIM_UNROLL for (int round = 0; round < 4; round++) {
    Bytes16 mixed[16];
    MAXSIM_UNROLL for (int i = 0; i < 8; i++) {
      mixed[2 * i] = __builtin_shufflevector(bytes[i], bytes[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                             20, 5, 21, 6, 22, 7, 23);
      mixed[2 * i + 1] = __builtin_shufflevector(bytes[i], bytes[i + 8], 8, 24, 9, 25, 10, 26, 11,
                                                 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    MAXSIM_UNROLL for (int i = 0; i < 16; i++) bytes[i] = mixed[i];
  }
}

// bytes[d][token] to rows of `stride` bytes.
MAXSIM_INLINE void ToRows(const uint8_t* bytes, size_t count, size_t dim, size_t stride,
                          uint8_t* rows) {
  const size_t blocks = dim & ~(size_t)15;
  for (size_t d = 0; d < blocks; d += 16) {
    Bytes16 block[16];
    memcpy(block, bytes + d * kMaxsimLanes, sizeof(block));
    Transpose(block);
    for (size_t v = 0; v < count; v++) memcpy(rows + v * stride + d, &block[v], sizeof(Bytes16));
  }
  for (size_t d = blocks; d < dim; d++) {
    for (size_t v = 0; v < count; v++) rows[v * stride + d] = bytes[d * kMaxsimLanes + v];
  }
}

#else

// The same, value by value.
struct Mask16 {
  bool set[kMaxsimLanes];
};
struct Lanes16 {
  float at[kMaxsimLanes];
};
#define MAXSIM_EACH for (int i = 0; i < kMaxsimLanes; i++)

MAXSIM_INLINE void SetAll(Lanes16& lanes, float value) { MAXSIM_EACH lanes.at[i] = value; }
MAXSIM_INLINE void AddOnes(Lanes16& to, const Mask16& mask) {
  MAXSIM_EACH to.at[i] += mask.set[i] ? 1.f : 0.f;
}
MAXSIM_INLINE void StoreBytes(uint8_t* to, const Lanes16& values) {
  MAXSIM_EACH to[i] = (uint8_t)(int)values.at[i];
}

MAXSIM_INLINE void ToLanes(const float* tokens, size_t count, size_t dim, Lanes16* lanes) {
  for (size_t d = 0; d < dim; d++) {
    for (size_t v = 0; v < kMaxsimLanes; v++) lanes[d].at[v] = v < count ? tokens[v * dim + d] : 0;
  }
}

MAXSIM_INLINE void ToRows(const uint8_t* bytes, size_t count, size_t dim, size_t stride,
                          uint8_t* rows) {
  for (size_t v = 0; v < count; v++) {
    for (size_t d = 0; d < dim; d++) rows[v * stride + d] = bytes[d * kMaxsimLanes + v];
  }
}

#endif

#define MAXSIM_OPERATOR(op)                                               \
  MAXSIM_INLINE Lanes16 operator op(const Lanes16& a, const Lanes16& b) { \
    Lanes16 result;                                                       \
    MAXSIM_EACH result.at[i] = a.at[i] op b.at[i];                        \
    return result;                                                        \
  }
MAXSIM_OPERATOR(+)
MAXSIM_OPERATOR(-)
MAXSIM_OPERATOR(*)
MAXSIM_OPERATOR(/)
#undef MAXSIM_OPERATOR
MAXSIM_INLINE Lanes16 operator-(const Lanes16& a) {
  Lanes16 result;
  MAXSIM_EACH result.at[i] = -a.at[i];
  return result;
}
MAXSIM_INLINE Mask16 operator>(const Lanes16& a, const Lanes16& b) {
  Mask16 result;
  MAXSIM_EACH result.set[i] = a.at[i] > b.at[i];
  return result;
}
MAXSIM_INLINE Mask16 operator>=(const Lanes16& a, const Lanes16& b) {
  Mask16 result;
  MAXSIM_EACH result.set[i] = a.at[i] >= b.at[i];
  return result;
}
MAXSIM_INLINE void Select(Lanes16& to, const Mask16& mask, const Lanes16& value) {
  MAXSIM_EACH to.at[i] = mask.set[i] ? value.at[i] : to.at[i];
}

// Of two NaNs, or a NaN and a number, the second, as the x86 instructions have it.
MAXSIM_INLINE Lanes16 Smaller(const Lanes16& a, const Lanes16& b) {
  Lanes16 result;
#if defined(MAXSIM_ZMM_LANES)
  result.at[0] = _mm512_min_ps(a.at[0], b.at[0]);
#elif defined(MAXSIM_YMM_LANES)
  MAXSIM_EACH result.at[i] = _mm256_min_ps(a.at[i], b.at[i]);
#else
  MAXSIM_EACH result.at[i] = a.at[i] < b.at[i] ? a.at[i] : b.at[i];
#endif
  return result;
}
MAXSIM_INLINE Lanes16 Larger(const Lanes16& a, const Lanes16& b) {
  Lanes16 result;
#if defined(MAXSIM_ZMM_LANES)
  result.at[0] = _mm512_max_ps(a.at[0], b.at[0]);
#elif defined(MAXSIM_YMM_LANES)
  MAXSIM_EACH result.at[i] = _mm256_max_ps(a.at[i], b.at[i]);
#else
  MAXSIM_EACH result.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
#endif
  return result;
}
// Half to even, for magnitudes below 2^22. Which zero comes out differs, and shows nowhere below.
MAXSIM_INLINE Lanes16 Rounded(const Lanes16& a) {
#if defined(MAXSIM_ZMM_LANES)
  return {{_mm512_roundscale_ps(a.at[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}};
#elif defined(MAXSIM_YMM_LANES)
  Lanes16 result;
  MAXSIM_EACH {
    result.at[i] = _mm256_round_ps(a.at[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  return result;
#else
  Lanes16 magic;
  SetAll(magic, 12582912.f);  // round.h
  return (a + magic) - magic;
#endif
}
#undef MAXSIM_EACH

MAXSIM_INLINE bool AnyBeyond(const Lanes16& lanes, float limit) {
  float values[kMaxsimLanes];
  memcpy(values, &lanes, sizeof(values));
  bool any = false;
  for (int i = 0; i < kMaxsimLanes; i++) any |= values[i] >= limit;
  return any;
}
MAXSIM_INLINE bool AllBelow(const Lanes16& lanes, float limit) {
  float values[kMaxsimLanes];
  memcpy(values, &lanes, sizeof(values));
  bool all = true;
  for (int i = 0; i < kMaxsimLanes; i++) all &= values[i] < limit;
  return all;
}

MAXSIM_INLINE void Butterfly(Lanes16& a, Lanes16& b) {
  const Lanes16 sum = a + b, difference = a - b;
  a = sum;
  b = difference;
}

// Values through the last stages of a transform: they are multiplied by `scale`, and negated where
// their bit of `signs` is set (null: nowhere).
struct LastStages {
  Lanes16 plus, minus;
  const uint64_t* signs;

  MAXSIM_INLINE LastStages(float scale, const uint64_t* sign_bits) : signs(sign_bits) {
    SetAll(plus, scale);
    SetAll(minus, -scale);
  }
  MAXSIM_INLINE Lanes16 operator()(const Lanes16& value, size_t d) const {
    return signs != nullptr && (signs[d / 64] >> (d % 64) & 1) != 0 ? value * minus : value * plus;
  }
};

// 2^kStages values, `half` apart, through as many stages of a Walsh-Hadamard transform: what a
// stage at a time does, without its stores. Named one by one: GCC would keep an array in memory.
template <int kStages, bool kLast>
MAXSIM_INLINE void Butterflies(Lanes16* values, size_t size, size_t half, const LastStages& last) {
  for (size_t start = 0; start < size; start += half << kStages) {
    for (size_t i = start; i < start + half; i++) {
      const auto load = [&](size_t k) { return values[i + k * half]; };
      const auto store = [&](size_t k, const Lanes16& value) {
        const size_t d = i + k * half;
        values[d] = kLast ? last(value, d) : value;
      };
      Lanes16 a = load(0), b = load(1);
      if constexpr (kStages == 1) {
        Butterfly(a, b);
        store(0, a), store(1, b);
      } else {
        Lanes16 c = load(2), e = load(3);
        Butterfly(a, b), Butterfly(c, e);
        Butterfly(a, c), Butterfly(b, e);
        if constexpr (kStages == 2) {
          store(0, a), store(1, b), store(2, c), store(3, e);
        } else {
          Lanes16 f = load(4), g = load(5), h = load(6), j = load(7);
          Butterfly(f, g), Butterfly(h, j);
          Butterfly(f, h), Butterfly(g, j);
          Butterfly(a, f), Butterfly(b, g), Butterfly(c, h), Butterfly(e, j);
          store(0, a), store(1, b), store(2, c), store(3, e);
          store(4, f), store(5, g), store(6, h), store(7, j);
        }
      }
    }
  }
}

MAXSIM_INLINE void HadamardLanes(Lanes16* values, size_t size, float scale, const uint64_t* signs) {
  const LastStages last(scale, signs);
  size_t half = 1;
  for (; half * 8 < size; half *= 8) Butterflies<3, false>(values, size, half, last);
  if (half * 8 == size) {
    Butterflies<3, true>(values, size, half, last);
  } else if (half * 4 == size) {
    Butterflies<2, true>(values, size, half, last);
  } else {
    Butterflies<1, true>(values, size, half, last);
  }
}

MAXSIM_INLINE void FlipSigns(Lanes16* values, size_t dim, const uint64_t* signs) {
  for (size_t d = 0; d < dim; d++) {
    if ((signs[d / 64] >> (d % 64) & 1) != 0) values[d] = -values[d];
  }
}

// A token of which each component is rounded to at most the limit, +-127.
template <bool kClamp>
MAXSIM_INLINE Lanes16 Kept(const Lanes16& value) {
  if (!kClamp) return Rounded(value);
  Lanes16 limit;
  SetAll(limit, 127.f);
  // Not the other way round: a NaN, too, has to come out as a number.
  return Rounded(Larger(Smaller(limit, value), -limit));
}

// Clamped tips are not made up for by stretching all the rest.
constexpr float kMostStretch = 0.02f;

// Rounds values * stretch / unit to bytes[d][token], with the best stretch that is found, and
// returns the sums of their squares. `exact`: the sums of the squares of the values. The tokens at
// `next_tokens`, as many, are fetched meanwhile, a little at a time: read as columns, they would
// each be waited for.
template <bool kClamp>
MAXSIM_INLINE Lanes16 RoundLanes(const Lanes16* values, size_t dim, const Lanes16& exact,
                                 const Lanes16& lane_unit, const Lanes16& inverse_unit,
                                 const char* next_tokens, uint8_t* bytes) {
  constexpr int kTries = 4;
  Lanes16 zero, one, shortest, longest;
  SetAll(zero, 0.f);
  SetAll(one, 1.f);
  SetAll(shortest, 1.f - kMostStretch);
  SetAll(longest, 1.f + kMostStretch);
  // What is rounded is the token a little longer or shorter, so that what comes out has the right
  // product with it: a few tries, of which the best one stays.
  Lanes16 gain = one, best = one, least = zero;
  for (int attempt = 0; attempt < kTries; attempt++) {
    const Lanes16 inverse = gain * inverse_unit;
    Lanes16 stored = zero;
    for (size_t d = 0; d < dim; d++) {
      stored = stored + values[d] * Kept<kClamp>(values[d] * inverse);
      Fetch(next_tokens + ((size_t)attempt * dim + d) * (sizeof(Lanes16) / kTries));
    }
    stored = stored * lane_unit;
    Lanes16 missing = stored - exact;
    Select(missing, zero > missing, -missing);
    if (attempt == 0) {
      least = missing;
    } else {
      Select(best, least > missing, gain);
      Select(least, least > missing, missing);
    }
    Lanes16 next = gain * (exact / stored);
    Select(next, next > longest, longest);
    Select(next, shortest > next, shortest);
    Select(gain, stored > zero, next);
  }

  const Lanes16 inverse = best * inverse_unit;
  Lanes16 squares = zero, offset;
  SetAll(offset, 128.f);
  for (size_t d = 0; d < dim; d++) {
    const Lanes16 kept = Kept<kClamp>(values[d] * inverse);
    squares = squares + kept * kept;
    StoreBytes(bytes + d * kMaxsimLanes, kept + offset);
  }
  return squares;
}

// See MaxsimEncodeInt8.
MAXSIM_INLINE void EncodeInt8Lanes(const float* tokens, size_t count,
                                   const MaxsimRotation* rotation, float unit, size_t stride,
                                   uint8_t* rows, MaxsimEncodedInt8* encoded) {
  const size_t dim = rotation->dim, size = rotation->transform;
  alignas(64) Lanes16 values[kMaxPaddedDim];
  alignas(64) uint8_t bytes[kMaxPaddedDim * kMaxsimLanes];
  ToLanes(tokens, count, dim, values);
  FlipSigns(values, dim, rotation->signs[0]);
  if (size == dim) {
    HadamardLanes(values, size, rotation->scale, rotation->signs[1]);
    HadamardLanes(values, size, rotation->scale, nullptr);
  } else {
    for (int round = 0; round < 2; round++) {
      if (round > 0) FlipSigns(values, dim, rotation->signs[1]);
      HadamardLanes(values, size, rotation->scale, nullptr);
      HadamardLanes(values + (dim - size), size, rotation->scale, nullptr);
    }
  }

  Lanes16 zero, one, largest, exact, tip, lane_unit;
  SetAll(zero, 0.f);
  SetAll(one, 1.f);
  SetAll(tip, 127.5f);  // from here on a value rounds beyond the limit
  SetAll(lane_unit, unit);
  largest = exact = zero;
  for (size_t d = 0; d < dim; d++) {
    largest = Larger(values[d], largest);
    largest = Larger(-values[d], largest);
    exact = exact + values[d] * values[d];
  }

  const Lanes16 inverse_unit = one / lane_unit;
  Lanes16 clamped = zero;
  if (AnyBeyond(largest * inverse_unit, 127.5f)) {  // what rounds to more than the limit
    for (size_t d = 0; d < dim; d++) {
      const Lanes16 value = values[d] * inverse_unit;
      AddOnes(clamped, value >= tip);
      AddOnes(clamped, -value >= tip);
    }
  }

  // Where the longest stretch takes nothing to the limit, nothing needs clamping. NaN and infinity,
  // which `largest` may lack, are in `exact`.
  constexpr float kWithin = 124.5f;
  static_assert(kWithin * (1 + kMostStretch) < 126.999f, "rounding must not reach the limit");
  const char* next = (const char*)(tokens + count * dim);
  const bool within = AllBelow(largest * inverse_unit, kWithin) && AllBelow(exact, 1e38f);
  const Lanes16 squares =
      within ? RoundLanes<false>(values, dim, exact, lane_unit, inverse_unit, next, bytes)
             : RoundLanes<true>(values, dim, exact, lane_unit, inverse_unit, next, bytes);
  ToRows(bytes, count, dim, stride, rows);
  for (size_t v = 0; v < count; v++) {
    for (size_t d = dim; d < stride; d++) rows[v * stride + d] = 128;
  }
  memcpy(encoded->largest, &largest, sizeof(largest));
  memcpy(encoded->squares, &exact, sizeof(exact));
  memcpy(encoded->stored_squares, &squares, sizeof(squares));
  memcpy(encoded->clamped, &clamped, sizeof(clamped));
}

// Unused where a set has one kernel of its own and takes the rest from another.
[[maybe_unused]] void EncodeInt8(const float* tokens, size_t count, const MaxsimRotation* rotation,
                                 float unit, size_t stride, uint8_t* rows,
                                 MaxsimEncodedInt8* encoded) {
  EncodeInt8Lanes(tokens, count, rotation, unit, stride, rows, encoded);
}

}  // namespace

#endif  // MAXSIM_MAXSIM_KERNELS_ENCODE_H_
