#include "maxsim/codebook.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "fixtures.h"
#include "formats.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"

using namespace maxsim;

namespace {

double Product(const float* a, const float* b, size_t dim) {
  double sum = 0;
  for (size_t d = 0; d < dim; d++) sum += static_cast<double>(a[d]) * b[d];
  return sum;
}

double Distance(const float* a, const float* b, size_t dim) {
  return std::sqrt(Product(a, a, dim) + Product(b, b, dim) - 2 * Product(a, b, dim));
}

struct Block {
  std::vector<uint8_t> bytes;
  std::vector<float> decoded;

  Block(const Codebook& codebook, const std::vector<float>& tokens)
      : bytes(tokens.size() / codebook.contents().dim * codebook.TokenBytes()),
        decoded(tokens.size()) {
    const size_t count = tokens.size() / codebook.contents().dim;
    codebook.Encode(tokens.data(), count, bytes.data());
    codebook.Decode(bytes.data(), count, decoded.data());
  }
};

}  // namespace

TEST_CASE("a decoded token is as long as the token was, and points nearly where it pointed") {
  for (const size_t dim : {8, 9, 48, 100, 128, 1024}) {
    for (const uint32_t bits : {4u, 2u, 1u}) {
      CAPTURE(dim);
      CAPTURE(bits);
      Noise noise(dim);
      std::vector<float> tokens = UnitTokens(70, dim, noise);
      for (size_t i = 0; i < tokens.size(); i++) {
        tokens[i] = std::ldexp(tokens[i], static_cast<int>(i / dim % 19) - 9);
      }
      const Block block(*RandomCodebook(bits, dim, 64, 1), tokens);
      for (size_t t = 0; t < 70; t++) {
        const float *token = &tokens[t * dim], *decoded = &block.decoded[t * dim];
        const double length = std::sqrt(Product(token, token, dim));
        const double stored = std::sqrt(Product(decoded, decoded, dim));
        CHECK(std::fabs(stored / length - 1) <= 0x1p-11 + 1e-6);  // a half's rounding
        // Whatever the codebook, the nearest centroid and weights are no worse than this.
        CHECK(Product(token, decoded, dim) / (length * stored) >= 0.5);
      }
    }
  }
}

TEST_CASE("more bits leave a smaller error") {
  for (const size_t dim : {9, 64, 128}) {
    Noise noise(dim);
    const std::vector<float> tokens = UnitTokens(100, dim, noise);
    double errors[3];
    for (int i = 0; i < 3; i++) {
      const Block block(*RandomCodebook(4u >> i, dim, 64, 1), tokens);
      double sum = 0;
      for (size_t t = 0; t < 100; t++) {
        sum += Distance(&tokens[t * dim], &block.decoded[t * dim], dim);
      }
      errors[i] = sum / 100;
    }
    CAPTURE(dim);
    CHECK(errors[0] * 1.5 < errors[1]);
    CHECK(errors[1] * 1.3 < errors[2]);
    CHECK(errors[0] < 0.3);
    CHECK(errors[2] < 0.9);
  }
}

TEST_CASE("what is read of a token is what decoding rotates back") {
  for (const size_t dim : {8, 9, 100}) {
    for (const uint32_t bits : {4u, 2u, 1u}) {
      Noise noise(dim);
      const auto codebook = RandomCodebook(bits, dim, 64, 1);
      const Block block(*codebook, UnitTokens(37, dim, noise));
      for (size_t t = 0; t < 37; t++) {
        Codebook::Token token;
        codebook->Read(block.bytes.data(), 37, t, &token);
        CHECK(token.centroid < 64);
        std::vector<float> values(dim);
        for (size_t d = 0; d < dim; d++) {
          values[d] =
              static_cast<float>(token.values[d]) * (token.factor * codebook->contents().scale);
        }
        RotateBack(values.data(), dim);
        CHECK(std::memcmp(values.data(), &block.decoded[t * dim], dim * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("a token is stored with the nearest centroid, and every dim with the nearest weight") {
  for (const size_t dim : {9, 64}) {
    Noise noise(dim);
    const auto codebook = RandomCodebook(2, dim, 40, 1);
    const CodebookContents& contents = codebook->contents();
    const std::vector<float> tokens = UnitTokens(50, dim, noise);
    const Block block(*codebook, tokens);
    for (size_t t = 0; t < 50; t++) {
      std::vector<float> rotated(&tokens[t * dim], &tokens[t * dim] + dim);
      Rotate(rotated.data(), dim);
      Codebook::Token token;
      codebook->Read(block.bytes.data(), 50, t, &token);
      const auto centroid = [&](size_t c, size_t d) {
        return static_cast<float>((contents.rows[c * PaddedDim(dim) + d] - 128) *
                                  (1 << contents.centroid_shift)) *
               contents.scale;
      };
      const auto squares = [&](size_t c) {
        double sum = 0;
        for (size_t d = 0; d < dim; d++) sum += std::pow(rotated[d] - centroid(c, d), 2.);
        return sum;
      };
      // But for the steps of 7 bits that are compared.
      for (size_t c = 0; c < 40; c++) CHECK(squares(token.centroid) <= squares(c) + 0.1);
      for (size_t d = 0; d < dim; d++) {
        const float rest = (rotated[d] - centroid(token.centroid, d)) / contents.scale;
        const float stored =
            static_cast<float>(token.values[d]) - centroid(token.centroid, d) / contents.scale;
        for (int code = 0; code < 4; code++) {
          CHECK(std::fabs(rest - stored) <= std::fabs(rest - contents.weights[code]) + 0.01f);
        }
      }
    }
  }
}

TEST_CASE("encoding a document is encoding its tokens, whatever stands beside them") {
  constexpr size_t kDim = 20;
  for (const uint32_t bits : {4u, 2u, 1u}) {
    Noise noise(1);
    const std::vector<float> tokens = UnitTokens(71, kDim, noise);
    const auto codebook = RandomCodebook(bits, kDim, 64, 1);
    const Block block(*codebook, tokens);
    for (const size_t t : {0u, 15u, 16u, 31u, 32u, 70u}) {
      const Block alone(*codebook, {&tokens[t * kDim], &tokens[t * kDim] + kDim});
      CHECK(std::memcmp(alone.decoded.data(), &block.decoded[t * kDim], kDim * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("a token of zeros has the factor 0 and is decoded as zeros") {
  const auto codebook = RandomCodebook(4, 16, 8, 1);
  const Block block(*codebook, std::vector<float>(2 * 16));
  Codebook::Token token;
  codebook->Read(block.bytes.data(), 2, 1, &token);
  CHECK(token.factor == 0.f);
  for (const float value : block.decoded) CHECK(value == 0.f);
}

TEST_CASE("kernels get the weights as bytes, repeated to fill sixteen") {
  for (const uint32_t bits : {4u, 2u, 1u}) {
    const auto codebook = RandomCodebook(bits, 20, 70000, 1);
    const MaxsimResidual residual = codebook->ForKernels();
    CHECK(residual.bits == bits);
    CHECK(residual.code_bytes == 3 * bits);
    CHECK(residual.id_bytes == 3);
    for (size_t i = 0; i < 16; i++) {
      CHECK(residual.weights[i] == codebook->contents().weights[i % (size_t{1} << bits)] + 128);
    }
  }
}
