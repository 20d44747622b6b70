// r4, r2 and r1: every kernel set that this CPU can run against the scalar one, bit for bit, and
// the scalar one against MaxSim of what the codebook decodes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "fixtures.h"
#include "formats.h"
#include "kernel_sets.h"
#include "maxsim/half.h"
#include "maxsim/query.h"
#include "maxsim/rotation.h"
#include "maxsim_of.h"

using namespace maxsim;

namespace {

// Any weights and any table: more than a codebook could give.
struct RandomResidual {
  MaxsimResidual residual{};
  std::vector<int16_t> table;
  uint32_t centroids;

  RandomResidual(uint32_t bits, uint32_t id_bytes, uint32_t centroid_count, size_t dim,
                 size_t block_count, Noise& noise)
      : table(centroid_count * block_count * kMaxsimLanes), centroids(centroid_count) {
    for (int16_t& entry : table) {
      const uint64_t draw = noise.Next() >> 20;
      entry =
          draw % 7 == 0 ? (draw % 2 == 0 ? INT16_MAX : INT16_MIN) : static_cast<int16_t>(draw >> 8);
    }
    residual.table = table.data();
    residual.table_shift = static_cast<uint32_t>(noise.Next() >> 33) % 13;
    residual.bits = bits;
    residual.code_bytes = static_cast<uint32_t>((dim + 7) / 8 * bits);
    residual.id_bytes = id_bytes;
    for (uint32_t i = 0; i < 16; i++) {
      const uint32_t codes = 1u << bits;
      residual.weights[i] =
          i < codes ? static_cast<uint8_t>(noise.Next() >> 40) : residual.weights[i % codes];
    }
  }

  size_t TokenBytes() const { return residual.code_bytes + sizeof(uint16_t) + residual.id_bytes; }

  std::vector<uint8_t> Block(size_t length, Noise& noise) const {
    std::vector<uint8_t> block = noise.Bytes(length * TokenBytes());
    uint8_t* at = block.data() + length * residual.code_bytes;
    for (size_t t = 0; t < length; t++, at += sizeof(uint16_t)) {
      // Halves of every size, subnormal ones among them, and 0.
      const auto factor = static_cast<uint16_t>((noise.Next() >> 40) % 0x7c00);
      std::memcpy(at, &factor, sizeof(factor));
    }
    for (size_t t = 0; t < length; t++, at += residual.id_bytes) {
      const auto id = static_cast<uint32_t>((noise.Next() >> 20) % centroids);
      std::memcpy(at, &id, residual.id_bytes);
    }
    return block;
  }
};

void CompareShape(size_t query_tokens, size_t dim, const std::vector<uint32_t>& lengths) {
  Noise noise(query_tokens * 4096 + dim);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery eight(tokens.data(), query_tokens, dim, 8);
  const PreparedQuery seven(tokens.data(), query_tokens, dim, 7);
  const std::vector<const MaxsimKernels*> sets = FastKernels();
  if (sets.empty()) return;
  for (const uint32_t bits : {4u, 2u, 1u}) {
    for (const uint32_t length : lengths) {
      const uint32_t id_bytes = 2 + (length + bits) % 3;
      const RandomResidual random(bits, id_bytes, 53, dim, eight.block_count(), noise);
      const std::vector<uint8_t> block = random.Block(length, noise);
      CAPTURE(query_tokens);
      CAPTURE(dim);
      CAPTURE(bits);
      CAPTURE(id_bytes);
      CAPTURE(length);
      // The end of memory, and the copy that a scalar kernel may not leave at all.
      GuardedBytes guarded(block.size() + kMaxsimResidualSlack), exact(block.size());
      const MaxsimDocument whole{exact.Place(block.data(), block.size()), length};
      const MaxsimDocument document{guarded.Place(block.data(), block.size(), kMaxsimResidualSlack),
                                    length};
      for (const PreparedQuery* query : {&eight, &seven}) {
        CAPTURE(query->bits());
        const MaxsimQueryInt8 prepared = query->Int8(0.001f);
        const float expected =
            ScoreOne(kMaxsimScalar.score_residual, prepared, random.residual, whole);
        CHECK(std::isfinite(expected));
        for (const MaxsimKernels* kernels : sets) {
          CAPTURE(std::string(kernels->name));
          CHECK(ScoreOne(kernels->score_residual, prepared, random.residual, document) == expected);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("every residual kernel agrees with the scalar one for every query and every dim") {
  ForShapes([](size_t query_tokens, size_t dim) { CompareShape(query_tokens, dim, kLengths); });
}

TEST_CASE("the longest residual document has no overflow and no over-read") {
  CompareShape(5, 9, {65535});
}

TEST_CASE("the largest query of the largest dim has no overflow among residuals") {
  CompareShape(1024, 1024, {13});
}

TEST_CASE("what follows a residual document, and the document before it, do not change its score") {
  const size_t dim = 20, query_tokens = 33;
  Noise noise(7);
  const std::vector<float> tokens = noise.Floats(query_tokens * dim);
  const PreparedQuery query(tokens.data(), query_tokens, dim, 8);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  for (const uint32_t bits : {4u, 2u, 1u}) {
    for (const uint32_t length : {1u, 3u, 25u}) {
      const RandomResidual random(bits, 2 + length % 3, 9, dim, query.block_count(), noise);
      const std::vector<uint8_t> block = random.Block(length, noise);
      const float expected =
          ScoreOne(kMaxsimScalar.score_residual, prepared, random.residual, {block.data(), length});
      for (size_t offset = 0; offset < 64; offset++) {
        // Noise around it, at every alignment.
        std::vector<uint8_t> moved = noise.Bytes(offset + block.size() + kMaxsimResidualSlack);
        std::memcpy(moved.data() + offset, block.data(), block.size());
        for (const MaxsimKernels* kernels : AllKernels()) {
          CAPTURE(std::string(kernels->name));
          CHECK(ScoreOne(kernels->score_residual, prepared, random.residual,
                         {moved.data() + offset, length}) == expected);
        }
      }
    }
  }
}

TEST_CASE("ids beyond two bytes find their rows of the table") {
  const size_t dim = 8;
  Noise noise(8);
  const std::vector<float> tokens = noise.Floats(2 * dim);
  const PreparedQuery query(tokens.data(), 2, dim, 8);
  const MaxsimQueryInt8 prepared = query.Int8(1.f);
  for (const uint32_t id_bytes : {3u, 4u}) {
    const RandomResidual random(4, id_bytes, 70000, dim, 1, noise);
    for (const uint32_t length : {1u, 40u}) {
      const std::vector<uint8_t> block = random.Block(length, noise);
      std::vector<uint8_t> stored = block;
      stored.resize(block.size() + kMaxsimResidualSlack, 0xff);
      const float expected =
          ScoreOne(kMaxsimScalar.score_residual, prepared, random.residual, {block.data(), length});
      for (const MaxsimKernels* kernels : FastKernels()) {
        CHECK(ScoreOne(kernels->score_residual, prepared, random.residual,
                       {stored.data(), length}) == expected);
      }
    }
  }
}

TEST_CASE("residuals at their limits do not saturate") {
  for (const size_t dim : {8, 128, 1024}) {
    for (const float sign : {1.f, -1.f}) {
      std::vector<float> tokens(17 * dim, sign);
      for (size_t t = 0; t < 17; t++) RotateBack(tokens.data() + t * dim, dim);
      for (const unsigned bits : {8u, 7u}) {
        const PreparedQuery query(tokens.data(), 17, dim, bits);
        const MaxsimQueryInt8 prepared = query.Int8(1.f);
        for (const uint32_t residual_bits : {4u, 2u, 1u}) {
          for (const int weight : {0, 1, 255}) {
            for (const int16_t entry : {INT16_MIN, INT16_MAX}) {
              Noise noise(9);
              RandomResidual random(residual_bits, 2, 1, dim, 2, noise);
              std::memset(random.residual.weights, weight, sizeof(random.residual.weights));
              random.residual.table_shift = 12;
              std::fill(random.table.begin(), random.table.end(), entry);
              std::vector<uint8_t> block = random.Block(13, noise);
              const uint16_t one = ToHalf(1.f);
              for (size_t t = 0; t < 13; t++) {
                std::memcpy(&block[13 * random.residual.code_bytes + t * 2], &one, sizeof(one));
              }
              const size_t size = block.size();
              block.resize(size + kMaxsimResidualSlack);
              const float expected = ScoreOne(kMaxsimScalar.score_residual, prepared,
                                              random.residual, {block.data(), 13});
              const double unit = static_cast<double>(prepared.factor[0]);
              const double dot = entry * 4096. + static_cast<double>(dim) * sign * weight / unit;
              CHECK(expected == doctest::Approx(17. * dot * unit).epsilon(1e-5));
              for (const MaxsimKernels* kernels : FastKernels()) {
                CHECK(ScoreOne(kernels->score_residual, prepared, random.residual,
                               {block.data(), 13}) == expected);
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("the scalar residual kernel computes MaxSim of the decoded values") {
  for (const Codec codec : {Codec::kR4, Codec::kR2, Codec::kR1}) {
    for (const size_t dim : {8, 9, 128}) {
      Noise noise(dim);
      std::vector<float> tokens = noise.Floats(33 * dim);
      const EncodedStore store(FormatOf(codec, dim), dim, UnitTokens(25, dim, noise), {25});
      const PreparedQuery query(tokens.data(), 33, dim, 8);
      float score;
      ScoreWith(kMaxsimScalar, query, store.format, store.documents, nullptr, &score);
      // Half a step of 127 a dim of the query, and half a unit of the table.
      CHECK(std::fabs(score - NaiveMaxSim(tokens, store.decoded[0], dim)) <=
            0.02 * ScoreBound(tokens, store.decoded[0], dim));
    }
  }
}
