// How document tokens become int8: 16 of them at once, as lanes, are rotated (rotation.h) and
// rounded. Written once over vectors that the compiler maps to what the CPU has, and included as
// static code by each kernel file. Every lane sees the same float operations in the same order on
// every instruction set, so the bytes are the same everywhere.
#ifndef MAXSIM_MAXSIM_KERNELS_ENCODE_H_
#define MAXSIM_MAXSIM_KERNELS_ENCODE_H_

#include <string.h>

#include "maxsim/kernels/rows.h"

namespace {

#if defined(__GNUC__) && !defined(MAXSIM_NO_VECTORS)

typedef float Lanes16 __attribute__((vector_size(64)));
typedef int32_t Mask16 __attribute__((vector_size(64)));
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef float Four __attribute__((vector_size(16)));

MAXSIM_INLINE void SetAll(Lanes16& lanes, float value) { lanes = value - Lanes16{}; }
MAXSIM_INLINE void Select(Lanes16& to, const Mask16& mask, const Lanes16& value) {
  to = mask ? value : to;
}
MAXSIM_INLINE void AddOnes(Lanes16& to, const Mask16& mask) {
  to -= __builtin_convertvector(mask, Lanes16);  // true is -1
}
MAXSIM_INLINE void StoreBytes(uint8_t* to, const Lanes16& values) {
  const Bytes16 bytes = __builtin_convertvector(__builtin_convertvector(values, Mask16), Bytes16);
  memcpy(to, &bytes, sizeof(bytes));
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
MAXSIM_INLINE void SetAll(Lanes16& lanes, float value) { MAXSIM_EACH lanes.at[i] = value; }
MAXSIM_INLINE void Select(Lanes16& to, const Mask16& mask, const Lanes16& value) {
  MAXSIM_EACH to.at[i] = mask.set[i] ? value.at[i] : to.at[i];
}
MAXSIM_INLINE void AddOnes(Lanes16& to, const Mask16& mask) {
  MAXSIM_EACH to.at[i] += mask.set[i] ? 1.f : 0.f;
}
MAXSIM_INLINE void StoreBytes(uint8_t* to, const Lanes16& values) {
  MAXSIM_EACH to[i] = (uint8_t)(int)values.at[i];
}
#undef MAXSIM_EACH

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

MAXSIM_INLINE bool AnyBeyond(const Lanes16& lanes, float limit) {
  float values[kMaxsimLanes];
  memcpy(values, &lanes, sizeof(values));
  bool any = false;
  for (int i = 0; i < kMaxsimLanes; i++) any |= values[i] >= limit;
  return any;
}

// 2^kStages values, `half` apart, through as many stages of a Walsh-Hadamard transform: what a
// stage at a time does, without its stores. After the last stages value i is multiplied by
// `scale`, and negated where bit i of `signs` is set (null: nowhere).
template <int kStages, bool kLast>
MAXSIM_INLINE void Butterflies(Lanes16* values, size_t size, size_t half, float scale,
                               const uint64_t* signs) {
  constexpr int kCount = 1 << kStages;
  Lanes16 plus, minus;
  SetAll(plus, scale);
  SetAll(minus, -scale);
  for (size_t start = 0; start < size; start += half * kCount) {
    for (size_t i = start; i < start + half; i++) {
      Lanes16 at[kCount];
      MAXSIM_UNROLL for (int k = 0; k < kCount; k++) at[k] = values[i + (size_t)k * half];
      MAXSIM_UNROLL for (int step = 1; step < kCount; step *= 2) {
        MAXSIM_UNROLL for (int k = 0; k < kCount; k++) {
          if ((k & step) != 0) continue;
          const Lanes16 sum = at[k] + at[k + step], difference = at[k] - at[k + step];
          at[k] = sum;
          at[k + step] = difference;
        }
      }
      MAXSIM_UNROLL for (int k = 0; k < kCount; k++) {
        const size_t d = i + (size_t)k * half;
        if (!kLast) {
          values[d] = at[k];
        } else if (signs != nullptr && (signs[d / 64] >> (d % 64) & 1) != 0) {
          values[d] = at[k] * minus;
        } else {
          values[d] = at[k] * plus;
        }
      }
    }
  }
}

MAXSIM_INLINE void HadamardLanes(Lanes16* values, size_t size, float scale, const uint64_t* signs) {
  size_t half = 1;
  for (; half * 8 < size; half *= 8) Butterflies<3, false>(values, size, half, scale, signs);
  if (half * 8 == size) {
    Butterflies<3, true>(values, size, half, scale, signs);
  } else if (half * 4 == size) {
    Butterflies<2, true>(values, size, half, scale, signs);
  } else {
    Butterflies<1, true>(values, size, half, scale, signs);
  }
}

MAXSIM_INLINE void FlipSigns(Lanes16* values, size_t dim, const uint64_t* signs) {
  for (size_t d = 0; d < dim; d++) {
    if ((signs[d / 64] >> (d % 64) & 1) != 0) values[d] = -values[d];
  }
}

// See MaxsimEncodeInt8.
MAXSIM_INLINE void EncodeInt8Lanes(const float* tokens, size_t count,
                                   const MaxsimRotation* rotation, float unit, size_t stride,
                                   uint8_t* rows, MaxsimEncodedInt8* encoded) {
  constexpr int kTries = 4;
  // Clamped tips are not made up for by stretching all the rest.
  constexpr float kMostStretch = 0.02f;
  constexpr float kMagic = 12582912.f;  // round.h

  const size_t dim = rotation->dim, size = rotation->transform;
  alignas(64) Lanes16 values[kMaxPaddedDim];
  alignas(64) uint8_t bytes[kMaxPaddedDim * kMaxsimLanes];
  ToLanes(tokens, count, dim, values);
  // The next 16 tokens of the document, a line for each dim: read as columns, they would each be
  // waited for.
  const char* next = (const char*)(tokens + count * dim);
  for (size_t d = 0; d < dim; d++) Fetch(next + d * sizeof(Lanes16));
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

  Lanes16 zero, one, largest, exact, limit, tip, magic, lane_unit, shortest, longest;
  SetAll(zero, 0.f);
  SetAll(one, 1.f);
  SetAll(limit, 127.f);
  SetAll(tip, 127.5f);  // from here on a value rounds beyond the limit
  SetAll(magic, kMagic);
  SetAll(lane_unit, unit);
  SetAll(shortest, 1.f - kMostStretch);
  SetAll(longest, 1.f + kMostStretch);
  largest = exact = zero;
  for (size_t d = 0; d < dim; d++) {
    Lanes16 magnitude = values[d];
    Select(magnitude, zero > magnitude, -magnitude);
    Select(largest, magnitude > largest, magnitude);
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

  // What is rounded is the token a little longer or shorter, so that what comes out has the right
  // product with it: a few tries, of which the best one stays.
  Lanes16 gain = one, best = one, least = zero;
  for (int attempt = 0; attempt < kTries; attempt++) {
    const Lanes16 inverse = gain * inverse_unit;
    Lanes16 stored = zero;
    for (size_t d = 0; d < dim; d++) {
      Lanes16 value = values[d] * inverse;
      Select(value, value > limit, limit);
      // Not the other way round: a NaN, too, has to come out as a number.
      Lanes16 kept = -limit;
      Select(kept, value > kept, value);
      stored = stored + values[d] * ((kept + magic) - magic);
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
    Lanes16 value = values[d] * inverse;
    Select(value, value > limit, limit);
    Lanes16 kept = -limit;
    Select(kept, value > kept, value);
    kept = (kept + magic) - magic;
    squares = squares + kept * kept;
    StoreBytes(bytes + d * kMaxsimLanes, kept + offset);
  }
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
