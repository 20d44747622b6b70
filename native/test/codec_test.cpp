#include "maxsim/codec.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "fixtures.h"

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

TEST_CASE("int8 tokens come back within half a step, and their bytes code to themselves") {
  const TokenFormat format{Codec::kInt8, 1.f / 127.f};
  Noise noise(2);
  const std::vector<float> tokens = noise.Floats(100 * 10);
  std::vector<uint8_t> bytes(100 * 12), again(100 * 12);
  CHECK(EncodeTokens(format, tokens.data(), 100, 10, bytes.data()) == 0);
  CHECK(bytes[10] == 128);
  CHECK(bytes[11] == 128);
  std::vector<float> back(100 * 10);
  DecodeTokens(format, bytes.data(), 100, 10, back.data());
  for (size_t i = 0; i < tokens.size(); i++) {
    CHECK(std::fabs(back[i] - tokens[i]) <= 0.5001f / 127.f);
  }
  CHECK(EncodeTokens(format, back.data(), 100, 10, again.data()) == 0);
  CHECK(again == bytes);
}

TEST_CASE("int8 rounds half to even, clamps, and counts what it clamped") {
  const std::vector<float> tokens = {0.5f, 1.5f, -0.5f, -2.5f, 127.49f, 127.5f, -300.f, 1e30f};
  std::vector<uint8_t> bytes(8);
  CHECK(EncodeTokens({Codec::kInt8, 1.f}, tokens.data(), 1, 8, bytes.data()) == 3);
  CHECK(bytes == std::vector<uint8_t>{128, 130, 128, 126, 255, 255, 1, 255});
}
