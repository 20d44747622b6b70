#include "maxsim/half.h"

#include <doctest/doctest.h>

#include <cmath>

#include "fixtures.h"

using namespace maxsim;

namespace {

double ValueOfHalf(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

bool IsFinite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

// The half nearest to a magnitude, the even one of two; by comparing, not by rounding bits.
uint16_t NearestHalf(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  uint16_t low = 0, high = 0x7bff;  // 0 and 65504
  while (high - low > 1) {
    const auto middle = static_cast<uint16_t>((low + high) / 2);
    (ValueOfHalf(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - ValueOfHalf(low), above = ValueOfHalf(high) - magnitude;
  const uint16_t nearest = below < above ? low : (above < below ? high : (low & 1 ? high : low));
  return static_cast<uint16_t>(nearest | (std::signbit(value) ? 0x8000 : 0));
}

}  // namespace

TEST_CASE("every finite half is the value its bits say, and comes back from a float") {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    const auto half = static_cast<uint16_t>(bits);
    CAPTURE(bits);
    const float value = FromHalf(half);
    if (!IsFinite(half)) {
      CHECK(((half & 0x3ff) == 0 ? std::isinf(value) : std::isnan(value)));
      CHECK(std::signbit(value) == (half >= 0x8000));
      continue;
    }
    CHECK(static_cast<double>(value) == ValueOfHalf(half));
    CHECK(std::signbit(value) == (half >= 0x8000));
    CHECK(ToHalf(value) == half);
  }
}

TEST_CASE("ties between halves go to the even one, and what is near them to the nearer one") {
  for (uint32_t bits = 0; bits < 0x7bff; bits++) {
    const auto below = static_cast<uint16_t>(bits), above = static_cast<uint16_t>(bits + 1);
    // 12 bits, exact in a float.
    const auto tie = static_cast<float>((ValueOfHalf(below) + ValueOfHalf(above)) / 2);
    CAPTURE(bits);
    CHECK(ToHalf(tie) == (below & 1 ? above : below));
    CHECK(ToHalf(std::nextafter(tie, 0.f)) == below);
    CHECK(ToHalf(std::nextafter(tie, 1e9f)) == above);
    CHECK(ToHalf(-tie) == ((below & 1 ? above : below) | 0x8000));
  }
}

TEST_CASE("a float becomes the nearest half, whatever its size") {
  Noise noise(1);
  for (int i = 0; i < 500000; i++) {
    // Any bits up to the largest half: subnormal halves and floats among them.
    const float value = FloatOf(static_cast<uint32_t>(noise.Next() >> 32));
    if (!(std::fabs(value) <= kLargestHalf)) continue;
    CAPTURE(value);
    REQUIRE(ToHalf(value) == NearestHalf(value));
  }
  for (const float value : {0.f, -0.f, 1e-45f, -1e-45f, 0x1p-25f, 0x1.8p-25f, 0x1.000002p-25f,
                            0x1p-14f, 0x1.ffcp-15f, 0x1.ffep-15f, 65504.f, -65504.f}) {
    CHECK(ToHalf(value) == NearestHalf(value));
  }
}

#if defined(__FLT16_MAX__)
TEST_CASE("the compiler's conversions to and from halves give the same bits") {
  Noise noise(2);
  for (int i = 0; i < 500000; i++) {
    const float value = FloatOf(static_cast<uint32_t>(noise.Next() >> 32));
    if (!(std::fabs(value) <= kLargestHalf)) continue;
    const _Float16 theirs = static_cast<_Float16>(value);
    uint16_t bits;
    std::memcpy(&bits, &theirs, sizeof(bits));
    REQUIRE(ToHalf(value) == bits);
    REQUIRE(FromHalf(bits) == static_cast<float>(theirs));
  }
}
#endif

TEST_CASE("every finite bfloat16 comes back from a float, and ties go to the even one") {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    if ((bits & 0x7f80) == 0x7f80) continue;
    CHECK(ToBfloat16(FromBfloat16(static_cast<uint16_t>(bits))) == bits);
    if ((bits & 0x7fff) >= 0x7f7f) continue;  // the next one is infinite
    const uint32_t next = bits + 1, even = bits & 1 ? next : bits;
    CHECK(ToBfloat16(FloatOf(bits << 16 | 0x8000)) == even);
    CHECK(ToBfloat16(FloatOf(bits << 16 | 0x7fff)) == bits);
    CHECK(ToBfloat16(FloatOf(bits << 16 | 0x8001)) == next);
  }
  CHECK(std::isfinite(FromBfloat16(ToBfloat16(3.38e38f))));
  CHECK(std::isfinite(FromBfloat16(ToBfloat16(-1e15f))));
}
