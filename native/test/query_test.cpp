#include "maxsim/query.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "fixtures.h"
#include "maxsim/half.h"
#include "maxsim/rotation.h"

using namespace maxsim;

namespace {

int Int8At(const MaxsimQueryInt8& query, size_t token, size_t d) {
  const size_t block = token / 16, lane = token % 16;
  return query.tokens[((block * query.padded_dim / 4 + d / 4) * 16 + lane) * 4 + d % 4];
}

}  // namespace

TEST_CASE("a query token is rotated, then quantised against its largest component") {
  // After the rotation the largest component is the limit, so the values round as they stand here;
  // the scale is what gives the token the right product with itself, which is near 1.
  std::vector<float> tokens = {127.f, 0.4f, 1.6f, 2.4f, -0.4f, -1.6f, -126.6f, 126.4f, 3.4f};
  RotateBack(tokens.data(), 9);
  const PreparedQuery query(tokens.data(), 1, 9, 8);
  const MaxsimQueryInt8 prepared = query.Int8(0.25f);
  const int expected[12] = {127, 0, 2, 2, 0, -2, -127, 126, 3, 0, 0, 0};
  const double exact[12] = {127, 0.4, 1.6, 2.4, -0.4, -1.6, -126.6, 126.4, 3.4, 0, 0, 0};
  int sum = 0;
  double squares = 0, product = 0;
  for (size_t d = 0; d < 12; d++) {
    CAPTURE(d);
    CHECK(Int8At(prepared, 0, d) == expected[d]);
    sum += expected[d];
    squares += exact[d] * exact[d];
    product += exact[d] * expected[d];
  }
  CHECK(prepared.padded_dim == 12);
  CHECK(prepared.block_count == 1);
  CHECK(prepared.bias[0] == -128 * sum);
  CHECK(prepared.factor[0] == doctest::Approx(squares / product).epsilon(1e-5));
  CHECK(prepared.document_scale == 0.25f);
  for (int lane = 1; lane < 16; lane++) {
    CHECK(prepared.factor[lane] == 0.f);
    CHECK(prepared.bias[lane] == 0);
  }
}

TEST_CASE("seven bits reach 63 and never more") {
  Noise noise(3);
  const std::vector<float> tokens = noise.Floats(40 * 50);
  const PreparedQuery query(tokens.data(), 40, 50, 7);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  CHECK(prepared.bits == 7);
  CHECK(prepared.block_count == 3);
  for (size_t token = 0; token < 40; token++) {
    int largest = 0;
    for (size_t d = 0; d < 52; d++)
      largest = std::max(largest, std::abs(Int8At(prepared, token, d)));
    CHECK(largest == 63);
  }
}

TEST_CASE("a token of zeros has the scale 0, and so has one too small to divide by") {
  for (const float value : {0.f, 1e-38f, 1e-45f}) {
    const std::vector<float> tokens(8, value);
    const PreparedQuery query(tokens.data(), 1, 8, 8);
    CHECK(query.Int8(1.f).factor[0] == 0.f);
    CHECK(Int8At(query.Int8(1.f), 0, 0) == 0);
  }
  // The largest magnitude that the door lets in.
  int largest = 0;
  const PreparedQuery query(std::vector<float>(8, 1e15f).data(), 1, 8, 8);
  for (size_t d = 0; d < 8; d++)
    largest = std::max(largest, std::abs(Int8At(query.Int8(1.f), 0, d)));
  CHECK(largest == 127);
  CHECK(std::isfinite(query.Int8(1.f).factor[0]));
}

TEST_CASE("f32 lanes hold the tokens as given, aligned to a cache line") {
  Noise noise(4);
  const std::vector<float> tokens = noise.Floats(17 * 9);
  const PreparedQuery query(tokens.data(), 17, 9, 8);
  const MaxsimQueryF32 prepared = query.F32();
  CHECK(reinterpret_cast<uintptr_t>(prepared.tokens) % 64 == 0);
  CHECK(reinterpret_cast<uintptr_t>(query.Int8(1.f).tokens) % 64 == 0);
  for (size_t token = 0; token < 32; token++) {
    CHECK(prepared.factor[token] == (token < 17 ? 1.f : 0.f));
    for (size_t d = 0; d < 12; d++) {
      const float expected = token < 17 && d < 9 ? tokens[token * 9 + d] : 0.f;
      CHECK(prepared.tokens[(token / 16 * 12 + d) * 16 + token % 16] == expected);
    }
  }
}

TEST_CASE("bfloat16 lanes hold the rounded tokens, as floats and as pairs") {
  Noise noise(4);
  const std::vector<float> tokens = noise.Floats(17 * 9);
  const PreparedQuery query(tokens.data(), 17, 9, 8);
  const MaxsimQueryF32 prepared = query.Bfloat16();
  CHECK(reinterpret_cast<uintptr_t>(prepared.bf16_tokens) % 64 == 0);
  CHECK(query.F32().bf16_tokens == nullptr);
  for (size_t token = 0; token < 32; token++) {
    CHECK(prepared.factor[token] == (token < 17 ? 1.f : 0.f));
    for (size_t d = 0; d < 12; d++) {
      const uint16_t expected = token < 17 && d < 9 ? ToBfloat16(tokens[token * 9 + d]) : 0;
      CHECK(prepared.tokens[(token / 16 * 12 + d) * 16 + token % 16] == FromBfloat16(expected));
      CHECK(prepared.bf16_tokens[((token / 16 * 6 + d / 2) * 16 + token % 16) * 2 + d % 2] ==
            expected);
    }
  }
}

TEST_CASE("no face of a query has a token longer than its length, and none is much shorter") {
  for (const unsigned bits : {8u, 7u}) {
    Noise noise(5);
    std::vector<float> tokens = noise.Floats(40 * 50);
    std::fill_n(tokens.begin() + 3 * 50, 50, 0.f);
    const PreparedQuery query(tokens.data(), 40, 50, bits);
    const MaxsimQueryInt8 int8 = query.Int8(1.f);
    const MaxsimQueryF32 f32 = query.F32(), bf16 = query.Bfloat16();
    REQUIRE(query.lengths().size() == 40);
    REQUIRE(query.int8_lengths().size() == 40);
    for (size_t token = 0; token < 40; token++) {
      double in_bytes = 0, in_floats = 0, in_bfloats = 0;
      for (size_t d = 0; d < 50; d++) {
        const size_t at = (token / 16 * 52 + d) * 16 + token % 16;
        in_bytes += Int8At(int8, token, d) * Int8At(int8, token, d);
        in_floats += static_cast<double>(f32.tokens[at]) * f32.tokens[at];
        in_bfloats += static_cast<double>(bf16.tokens[at]) * bf16.tokens[at];
      }
      const auto length = static_cast<double>(query.lengths()[token]);
      const auto int8_length = static_cast<double>(query.int8_lengths()[token]);
      CHECK(std::sqrt(in_floats) <= length);
      CHECK(std::sqrt(in_bfloats) <= length);
      CHECK(std::sqrt(in_floats) >= 0.99 * length);
      CHECK(std::sqrt(in_bytes) <= int8_length);
      CHECK(std::sqrt(in_bytes) >= 0.99 * int8_length);
    }
  }
}
