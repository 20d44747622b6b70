// Half-precision floats (IEEE 754 binary16) and bfloat16, without the instructions for them: the
// same bits on every machine. Rounding is to the nearest, half to even.
#ifndef MAXSIM_MAXSIM_HALF_H_
#define MAXSIM_MAXSIM_HALF_H_

#include <stdint.h>
#include <string.h>

namespace {

// The largest magnitude that rounds to a finite half, and to a finite bfloat16.
constexpr float kLargestHalf = 65504.f;

inline uint32_t FloatBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float FloatOf(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// |value| <= kLargestHalf.
inline uint16_t ToHalf(float value) {
  const uint32_t bits = FloatBits(value);
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude < 0x38800000) {
    // Below 2^-14 a half is a multiple of 2^-24: adding 0.5, whose last place that is, rounds.
    const float rounded = FloatOf(magnitude) + 0.5f;
    return (uint16_t)(sign | (FloatBits(rounded) - FloatBits(0.5f)));
  }
  const uint32_t odd = magnitude >> 13 & 1;
  return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

inline float FromHalf(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7fff;
  // A subnormal half is its integer times 2^-24; both factors and the product are exact.
  if (magnitude < 0x400) return FloatOf(sign | FloatBits((float)magnitude * FloatOf(0x33800000)));
  if (magnitude >= 0x7c00) return FloatOf(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  return FloatOf(sign | ((magnitude << 13) + 0x38000000));
}

// Finite values only; they stay finite below 3.38e38.
inline uint16_t ToBfloat16(float value) {
  const uint32_t bits = FloatBits(value);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float FromBfloat16(uint16_t value) { return FloatOf((uint32_t)value << 16); }

}  // namespace

#endif  // MAXSIM_MAXSIM_HALF_H_
