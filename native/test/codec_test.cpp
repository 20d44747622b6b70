#include "maxsim/codec.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "fixtures.h"
#include "formats.h"
#include "maxsim/half.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"

using namespace maxsim;

namespace {

EncodedTokens Encode(const TokenFormat& format, const std::vector<float>& tokens, size_t dim,
                     std::vector<uint8_t>* block) {
  EncodedTokens encoded;
  EncodeTokens(format, tokens.data(), tokens.size() / dim, dim, block->data(), &encoded);
  return encoded;
}

double Length(const float* values, size_t dim) {
  double squares = 0;
  for (size_t d = 0; d < dim; d++) squares += static_cast<double>(values[d]) * values[d];
  return std::sqrt(squares);
}

}  // namespace

TEST_CASE("rows are padded to a multiple of 4 dims, and codes to one of 8") {
  CHECK(TokenBytes({Codec::kInt8, 1.f}, 9) == 12);
  CHECK(TokenBytes({Codec::kInt8Token, 1.f}, 9) == 16);
  CHECK(TokenBytes({Codec::kF32, 1.f}, 9) == 48);
  CHECK(TokenBytes({Codec::kF16, 1.f}, 9) == 24);
  CHECK(TokenBytes({Codec::kBf16, 1.f}, 9) == 24);
  CHECK(TokenBytes({Codec::kInt8, 1.f}, 128) == 128);
  CHECK(TokenBytes(FormatOf(Codec::kR4, 9), 9) == 8 + 2 + 2);
  CHECK(TokenBytes(FormatOf(Codec::kR2, 9), 9) == 4 + 2 + 2);
  CHECK(TokenBytes(FormatOf(Codec::kR1, 9), 9) == 2 + 2 + 2);
  CHECK(TokenBytes(FormatOf(Codec::kR1, 9, 65536), 9) == 2 + 2 + 2);
  CHECK(TokenBytes(FormatOf(Codec::kR1, 9, 65537), 9) == 2 + 2 + 3);
}

TEST_CASE("every codec is found by its name, and nothing else is") {
  for (const Codec codec : kAllCodecs) {
    Codec found;
    REQUIRE(CodecName(codec) != nullptr);
    CHECK(CodecOf(CodecName(codec), &found));
    CHECK(found == codec);
  }
  Codec codec;
  CHECK(CodecName(static_cast<Codec>(0)) == nullptr);
  CHECK(CodecName(static_cast<Codec>(9)) == nullptr);
  for (const char* name : {"", "int", "int8-", "INT8", "r8"}) CHECK(!CodecOf(name, &codec));
}

TEST_CASE("f32 tokens come back bit for bit, and the padding is zero") {
  Noise noise(1);
  const std::vector<float> tokens = noise.Floats(3 * 9);
  std::vector<uint8_t> bytes(3 * 48, 0xaa);
  CHECK(Encode({Codec::kF32, 1.f}, tokens, 9, &bytes).clamped == 0);
  for (size_t i = 36; i < 48; i++) CHECK(bytes[i] == 0);
  std::vector<float> back(3 * 9);
  DecodeTokens({Codec::kF32, 1.f}, bytes.data(), 3, 9, back.data());
  CHECK(back == tokens);
}

TEST_CASE("f16 and bf16 tokens come back as the nearest halves, and the padding is zero") {
  Noise noise(1);
  const std::vector<float> tokens = noise.Floats(3 * 9);
  for (const Codec codec : {Codec::kF16, Codec::kBf16}) {
    std::vector<uint8_t> bytes(3 * 24, 0xaa);
    CHECK(Encode({codec, 1.f}, tokens, 9, &bytes).clamped == 0);
    for (size_t i = 18; i < 24; i++) CHECK(bytes[i] == 0);
    std::vector<float> back(3 * 9);
    DecodeTokens({codec, 1.f}, bytes.data(), 3, 9, back.data());
    for (size_t i = 0; i < back.size(); i++) {
      CHECK(back[i] == (codec == Codec::kF16 ? FromHalf(ToHalf(tokens[i]))
                                             : FromBfloat16(ToBfloat16(tokens[i]))));
      CHECK(std::fabs(back[i] - tokens[i]) <= (codec == Codec::kF16 ? 0x1p-12f : 0x1p-9f));
    }
  }
}

TEST_CASE(
    "int8 tokens come back within half a step a rotated dim, and their bytes code to themselves") {
  const TokenFormat format{Codec::kInt8, 3.f / 127.f};
  Noise noise(2);
  const std::vector<float> tokens = noise.Floats(100 * 10);
  std::vector<uint8_t> bytes(100 * 12), again(100 * 12);
  CHECK(Encode(format, tokens, 10, &bytes).clamped == 0);
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
  CHECK(Encode(format, back, 10, &again).clamped == 0);
  CHECK(again == bytes);
}

TEST_CASE("int8-token gives every token a step of its own: its largest component is 127 of it") {
  constexpr size_t kTokens = 37, kDim = 10, kRow = 12;
  const TokenFormat format{Codec::kInt8Token, 1.f};
  Noise noise(2);
  std::vector<float> tokens = noise.Floats(kTokens * kDim);
  for (size_t i = 0; i < tokens.size(); i++) {
    tokens[i] = std::ldexp(tokens[i], static_cast<int>(i / kDim) - 18);
  }
  std::fill_n(tokens.begin() + 5 * kDim, kDim, 0.f);
  std::vector<uint8_t> bytes(kTokens * (kRow + sizeof(float)), 0xaa);
  CHECK(Encode(format, tokens, kDim, &bytes).clamped == 0);
  std::vector<float> back(tokens.size());
  DecodeTokens(format, bytes.data(), kTokens, kDim, back.data());
  for (size_t token = 0; token < kTokens; token++) {
    float scale;
    std::memcpy(&scale, &bytes[kTokens * kRow + token * sizeof(scale)], sizeof(scale));
    int largest = 0;
    for (size_t d = 0; d < kRow; d++) {
      largest = std::max(largest, std::abs(bytes[token * kRow + d] - 128));
      if (d >= kDim) CHECK(bytes[token * kRow + d] == 128);
    }
    CHECK(largest == (token == 5 ? 0 : 127));
    CHECK(std::isnormal(scale));
    double squares = 0;
    for (size_t d = 0; d < kDim; d++) {
      const double error = static_cast<double>(back[token * kDim + d]) - tokens[token * kDim + d];
      squares += error * error;
    }
    CHECK(std::sqrt(squares) <= 0.5001 * scale * std::sqrt(10.));
  }
}

TEST_CASE("int8 rounds to the nearest step, clamps, and counts what it clamped") {
  std::vector<float> token = {0.6f, 1.4f, -0.6f, -2.4f, 127.4f, 127.6f, -300.f, 200.f};
  RotateBack(token.data(), 8);
  std::vector<uint8_t> bytes(8);
  EncodedTokens encoded = Encode({Codec::kInt8, 1.f}, token, 8, &bytes);
  CHECK(encoded.clamped == 3);
  CHECK(bytes == std::vector<uint8_t>{129, 129, 127, 126, 255, 255, 1, 255});
  EncodeTokens({Codec::kInt8, 1.f}, token.data(), 1, 8, bytes.data(), &encoded);
  CHECK(encoded.clamped == 6);  // it accumulates
}

TEST_CASE("no decoded token of any codec is longer than encoding says, and the bound is near") {
  for (const Codec codec : kAllCodecs) {
    for (const size_t dim : {9, 64, 128}) {
      CAPTURE(std::string(CodecName(codec)));
      CAPTURE(dim);
      Noise noise(6);
      std::vector<float> tokens = UnitTokens(50, dim, noise);
      for (size_t i = 0; i < tokens.size(); i++) {
        tokens[i] *= static_cast<float>(1 + i / dim % 9) / 4;
      }
      const EncodedStore store(FormatOf(codec, dim), dim, tokens, {1, 16, 33});
      double longest = 0, factor = 0;
      for (size_t i = 0; i < store.decoded.size(); i++) {
        for (size_t t = 0; t < store.decoded[i].size(); t += dim) {
          longest = std::max(longest, Length(&store.decoded[i][t], dim));
        }
        for (uint32_t t = 0; t < store.documents[i].token_count && store.format.codebook; t++) {
          Codebook::Token token;
          store.format.codebook->Read(static_cast<const uint8_t*>(store.documents[i].tokens),
                                      store.documents[i].token_count, t, &token);
          factor =
              std::max(factor, static_cast<double>(token.factor) *
                                   static_cast<double>(store.format.codebook->contents().scale));
        }
      }
      // Decoding rotates back in floats, which rounds some parts in 10^7 either way.
      CHECK(longest * (1 - 1e-6) <= static_cast<double>(store.encoded.longest));
      CHECK(longest * 1.01 >= static_cast<double>(store.encoded.longest));
      CHECK(factor <= static_cast<double>(store.encoded.largest_factor));
      CHECK(factor * 1.01 >= static_cast<double>(store.encoded.largest_factor));
    }
  }
}

TEST_CASE("tokens of zeros are stored as zeros by every codec") {
  for (const Codec codec : kAllCodecs) {
    CAPTURE(std::string(CodecName(codec)));
    const EncodedStore store(FormatOf(codec, 10), 10, std::vector<float>(5 * 10), {2, 3});
    for (const std::vector<float>& decoded : store.decoded) {
      for (const float value : decoded) CHECK(value == 0.f);
    }
    CHECK(store.encoded.longest == 0.f);
  }
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
