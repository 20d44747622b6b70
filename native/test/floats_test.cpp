// f32, f16 and bf16: every kernel set that this CPU can run within 1e-5 of the scalar one, and the
// scalar one within 1e-5 of MaxSim written down naively in double precision.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "fixtures.h"
#include "formats.h"
#include "kernel_sets.h"
#include "maxsim/codec.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim_of.h"

using namespace maxsim;

namespace {

struct Face {
  Codec codec;
  MaxsimScoreF32 MaxsimKernels::*score;
};
constexpr Face kFaces[] = {{Codec::kF32, &MaxsimKernels::score_f32},
                           {Codec::kF16, &MaxsimKernels::score_f16},
                           {Codec::kBf16, &MaxsimKernels::score_bf16}};

void CompareShape(size_t query_tokens, size_t dim, const std::vector<uint32_t>& lengths) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 8);
  const std::vector<const MaxsimKernels*> sets = FastKernels();
  if (sets.empty()) return;
  for (const uint32_t length : lengths) {
    CAPTURE(query_tokens);
    CAPTURE(dim);
    CAPTURE(length);
    const std::vector<float> floats = noise.Floats(length * dim);
    const double tolerance = 1e-5 * ScoreBound(tokens, floats, dim);
    for (const Face& face : kFaces) {
      CAPTURE(std::string(CodecName(face.codec)));
      const TokenFormat format{face.codec, 1.f};
      std::vector<uint8_t> block(length * TokenBytes(format, dim));
      EncodedTokens encoded;
      EncodeTokens(format, floats.data(), length, dim, block.data(), &encoded);
      const MaxsimQueryF32 prepared = face.codec == Codec::kBf16 ? query.Bfloat16() : query.F32();
      const float expected = ScoreOne(kMaxsimScalar.*face.score, prepared, {block.data(), length});
      CHECK(std::isfinite(expected));
      GuardedBytes guarded(block.size() + 8);
      for (const size_t slack : {size_t{0}, size_t{1} + length % 3}) {
        const MaxsimDocument document{guarded.Place(block.data(), block.size(), slack), length};
        for (const MaxsimKernels* kernels : sets) {
          CAPTURE(std::string(kernels->name));
          CHECK(std::fabs(ScoreOne(kernels->*face.score, prepared, document) - expected) <=
                tolerance);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("every kernel of floats agrees with the scalar one for every query and every dim") {
  ForShapes([](size_t query_tokens, size_t dim) { CompareShape(query_tokens, dim, kLengths); });
}

TEST_CASE("the longest document of floats has no over-read") { CompareShape(5, 9, {65535}); }

TEST_CASE("the largest query of the largest dim has no over-read among floats") {
  CompareShape(1024, 1024, {13});
}

TEST_CASE("a document of floats may start at any address") {
  const size_t dim = 20, query_tokens = 33;
  Noise noise(7);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 8);
  const std::vector<float> floats = noise.Floats(25 * dim);
  for (const Face& face : kFaces) {
    const EncodedStore store({face.codec, 1.f}, dim, floats, {25});
    const MaxsimQueryF32 prepared = face.codec == Codec::kBf16 ? query.Bfloat16() : query.F32();
    const size_t size = 25 * TokenBytes(store.format, dim);
    std::vector<uint8_t> moved(size + 64);
    for (const MaxsimKernels* kernels : AllKernels()) {
      CAPTURE(std::string(kernels->name));
      const float expected = ScoreOne(kernels->*face.score, prepared, store.documents[0]);
      for (size_t offset = 0; offset < 64; offset++) {
        std::memcpy(moved.data() + offset, store.documents[0].tokens, size);
        CHECK(ScoreOne(kernels->*face.score, prepared, {moved.data() + offset, 25}) == expected);
      }
    }
  }
}

TEST_CASE("the scalar kernels of floats compute MaxSim of the decoded values") {
  for (const size_t dim : {8, 9, 128}) {
    for (const Face& face : kFaces) {
      Noise noise(dim);
      std::vector<float> tokens = noise.Floats(33 * dim);
      const EncodedStore store({face.codec, 1.f}, dim, noise.Floats(25 * dim), {25});
      const PreparedQuery query(tokens.data(), 33, dim, 8);
      float score;
      ScoreWith(kMaxsimScalar, query, store.format, store.documents, nullptr, &score);
      if (face.codec == Codec::kBf16) {  // which rounds the query too
        for (float& value : tokens) value = FromBfloat16(ToBfloat16(value));
      }
      CHECK(std::fabs(score - NaiveMaxSim(tokens, store.decoded[0], dim)) <=
            1e-5 * ScoreBound(tokens, store.decoded[0], dim));
    }
  }
}

TEST_CASE("halves of every size are read as what they are, subnormal ones too") {
  constexpr size_t kDim = 8;
  std::vector<float> tokens(kDim, 0.f);
  tokens[3] = 1.f;  // the score is the largest value of dim 3
  const PreparedQuery query(tokens.data(), 1, kDim, 8);
  const MaxsimQueryF32 prepared = query.F32();
  for (uint32_t bits = 0; bits < 0x10000; bits += 13) {
    const auto half = static_cast<uint16_t>(bits);
    if ((half & 0x7c00) == 0x7c00) continue;  // no number
    uint16_t row[kDim] = {};
    row[3] = half;
    for (const MaxsimKernels* kernels : AllKernels()) {
      CHECK(ScoreOne(kernels->score_f16, prepared, {row, 1}) == FromHalf(half));
    }
  }
}
