#include "maxsim/codec.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "fixtures.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

using namespace maxsim;

TEST_CASE("rows are padded to a multiple of 4 dims") {
  CHECK(TokenBytes(Codec::kInt8, 9) == 12);
  CHECK(TokenBytes(Codec::kF32, 9) == 48);
  CHECK(TokenBytes(Codec::kInt8, 128) == 128);
}

TEST_CASE("f32 tokens come back bit for bit, and the padding is zero") {
  Noise noise(1);
  const std::vector<float> tokens = noise.Floats(3 * 9);
  std::vector<uint8_t> bytes(3 * 48, 0xaa);
  CHECK(EncodeTokens({Codec::kF32, 1.f}, tokens.data(), 3, 9, bytes.data()) == 0);
  for (size_t i = 36; i < 48; i++) CHECK(bytes[i] == 0);
  std::vector<float> back(3 * 9);
  DecodeTokens({Codec::kF32, 1.f}, bytes.data(), 3, 9, back.data());
  CHECK(back == tokens);
}

TEST_CASE(
    "int8 tokens come back within half a step a rotated dim, and their bytes code to themselves") {
  const TokenFormat format{Codec::kInt8, 3.f / 127.f};
  Noise noise(2);
  const std::vector<float> tokens = noise.Floats(100 * 10);
  std::vector<uint8_t> bytes(100 * 12), again(100 * 12);
  CHECK(EncodeTokens(format, tokens.data(), 100, 10, bytes.data()) == 0);
  CHECK(bytes[10] == 128);
  CHECK(bytes[11] == 128);
  std::vector<float> back(100 * 10);
  DecodeTokens(format, bytes.data(), 100, 10, back.data());
  for (size_t token = 0; token < 100; token++) {
    double squares = 0;
    for (size_t d = 0; d < 10; d++) {
      const double error = static_cast<double>(back[token * 10 + d]) - tokens[token * 10 + d];
      squares += error * error;
    }
    CHECK(std::sqrt(squares) <= 0.5001 * 3 / 127 * std::sqrt(10.));
  }
  CHECK(EncodeTokens(format, back.data(), 100, 10, again.data()) == 0);
  CHECK(again == bytes);
}

TEST_CASE("int8 rounds to the nearest step, clamps, and counts what it clamped") {
  std::vector<float> token = {0.6f, 1.4f, -0.6f, -2.4f, 127.4f, 127.6f, -300.f, 200.f};
  RotateBack(token.data(), 8);
  std::vector<uint8_t> bytes(8);
  CHECK(EncodeTokens({Codec::kInt8, 1.f}, token.data(), 1, 8, bytes.data()) == 3);
  CHECK(bytes == std::vector<uint8_t>{129, 129, 127, 126, 255, 255, 1, 255});
}

TEST_CASE("ties round to even") {
  CHECK(RoundHalfToEven(0.5f) == 0.f);
  CHECK(RoundHalfToEven(1.5f) == 2.f);
  CHECK(RoundHalfToEven(-0.5f) == 0.f);
  CHECK(RoundHalfToEven(-2.5f) == -2.f);
  CHECK(RoundHalfToEven(127.49f) == 127.f);
}

TEST_CASE(
    "the largest stored magnitude is that of the rotated tokens, and NaN when one is not finite") {
  Noise noise(5);
  std::vector<float> tokens = noise.Floats(20 * 12);
  float expected = 0;
  for (size_t token = 0; token < 20; token++) {
    std::vector<float> rotated(tokens.begin() + static_cast<ptrdiff_t>(token * 12),
                               tokens.begin() + static_cast<ptrdiff_t>(token * 12 + 12));
    Rotate(rotated.data(), 12);
    for (const float x : rotated) expected = std::max(expected, std::fabs(x));
  }
  CHECK(LargestStoredMagnitude(tokens.data(), 20, 12) == expected);
  tokens[100] = NAN;
  CHECK(std::isnan(LargestStoredMagnitude(tokens.data(), 20, 12)));
}
