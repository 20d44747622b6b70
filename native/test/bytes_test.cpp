// int8 and int8-token: every kernel set that this CPU can run against the scalar one, bit for bit,
// and the scalar one against MaxSim written down naively in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>

#include "fixtures.h"
#include "formats.h"
#include "kernel_sets.h"
#include "maxsim/codec.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim/round.h"
#include "maxsim_of.h"

using namespace maxsim;

namespace {

constexpr float kDocumentScale = 1.f / 127.f;

// What MaxsimEncodeInt8 stores of one rotated token, written down naively and always clamped.
std::vector<uint8_t> NaiveBytes(const std::vector<float>& values, float unit) {
  const auto kept = [](float value) {
    const float below = value > 127.f ? 127.f : value;
    return RoundHalfToEven(below > -127.f ? below : -127.f);
  };
  const float inverse_unit = 1.f / unit;
  float exact = 0;
  for (const float value : values) exact += value * value;
  float gain = 1, best = 1, least = 0;
  for (int attempt = 0; attempt < 4; attempt++) {
    float stored = 0;
    for (const float value : values) stored += value * kept(value * (gain * inverse_unit));
    stored *= unit;
    const float missing = std::fabs(stored - exact);
    if (attempt == 0 || least > missing) {
      least = missing;
      best = gain;
    }
    float next = gain * (exact / stored);
    if (next > 1.f + 0.02f) next = 1.f + 0.02f;
    if (1.f - 0.02f > next) next = 1.f - 0.02f;
    if (stored > 0) gain = next;
  }
  std::vector<uint8_t> bytes;
  for (const float value : values) {
    bytes.push_back(static_cast<uint8_t>(kept(value * (best * inverse_unit)) + 128.f));
  }
  return bytes;
}

// A document of int8-token, whose first part is one of int8: any bytes, scales of any size.
std::vector<uint8_t> RandomBlock(size_t length, size_t dim, Noise& noise) {
  std::vector<uint8_t> block = noise.Bytes(length * (PaddedDim(dim) + sizeof(float)));
  for (size_t t = 0; t < length; t++) {
    const float scale = std::ldexp(1.5f + 0.5f * noise.Unit(), static_cast<int>(noise.Next() % 9));
    std::memcpy(&block[length * PaddedDim(dim) + t * sizeof(scale)], &scale, sizeof(scale));
  }
  return block;
}

// One query of one shape against documents of all lengths, each ending where memory ends: once
// exactly there, once a few bytes before it at another alignment.
void CompareShape(size_t query_tokens, size_t dim, const std::vector<uint32_t>& lengths) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery eight(tokens.data(), query_tokens, dim, 8);
  const PreparedQuery seven(tokens.data(), query_tokens, dim, 7);
  const std::vector<const MaxsimKernels*> sets = FastKernels();
  if (sets.empty()) return;
  for (const uint32_t length : lengths) {
    CAPTURE(query_tokens);
    CAPTURE(dim);
    CAPTURE(length);
    const std::vector<uint8_t> block = RandomBlock(length, dim, noise);
    GuardedBytes guarded(block.size() + 8);
    for (const bool token_scales : {false, true}) {
      CAPTURE(token_scales);
      const auto score =
          token_scales ? &MaxsimKernels::score_int8_token : &MaxsimKernels::score_int8;
      const size_t size = token_scales ? block.size() : length * PaddedDim(dim);
      for (const PreparedQuery* query : {&eight, &seven}) {
        CAPTURE(query->bits());
        const MaxsimQueryInt8 prepared = query->Int8(kDocumentScale);
        const float expected = ScoreOne(kMaxsimScalar.*score, prepared, {block.data(), length});
        CHECK(std::isfinite(expected));
        for (const size_t slack : {size_t{0}, size_t{1} + length % 3}) {
          const MaxsimDocument document{guarded.Place(block.data(), size, slack), length};
          for (const MaxsimKernels* kernels : sets) {
            CAPTURE(std::string(kernels->name));
            CHECK(ScoreOne(kernels->*score, prepared, document) == expected);
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("every int8 kernel agrees with the scalar one for every query and every dim") {
  ForShapes([](size_t query_tokens, size_t dim) { CompareShape(query_tokens, dim, kLengths); });
}

TEST_CASE("the longest document of bytes has no overflow and no over-read") {
  CompareShape(5, 9, {65535});
}

TEST_CASE("the largest query of the largest dim has no overflow among bytes") {
  CompareShape(1024, 1024, {13});
}

TEST_CASE("a document of bytes may start at any address") {
  const size_t dim = 20, query_tokens = 33;
  Noise noise(7);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 8);
  const MaxsimQueryInt8 prepared = query.Int8(kDocumentScale);
  const std::vector<uint8_t> block = RandomBlock(25, dim, noise);
  const MaxsimDocument still{block.data(), 25};
  const float expected = ScoreOne(kMaxsimScalar.score_int8, prepared, still);
  const float expected_token = ScoreOne(kMaxsimScalar.score_int8_token, prepared, still);
  std::vector<uint8_t> moved(block.size() + 64);
  for (size_t offset = 0; offset < 64; offset++) {
    std::memcpy(moved.data() + offset, block.data(), block.size());
    const MaxsimDocument document{moved.data() + offset, 25};
    for (const MaxsimKernels* kernels : AllKernels()) {
      CAPTURE(std::string(kernels->name));
      CHECK(ScoreOne(kernels->score_int8, prepared, document) == expected);
      CHECK(ScoreOne(kernels->score_int8_token, prepared, document) == expected_token);
    }
  }
}

TEST_CASE("bytes at their limits do not saturate") {
  for (const size_t dim : {8, 128, 1024}) {
    for (const float sign : {1.f, -1.f}) {
      std::vector<float> tokens(17 * dim, sign);
      // Rotated by the query, they are quantised to +-127 or +-63 everywhere.
      for (size_t t = 0; t < 17; t++) RotateBack(tokens.data() + t * dim, dim);
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery query(tokens.data(), 17, dim, bits);
        const MaxsimQueryInt8 prepared = query.Int8(kDocumentScale);
        for (const int byte : {0, 1, 128, 255}) {
          CAPTURE(byte);
          CAPTURE(bits);
          std::vector<uint8_t> block(13 * (dim + sizeof(float)), static_cast<uint8_t>(byte));
          for (size_t t = 0; t < 13; t++) {
            const float scale = 2.f;
            std::memcpy(&block[13 * dim + t * sizeof(scale)], &scale, sizeof(scale));
          }
          const MaxsimDocument document{block.data(), 13};
          const float expected = ScoreOne(kMaxsimScalar.score_int8, prepared, document);
          const float twice = ScoreOne(kMaxsimScalar.score_int8_token, prepared, document);
          CHECK(expected == doctest::Approx(17. * static_cast<double>(dim) * sign * (byte - 128) *
                                            static_cast<double>(kDocumentScale)));
          CHECK(twice == 2 * expected);
          for (const MaxsimKernels* kernels : FastKernels()) {
            CHECK(ScoreOne(kernels->score_int8, prepared, document) == expected);
            CHECK(ScoreOne(kernels->score_int8_token, prepared, document) == twice);
          }
        }
      }
    }
  }
}

TEST_CASE("the scalar int8 kernel computes MaxSim of the decoded values") {
  for (const size_t dim : {8, 9, 128}) {
    for (const unsigned bits : {8u, 7u}) {
      for (const Codec codec : {Codec::kInt8, Codec::kInt8Token}) {
        Noise noise(dim);
        std::vector<float> tokens = noise.Floats(33 * dim);
        const std::vector<float> floats = noise.Floats(25 * dim);
        const TokenFormat format{codec, codec == Codec::kInt8 ? kDocumentScale : 1.f};
        const EncodedStore store(format, dim, floats, {25});
        const PreparedQuery query(tokens.data(), 33, dim, bits);
        float score;
        ScoreWith(kMaxsimScalar, query, format, store.documents, nullptr, &score);
        // Against rotated documents and the query as it was rotated and quantised, the score is
        // exact but for the final f32 sums.
        std::vector<float> decoded = store.decoded[0];
        for (size_t t = 0; t < 33; t++) Rotate(tokens.data() + t * dim, dim);
        for (size_t t = 0; t < 25; t++) Rotate(decoded.data() + t * dim, dim);
        const float limit = bits == 7 ? 63.f : 127.f;
        for (size_t t = 0; t < 33; t++) {
          float largest = 0;
          for (size_t d = 0; d < dim; d++) {
            largest = std::max(largest, std::fabs(tokens[t * dim + d]));
          }
          double squares = 0, product = 0;
          std::vector<float> steps(dim);
          for (size_t d = 0; d < dim; d++) {
            const float value = tokens[t * dim + d];
            steps[d] = std::nearbyintf(value * (limit / largest));
            squares += static_cast<double>(value) * value;
            product += static_cast<double>(value) * steps[d];
          }
          for (size_t d = 0; d < dim; d++) {
            tokens[t * dim + d] = steps[d] * static_cast<float>(squares / product);
          }
        }
        CHECK(std::fabs(score - NaiveMaxSim(tokens, decoded, dim)) <=
              1e-6 * ScoreBound(tokens, decoded, dim));
      }
    }
  }
}

TEST_CASE("tokens become the same bytes in every kernel set, whatever the floats are") {
  const float wild[] = {NAN, INFINITY, -INFINITY, 0.f, -0.f, 3e38f, 1e-44f, 50.f};
  for (const MaxsimKernels* kernels : FastKernels()) {
    CAPTURE(std::string(kernels->name));
    for (const size_t dim : {8, 9, 16, 32, 48, 50, 64, 96, 100, 128, 384, 1024}) {
      CAPTURE(dim);
      Noise noise(dim);
      const RotationOf rotation(dim);
      const size_t row = PaddedDim(dim);
      for (size_t count = 1; count <= kMaxsimLanes; count++) {
        std::vector<float> tokens = noise.Floats(count * dim);
        // In every other round some values that are no embedding's.
        for (size_t i = 0; count % 2 == 0 && i < tokens.size(); i += 7 + noise.Next() % 400) {
          tokens[i] = wild[noise.Next() % std::size(wild)];
        }
        std::vector<uint8_t> expected(count * row, 7), got(count * row, 9);
        MaxsimEncodedInt8 scalar{}, own{};
        kMaxsimScalar.encode_int8(tokens.data(), count, rotation.get(), 0.01f, row, expected.data(),
                                  &scalar);
        kernels->encode_int8(tokens.data(), count, rotation.get(), 0.01f, row, got.data(), &own);
        CHECK(got == expected);
        CHECK(std::count(got.begin(), got.end(), uint8_t{0}) == 0);
        for (size_t t = 0; t < count; t++) {
          // The sign and payload of a NaN are nobody's business.
          const auto same = [](float a, float b) { return a == b || (a != a && b != b); };
          CHECK(same(own.largest[t], scalar.largest[t]));
          CHECK(same(own.squares[t], scalar.squares[t]));
          CHECK(same(own.stored_squares[t], scalar.stored_squares[t]));
          CHECK(same(own.clamped[t], scalar.clamped[t]));
          // And what is no number, or too long, shows in what is told of it.
          bool finite = true;
          for (size_t d = 0; d < dim; d++) finite = finite && std::isfinite(tokens[t * dim + d]);
          if (!finite) CHECK(!(own.squares[t] <= 1e30f));
        }
      }
    }
  }
}

TEST_CASE("tokens are clamped wherever a component can reach the limit") {
  // Of the largest component, in units; the first few are where clamping begins to be needed.
  const float reaches[] = {124.4f, 124.499f, 124.5f, 124.501f, 125.f, 126.9f, 127.f,
                           127.4f, 127.5f,   127.6f, 128.f,    130.f, 200.f,  1e6f};
  const float wild[] = {0.f, NAN, INFINITY, -INFINITY, 3e19f};
  for (const size_t dim : {8, 9, 50, 128}) {
    CAPTURE(dim);
    Noise noise(dim + 1);
    const RotationOf rotation(dim);
    const size_t row = PaddedDim(dim);
    for (const float reach : reaches) {
      CAPTURE(reach);
      for (const float odd : wild) {
        CAPTURE(odd);
        std::vector<float> tokens = noise.Floats(kMaxsimLanes * dim);
        const size_t whose = noise.Next() % kMaxsimLanes;
        if (odd != 0.f) tokens[whose * dim + noise.Next() % dim] = odd;
        std::vector<float> lanes(kMaxsimLanes * dim);
        TokensToLanes(tokens.data(), kMaxsimLanes, dim, lanes.data());
        RotateLanes(lanes.data(), dim);
        std::vector<std::vector<float>> rotated(kMaxsimLanes);
        float largest = 0;
        for (size_t t = 0; t < kMaxsimLanes; t++) {
          for (size_t d = 0; d < dim; d++) rotated[t].push_back(lanes[d * kMaxsimLanes + t]);
          if (odd != 0.f && t == whose) continue;
          for (const float value : rotated[t]) largest = std::max(largest, std::fabs(value));
        }
        const float unit = largest / reach;
        for (const MaxsimKernels* kernels : AllKernels()) {
          CAPTURE(std::string(kernels->name));
          std::vector<uint8_t> got(kMaxsimLanes * row);
          MaxsimEncodedInt8 encoded{};
          kernels->encode_int8(tokens.data(), kMaxsimLanes, rotation.get(), unit, row, got.data(),
                               &encoded);
          for (size_t t = 0; t < kMaxsimLanes; t++) {
            CAPTURE(t);
            CHECK(std::vector<uint8_t>(&got[t * row], &got[t * row] + dim) ==
                  NaiveBytes(rotated[t], unit));
          }
        }
      }
    }
  }
}

TEST_CASE("a token that is stretched to the limit is clamped there") {
  constexpr size_t kDim = 1024;
  // All but one component round to zero, so the one that is within the limit is stretched past it.
  std::vector<float> tokens(kDim, 0.45f);
  tokens[5] = 126.9f;
  RotateBack(tokens.data(), kDim);
  std::vector<float> rotated = tokens;
  Rotate(rotated.data(), kDim);
  const RotationOf rotation(kDim);
  for (const MaxsimKernels* kernels : AllKernels()) {
    CAPTURE(std::string(kernels->name));
    std::vector<uint8_t> got(kDim);
    MaxsimEncodedInt8 encoded{};
    kernels->encode_int8(tokens.data(), 1, rotation.get(), 1.f, kDim, got.data(), &encoded);
    CHECK(got[5] == 255);
    CHECK(got == NaiveBytes(rotated, 1.f));
  }
}
